"""Faults while the page is used: too many at once, someone who leaves, a server that dies, a full disk, a cut-off model.

What a browser does about them is in test_browser.py.
"""

import base64
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from serving import free_port, start
from visiting import answer, classified

from cells.__main__ import main as cells_main
from cells.model.classifier import Classifier
from cells.synthetic import draw_cell
from page.texts import texts

ROOT = Path(__file__).resolve().parent.parent
GATED = Path(__file__).with_name("gated_app.py")
WAIT = 120  # seconds, for a machine that is busy
EN, ES = texts("en")["errors"], texts("es")["errors"]


class Server:
    """The page on a port of its own, to be killed and started again, with a gate before every picture."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder, folder / "temporary"
        self.temporary.mkdir()
        shutil.copytree(ROOT / "models", folder / "models")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = (str(GATED), str(self.folder))
        self.process = start(ROOT, self.folder, self.port, command=command, TMPDIR=str(self.temporary))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close_gate(self) -> None:
        (self.folder / "gate").touch()

    def open_gate(self) -> None:
        (self.folder / "gate").unlink(missing_ok=True)

    def begun(self) -> list[str]:
        file = self.folder / "begun"
        return file.read_text().splitlines() if file.exists() else []

    def limit_files(self, bytes_: int) -> None:
        """As on a full disk, no file can be longer."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.process.terminate()
    server.process.wait(60)


@pytest.fixture
def server(running):
    if running.process.poll() is not None:
        running.start()
    yield running
    running.open_gate()
    running.limit_files(resource.RLIM_INFINITY)
    (running.folder / "clock").unlink(missing_ok=True)
    assert running.process.poll() is None  # whatever happened, it goes on


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> list[str]:
    """Two hundred drawn cells."""
    folder = tmp_path_factory.mktemp("cells")
    one = folder / "000.png"
    draw_cell("lymphocyte").save(one)
    for number in range(1, 200):
        (folder / f"{number:03d}.png").hardlink_to(one)
    return sorted(map(str, folder.iterdir()))


class Program:
    """A request of a program's, over plain HTTP."""

    def __init__(self, url: str, files: list[str]) -> None:
        body = json.dumps({"data": [upload_files(url, files), "resnet18"]}).encode()
        request = urllib.request.Request(f"{url}/gradio_api/call/classify", body, {"Content-Type": "application/json"})
        event = json.load(urllib.request.urlopen(request, timeout=60))["event_id"]
        self.events = urllib.request.urlopen(f"{url}/gradio_api/call/classify/{event}", timeout=WAIT)

    def answer(self) -> list[dict]:
        event, data = self.events.read().decode().strip().split("\n\n")[-1].split("\n")
        assert event == "event: complete", data
        return json.loads(data.removeprefix("data: "))[0]

    def hang_up(self) -> None:
        self.events.close()


def upload_files(url: str, files: list[str]) -> list[dict]:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="files"; filename="{Path(file).name}"\r\n\r\n'.encode()
        + Path(file).read_bytes()
        for file in files
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{url}/gradio_api/upload", b"\r\n".join(parts) + b"\r\n--x--\r\n", headers)
    paths = json.load(urllib.request.urlopen(request, timeout=60))
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(server: Server, *files: str, **more: object) -> dict:
    """What the page does with chosen files: upload, then classify."""
    paths = [one["path"] for one in upload_files(server.url, list(files))]
    return classified(server.url, *paths, **more)


def in_thread(pool: ThreadPoolExecutor, server: Server, *files: str, **more: object) -> Future:
    return pool.submit(ask, server, *files, **more)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


# --- too many at once ---


def test_a_full_lane_says_so_at_once_and_everything_else_goes_on(server, cells, pool):
    answer(server.url, "differential", counts={"ig": 1})  # scipy is loaded
    server.close_gate()
    before = len(server.begun())
    asked = [in_thread(pool, server, *cells[:2]) for _ in range(4)]  # two that compute, and two that wait
    until(lambda: len(server.begun()) > before)
    until(lambda: "error" in classified(server.url, sources=[{"id": "1", "drawn": "ig"}]) or sum(one.done() for one in asked))
    for language, words in (("en", EN), ("es", ES)):
        refused = classified(server.url, sources=[{"id": "1", "drawn": "ig"}], language=language)
        assert refused["error"] == {"code": "busy", "text": words["busy"].format(most=2)}
    assert answer(server.url, "differential", counts={"ig": 2})["white"] == 2
    assert answer(server.url, "refresh", model="resnet18") == {}
    server.open_gate()
    assert [len(one.result()["cells"]) for one in asked] == [2] * 4  # no one who had a place lost it
    assert len(ask(server, cells[0])["cells"]) == 1


