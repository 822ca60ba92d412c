"""A stranger at the door of a running server: guessed names, other people's files, doors that lead elsewhere, and the log."""

import http.server
import io
import json
import re
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from serving import serve
from visiting import Answer, ask, classify, upload

from cells.synthetic import draw_cell

ROOT = Path(__file__).resolve().parent.parent
NAME = "patient-Lopez.png"  # what no one else may see, and no log may have


def picture(label: str = "neutrophil") -> bytes:
    buffer = io.BytesIO()
    draw_cell(label).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def url(tmp_path_factory, log):
    """A running server; whatever these tests do to it, no file is named in its log, and no request."""
    with serve(ROOT, log, TMPDIR=str(tmp_path_factory.mktemp("temporary"))) as url:
        yield url
    said = (log / "app.log").read_text()
    assert "Lopez" not in said
    assert not re.search(r"\.png|\.zip|HTTP/1|[0-9a-f]{64}", said), said


@pytest.fixture(scope="module")
def mine(url) -> str:
    """The path of a visitor's upload, which only they are told."""
    (path,) = json.loads(upload(url, NAME, picture()).body)
    return path


def file(url: str, path: str) -> Answer:
    return ask(f"{url}/gradio_api/file={path}")


def test_an_upload_is_its_owners_under_a_path_that_no_one_can_guess(url, mine):
    assert file(url, mine).body == picture()
    (again,) = json.loads(upload(url, NAME, picture()).body)
    assert Path(again).parent != Path(mine).parent
    assert len(Path(mine).parent.name) == 64  # hexadecimal digits: 256 bits, in which the random ones of the upload are


def test_whoever_has_the_same_picture_cannot_ask_for_the_name_that_another_gave_it(url, mine):
    (theirs,) = json.loads(upload(url, "x.png", picture()).body)
    guess = str(Path(theirs).with_name(NAME))
    assert file(url, guess).status == 403
    assert "There is no such file" in classify(url, guess)


@pytest.mark.parametrize("path", [
    "/etc/passwd", "//etc/passwd", "/proc/self/environ", "~/.bashrc", "app.py", "./app.py", "hub/models.toml", ".git/config",
    "{root}/app.py", "{root}/models/resnet18/config.json", "{folder}", "{folder}/", "{folder}/..", "{upload}",
    "{folder}/../../../etc/passwd", "{upload}/../../../../../etc/passwd", "{upload}/..%2f..%2f..%2f..%2fetc/passwd",
    "{upload}/%2e%2e/%2e%2e/", "{upload}/%00", "{upload}/../*/*", "file:///etc/passwd", "..%5c..%5capp.py",
])  # fmt: skip
def test_the_file_route_leads_to_nothing_but_what_it_was_given(url, mine, path):
    upload = Path(mine).parent
    answer = file(url, path.format(root=ROOT, folder=upload.parent, upload=upload))
    assert answer.status in (400, 403, 404)
    assert NAME.encode() not in answer.body


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/docs/page.png", "{folder}/../../x.png", "", "app.py"])
def test_no_file_of_the_server_can_be_handed_in(url, mine, path):
    answer = classify(url, path.format(root=ROOT, folder=Path(mine).parent.parent))
    assert answer.startswith("event: error"), answer
    assert str(ROOT) not in answer


@pytest.mark.parametrize("name", [
    "../../x.png", "/etc/x.png", "..\\..\\x.png", "a/../../b.png", "..", ".", "", "x\x00.png", "x\n.png", "%2e%2e%2fx.png",
    "💥.png", "-rf.png", "CON.png", "~/x.png", "$(touch x).png", 300 * "x" + ".png", "<b>.png",
])  # fmt: skip
def test_an_upload_stays_in_its_own_folder_whatever_it_is_called(url, mine, name):
    answer = upload(url, name, picture())
    assert answer.status in (200, 400)
    if answer.status == 200:
        for path in json.loads(answer.body):
            assert Path(path).parent.parent == Path(mine).parent.parent
            assert Path(path).resolve() == Path(path)


