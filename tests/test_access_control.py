"""A running server asked for what it should not give: guessed names, other people's files, closed routes, and the log."""

import base64
import contextlib
import http.client
import http.server
import io
import json
import re
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from serving import serve
from visiting import Answer, answer, ask, call, classified, classify, component, upload

from cells.model.folder import DEFAULT
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
    (other,) = json.loads(upload(url, "x.png", picture()).body)
    guess = str(Path(other).with_name(NAME))
    assert file(url, guess).status == 403
    assert "not on the server any more" in classify(url, guess)
    assert classified(url, guess)["error"]["code"] == "gone"


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
    path = path.format(root=ROOT, folder=Path(mine).parent.parent)
    said = classify(url, path)
    assert said.startswith("event: error"), said
    assert str(ROOT) not in said
    for function in ("open_archive", "saliency"):
        more = {"model": "resnet18@x", "label": "ig"}
        assert answer(url, function, path=path, **more)["error"]["code"] in ("not_uploaded", "gone", "model_other_version")
    assert classified(url, path)["error"]["code"] in ("not_uploaded", "gone")
    assert answer(url, "discard", paths=[path]) == {}


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


@pytest.mark.parametrize("route", [
    "process_recording", "deep_link?session_hash=x", "proxy=https://huggingface.co/x", "vibe-edit",
    "undo-vibe-edit", "vibe-code", "run-history/records", "runs", "stream/x", "stream/x/y/1/playlist-file", "dev/reload",
    "custom_component/x/client/component/index.js", "token", "file/etc/passwd", "file=http://127.0.0.1/", "login_check",
    "file=https://example.org/a.png",
])  # fmt: skip
def test_routes_that_this_page_has_no_use_for_are_closed(url, route):
    for body in (None, b"{}"):
        assert ask(f"{url}/gradio_api/{route}", body).status == 404


def test_only_the_pages_own_functions_are_called(url):
    known = {"component_id": component(url), "session_hash": "x", "data": {}}
    server = f"{url}/gradio_api/component_server"
    for name in ("postprocess", "__init__", "get_config", "preprocess", "nothing", "_events", "__class__"):
        assert ask(server, known | {"fn_name": name}).status == 404
    for wrong in ({"component_id": 10**6}, {"component_id": "x"}, {"component_id": []}, {"session_hash": []}):
        assert ask(server, known | {"fn_name": "discard"} | wrong).status in (400, 404, 500)