def test_programs_take_no_places_of_the_page(server, cells, pool):
    server.close_gate()
    programs = [Program(server.url, cells[:2]) for _ in range(4)]
    pages = [in_thread(pool, server, *cells[:2]) for _ in range(4)]
    server.open_gate()
    assert [len(program.answer()) for program in programs] == [2] * 4
    assert [len(page.result()["cells"]) for page in pages] == [2] * 4


def test_beyond_the_limit_programs_are_told_at_once(server, cells):
    server.close_gate()
    programs = [Program(server.url, cells[:2]) for _ in range(2)]
    before = len(server.begun())
    until(lambda: len(server.begun()) > before - 1)
    programs += waiting(server, cells)
    with pytest.raises(urllib.error.HTTPError) as refused:
        Program(server.url, cells[:1])
    assert refused.value.code == 503
    assert json.load(refused.value) == {"detail": EN["busy"].format(most=2)}
    with pytest.raises(QueueError, match="full"):
        Client(server.url, verbose=False).predict([handle_file(cells[0])], "resnet18", api_name="/classify")
    server.open_gate()
    assert [len(program.answer()) for program in programs] == [2] * len(programs)


def waiting(server: Server, cells: list[str]) -> list["Program"]:
    """Programs that fill the queue."""
    found = []
    with contextlib.suppress(urllib.error.HTTPError):
        while len(found) < 5:
            found.append(Program(server.url, cells[:2]))
    assert 2 <= len(found) < 5
    return found


# --- someone leaves ---


def test_whoever_leaves_frees_what_is_not_begun(server, cells):
    server.close_gate()
    before = len(server.begun())
    leave = [Program(server.url, cells) for _ in range(2)]
    until(lambda: len(server.begun()) > before)
    stays = Program(server.url, cells[:3])
    leave.append(Program(server.url, cells))
    for program in leave:
        program.hang_up()
    until(lambda: is_free(server.url, cells[:1]))  # the places of those who left
    server.open_gate()
    assert len(stays.answer()) == 3
    assert len(Program(server.url, cells[:1]).answer()) == 1
    assert len(server.begun()) - before < 100  # of 600 and some


def is_free(url: str, files: list[str]) -> bool:
    try:
        return bool(Program(url, files))
    except urllib.error.HTTPError:
        return False


# --- the server dies ---


def test_a_server_that_was_restarted_goes_on_at_once_with_what_the_browser_has(server, cells):
    found = ask(server, *cells[:3])
    server.kill()
    server.start()
    review = found | {
        "format": 1,
        "created": "",
        "comment": "",
        "steps": [{"cell": "0", "number": 1, "decision": "ig", "time": ""}],
    }
    data = base64.b64decode(answer(server.url, "export", kind="csv", review=review)["data"]).decode()
    assert data.splitlines()[1].split(",")[2] == "ig"
    assert answer(server.url, "saliency", model=found["model"], label="ig", picture=found["cells"][0]["picture"])["picture"]
    assert ask(server, *cells[3:5])["model"] == found["model"]


def test_pictures_that_a_killed_server_had_are_to_be_uploaded_again(server, cells):
    (upload,) = upload_files(server.url, cells[:1])
    server.kill()
    server.start()
    assert classified(server.url, upload["path"])["error"]["code"] in ("gone", "not_uploaded")
    assert len(ask(server, cells[0])["cells"]) == 1


# --- the disk, the temporary folder, the clock ---