@pytest.mark.parametrize("door", [
    "process_recording", "deep_link?session_hash=x", "component_server", "proxy=https://huggingface.co/x", "vibe-edit",
    "undo-vibe-edit", "vibe-code", "run-history/records", "runs", "stream/x", "stream/x/y/1/playlist-file", "dev/reload",
    "custom_component/x/client/component/index.js", "token", "file/etc/passwd", "file=http://127.0.0.1/", "login_check",
    "file=https://example.org/a.png",
])  # fmt: skip
def test_doors_that_this_page_has_no_use_for_are_shut(url, door):
    for body in (None, b"{}"):
        assert ask(f"{url}/gradio_api/{door}", body).status == 404


def test_no_one_watches_how_the_page_is_used(url):
    for path in ("monitoring", "monitoring/summary", "monitoring/x"):
        assert ask(f"{url}/{path}").status == 403


def test_what_the_page_says_of_itself_names_nothing_on_the_server(url, mine):
    for path in (
        "config",
        "",
        "es",
        "gradio_api/info",
        "gradio_api/openapi.json",
        "gradio_api/mcp/schema",
        "gradio_api/app_id",
    ):
        said = ask(f"{url}/{path}").body.decode()
        assert str(ROOT) not in said, path
        assert str(Path(mine).parent.parent) not in said, path
        assert str(Path.home()) not in said, path


def test_every_event_of_the_page_called_by_someone_else_shows_nothing_of_a_visitors(url, mine):
    config = json.loads(ask(f"{url}/config").body)
    values = {one["id"]: one["props"].get("value") for one in config["components"]}
    classify_button = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "classify")
    events = [one for one in config["dependencies"] if one["backend_fn"]]

    def call(event: dict, session: str, files: list | None = None) -> str:
        data = [files if files and values[one] is None else values[one] for one in event["inputs"]]
        body = {"data": data, "fn_index": event["id"], "session_hash": session, "event_data": {"index": 0, "row_value": [1]}}
        joined = ask(f"{url}/gradio_api/queue/join", body)
        if joined.status != 200:
            return joined.body.decode()
        return ask(f"{url}/gradio_api/queue/data?session_hash={session}").body.decode()

    files = [{"path": mine, "meta": {"_type": "gradio.FileData"}}]
    begun = [event for event in events if [classify_button, "click"] in event["targets"] or event["trigger_after"] is not None]
    assert any(NAME in call(event, "visitor", files) for event in begun)
    assert len(events) > 15
    for event in events:
        answer = call(event, "stranger")
        assert "Lopez" not in answer
        assert mine not in answer


class Inside(http.server.BaseHTTPRequestHandler):
    """A server in the house, which strangers cannot reach."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def inside():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Inside) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_server_fetches_nothing_from_its_own_network_for_a_stranger(url, inside):
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433"):
        address = f"http://{host}:{inside.server_port}/secret.png"
        assert classify(url, address).startswith("event: error")
        assert file(url, quote(address, safe="")).status == 404
    assert inside.asked == []


def test_an_agent_cannot_hand_in_a_file_of_the_server(url, mine):
    pytest.importorskip("mcp")

    def call(one: object) -> str:
        arguments = {"files": [one], "model": "resnet18"}
        question = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "classify", "arguments": arguments}}
        return ask(f"{url}/gradio_api/mcp/", question, Accept="application/json, text/event-stream").body.decode()

    page = str(ROOT / "docs" / "page.png")
    for path in (page, "/etc/passwd", mine):
        for one in (path, f"file://{path}", {"path": path}, {"path": path, "meta": {"_type": "gradio.FileData"}}):
            answer = call(one)
            assert '"isError":true' in answer.replace(" ", ""), answer
            assert "neutrophil" not in answer
    assert call("no address")  # it is still there


def test_what_fails_is_logged_without_words(url, mine, log):
    assert classify(url, f"/home/user/{NAME}").startswith("event: error")
    assert "There is no such file" in classify(url, str(Path(mine).with_name("gone-" + NAME)))
    (broken,) = json.loads(upload(url, "broken-" + NAME, b"no picture").body)
    assert "error" in classify(url, broken)
    (broken,) = json.loads(upload(url, "broken-Lopez.zip", b"no archive").body)
    assert classify(url, broken).startswith("event: error")
    assert "Traceback" in (log / "app.log").read_text()  # so that there is something to look at