def test_the_pages_functions_take_json_of_a_known_and_modest_length(url):
    server = f"{url}/gradio_api/component_server"
    assert ask(server, b"--x\r\n", Content_Type="multipart/form-data; boundary=x").status == 415
    assert ask(server, b"{}", Content_Type="text/plain").status == 415
    assert ask(server, b"{", Content_Type="application/json").status == 400
    assert ask(server, b"{}", Content_Type="application/json", Content_Length=str(10**9)).status == 413
    host, port = url.removeprefix("http://").split(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as wire:
        chunks = iter([b"{}"])
        wire.request("POST", "/gradio_api/component_server", chunks, {"Content-Type": "application/json"}, encode_chunked=True)
        assert wire.getresponse().status == 411
    large = {"Content_Type": "application/json", "Content_Length": str(10**9)}
    for route in ("queue/join", "call/classify_base64", "run/classify_base64", "mcp"):
        assert ask(f"{url}/gradio_api/{route}", b"{}", **large).status == 413
        both = {"Content_Type": "application/json", "Content_Length": "2", "Transfer_Encoding": "chunked"}
        assert ask(f"{url}/gradio_api/{route}", b"0\r\n\r\n", **both).status == 411


def test_no_call_goes_past_the_queue(url):
    assert ask(f"{url}/gradio_api/run/classify_base64", {"data": [[], ""]}).status == 404


@pytest.mark.parametrize("path", [
    "main.js", "x/../../app.py", "x/..%2f..%2fapp.py", "x/cases.json", "x/review.test.js", "x/package.json", "x/workbench.html",
    "x/", "", "x/main.js/y", "x/%2e%2e%2fhandlers.py",
])  # fmt: skip
def test_beside_its_modules_the_workbench_serves_nothing(url, path):
    assert ask(f"{url}/workbench/{path}").status == 404


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


def test_what_the_page_answers_to_one_visitor_it_tells_no_other(url):
    (path,) = json.loads(upload(url, NAME, picture()).body)
    assert "Lopez" in json.dumps(classified(url, path, sources=[{"id": "1", "name": NAME, "path": path}]))
    for session in ("a tab", "another"):
        for function in (
            "open_archive",
            "classify",
            "discard",
            "refresh",
            "saliency",
            "differential",
            "export",
            "real_examples",
        ):
            for asked in ({}, {"batch": "b", "model": "resnet18", "sources": [{"id": "1", "drawn": "ig"}]}, {"counts": {}}):
                said = call(url, function, asked, session).body.decode()
                assert "Lopez" not in said
                assert path not in said
    for event in json.loads(ask(f"{url}/config").body)["dependencies"]:
        body = {"data": [None, "resnet18"], "fn_index": event["id"], "session_hash": "another", "event_data": None}
        ask(f"{url}/gradio_api/queue/join", body)
        assert "Lopez" not in ask(f"{url}/gradio_api/queue/data?session_hash=another").body.decode()


class Inside(http.server.BaseHTTPRequestHandler):
    """A server of the inner network, which visitors cannot reach."""

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


def test_the_server_fetches_nothing_from_its_own_network_for_a_visitor(url, inside):
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433"):
        address = f"http://{host}:{inside.server_port}/secret.png"
        assert classify(url, address).startswith("event: error")
        assert file(url, quote(address, safe="")).status == 404
    assert inside.asked == []


def test_an_address_beside_an_upload_is_not_fetched(url, inside):
    (path,) = json.loads(upload(url, NAME, picture()).body)
    address = f"http://127.0.0.1:{inside.server_port}/secret.png"
    assert classify(url, path, url=address).startswith("event: complete")
    assert inside.asked == []


def test_a_program_gets_its_own_names_back_and_its_uploads_are_deleted(url):
    (path,) = json.loads(upload(url, "=a(1) ñ.png", picture()).body)
    answer = classify(url, path, orig_name="slide 7/=a(1) ñ.png")
    assert json.loads(answer.partition("data: ")[2])[0][0]["file"] == "slide 7/=a(1) ñ.png"
    assert not Path(path).parent.exists()
    assert "not on the server any more" in classify(url, path)
    (path,) = json.loads(upload(url, "broken.zip", b"no archive").body)
    assert classify(url, path).startswith("event: error")
    assert not Path(path).exists()


def agent(url: str, tool: str, **arguments: object) -> str:
    """What a call of a tool over MCP answers."""
    pytest.importorskip("mcp")
    question = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    return ask(f"{url}/gradio_api/mcp/", question, Accept="application/json, text/event-stream").body.decode()


def test_an_agent_hands_pictures_over_as_base64(url):
    text = base64.b64encode(picture()).decode()
    answer = agent(url, "classify", pictures=[text, f"data:image/png;base64,{text}"])
    assert '"isError":false' in answer.replace(" ", ""), answer
    for word in ("picture 1", "picture 2", "p_neutrophil", f"{DEFAULT}@"):
        assert word in answer
    for wrong in ("no base64!", "sangre: glóbulo"):
        assert "is not base64" in agent(url, "classify", pictures=[wrong])
    assert "1 to 500" in agent(url, "classify", pictures=[])
    assert "is not offered" in agent(url, "classify", pictures=[text], model="no such model")


def test_an_agent_cannot_hand_in_a_file_of_the_server(url, mine):
    page = str(ROOT / "docs" / "page.png")
    for path in (page, "/etc/passwd", mine):
        for one in (path, f"file://{path}", {"path": path}, {"path": path, "meta": {"_type": "gradio.FileData"}}):
            for arguments in ({"pictures": [one], "tool": "classify"}, {"files": [one], "tool": "classify_files"}):
                told = agent(url, model="resnet18", **arguments)
                assert '"isError":true' in told.replace(" ", ""), told
                assert "neutrophil" not in told


def test_what_fails_is_logged_without_words(url, mine, log):
    assert classify(url, f"/home/user/{NAME}").startswith("event: error")
    assert "not on the server any more" in classify(url, str(Path(mine).with_name("gone-" + NAME)))
    (broken,) = json.loads(upload(url, "broken-" + NAME, b"no picture").body)
    assert "error" in classify(url, broken)
    (broken,) = json.loads(upload(url, "broken-" + NAME, b"no picture").body)
    assert classified(url, broken)["cells"][0]["status"] == "error"
    (broken,) = json.loads(upload(url, "broken-Lopez.zip", b"no archive").body)
    assert answer(url, "open_archive", path=broken)["error"]["code"] == "zip_broken"
    assert classify(url, broken).startswith("event: error")
    call(url, "classify", {"language": NAME, "batch": NAME})
    assert "api: InvalidPathError at" in (log / "app.log").read_text()  # so that there is something to look at