def test_a_full_disk_is_a_sentence_and_the_rest_needs_none(server, cells):
    found = ask(server, *cells[:16])
    server.limit_files(3000)
    with pytest.raises(urllib.error.HTTPError) as refused:
        upload_files(server.url, cells[:1])
    assert refused.value.code == 507
    assert refused.value.read().decode() == EN["disk_full"]
    review = found | {"format": 1, "created": "", "comment": "", "steps": []}
    for kind in ("csv", "excel", "report"):
        assert len(answer(server.url, "export", kind=kind, review=review)["data"]) > 3000
    server.limit_files(resource.RLIM_INFINITY)
    assert len(ask(server, cells[0])["cells"]) == 1


def test_a_temporary_folder_that_is_gone_is_a_sentence_until_it_is_back(server, cells):
    uploads = max(server.temporary.glob("blood-cells-*"), key=lambda folder: folder.stat().st_ctime)  # killed ones left theirs
    uploads.rename(server.folder / "away")
    uploads.touch()  # a file in its way: not even root can write there
    with pytest.raises(urllib.error.HTTPError) as refused:
        upload_files(server.url, cells[:1])
    assert (refused.value.code, refused.value.read().decode()) == (507, EN["disk_closed"])
    uploads.unlink()
    (server.folder / "away").rename(uploads)
    assert len(ask(server, cells[0])["cells"]) == 1


def test_without_a_folder_for_uploads_the_page_does_not_start(tmp_path):
    (tmp_path / "file").touch()
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no folder for uploads (")
    assert done.stderr.count("\n") == 1


def test_a_clock_that_is_set_back_changes_nothing(server, cells, pool):
    server.close_gate()
    running, page = Program(server.url, cells[:2]), in_thread(pool, server, *cells[:2])
    (server.folder / "clock").touch()
    waiting = [Program(server.url, cells[:2]) for _ in range(2)]
    server.open_gate()
    assert [len(program.answer()) for program in (running, *waiting)] == [2, 2, 2]
    assert len(page.result()["cells"]) == 2
    assert len(ask(server, cells[0])["cells"]) == 1


# --- a model's file is cut off ---


def cut_off(weights: Path) -> str:
    """Leave half of a model's weights; returns what is to be said of it."""
    os.truncate(weights, weights.stat().st_size // 2)
    return "cannot be loaded: a .safetensors file of it is damaged or cut off; get the model again."


def test_cut_off_weights_are_one_line_on_the_command_line(model_folder, cell_files, tmp_path, capsys):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    reason = cut_off(folder / "model.safetensors")
    assert cells_main(["classify", *cell_files, "--model", str(folder)]) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: The model {folder} {reason}"]


def test_the_page_says_which_model_is_cut_off_and_the_others_go_on(server, cells):
    weights = server.folder / "models" / "vit_tiny" / "model.safetensors"
    whole = weights.read_bytes()
    reason = cut_off(weights)
    drawn = {"sources": [{"id": "1", "drawn": "ig"}], "model": "vit_tiny"}
    assert classified(server.url, **drawn)["error"]["text"] == f"The model vit_tiny {reason}"
    spanish = classified(server.url, language="es", **drawn)["error"]["text"]
    assert spanish.startswith("El modelo vit_tiny no se puede cargar")
    assert classified(server.url, **drawn | {"model": "resnet18"})["cells"]
    weights.write_bytes(whole)
    found = classified(server.url, **drawn)
    assert found["model"].startswith("vit_tiny@")  # mended, it serves without a restart
    cut_off(weights)
    asked = {"model": found["model"], "label": "ig", "picture": found["cells"][0]["picture"]}
    assert reason in answer(server.url, "saliency", **asked)["error"]["text"]  # it needs the weights themselves
    weights.write_bytes(whole)
    server.kill()
    server.start()  # without the model in memory


def test_weights_that_are_cut_off_while_they_serve_do_no_harm(model_folder, cell_files, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    code = (
        "import os, sys; from cells.model.classifier import Classifier; folder, *files = sys.argv[1:];"
        "one = Classifier.load(folder);"
        "os.truncate(f'{folder}/model.safetensors', 100); print([each.label for each in one.predict(files)])"
    )
    done = subprocess.run([sys.executable, "-c", code, folder, *cell_files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # it is in memory; mapped into it, the process would be killed by SIGBUS
    assert done.stdout.strip() == str([one.label for one in Classifier.load(model_folder).predict(cell_files)])
