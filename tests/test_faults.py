"""Faults while the page is used: too many at once, someone who leaves, a server that dies, a full disk, a cut-off model."""

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
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from serving import free_port, start
from test_browser import EN, ES, ROOT, WAIT, cell, classify, counts, download, give, select, upload

from cells.__main__ import main as cells_main
from cells.model.classifier import Classifier
from cells.synthetic import draw_cell
from page.texts import texts

GATED = Path(__file__).with_name("gated_app.py")
NO_DISK = "The server's disk is full, so no file can be kept there; try again later."
LOST = "Connection to the server was lost. Attempting reconnection..."  # as Gradio has it
NO_FOLDER = "The server cannot keep files at the moment; try again later."


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
    (running.folder / "clock").unlink(missing_ok=True)
    assert running.process.poll() is None  # whatever happened, it goes on


@pytest.fixture
def open_page(browser, server):
    """open_page(language) -> the page in a new tab."""
    context = browser.new_context()

    def open_it(language: str = "en"):
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto(f"{server.url}/{'' if language == 'en' else language}")
        page.wait_for_selector("#classify")
        return page

    yield open_it
    context.close()


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
        self.events = urllib.request.urlopen(f"{url}/gradio_api/call/classify/{event}", timeout=WAIT / 1000)

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
    deadline = time.monotonic() + WAIT / 1000
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- too many at once ---


def test_the_page_says_where_one_stands_and_a_review_goes_on_meanwhile(server, open_page, cells):
    page, waiting = open_page(), open_page()
    classify(page, cells[:2])
    upload(waiting, cells[:1])
    server.close_gate()
    programs = [Program(server.url, cells[:2]) for _ in range(2)]  # as many as are classified at once
    waiting.click("#classify")
    waiting.locator("#files").get_by_text("Place in the queue: 1/1").wait_for()
    give(page, 1, "monocyte")  # a step does not wait for them
    counts(page, f"1 {EN['changed']}")
    download(page, "#csv", server.folder / "cells.csv")
    server.open_gate()
    waiting.locator("#gallery [data-cell]").first.wait_for()
    assert [len(program.answer()) for program in programs] == [2, 2]


def test_beyond_the_limit_everyone_is_told_at_once(server, open_page, cells):
    page, spanish = open_page(), open_page("es")
    busy = EN["errors"]["busy"].format(most=2)
    for one in (page, spanish):
        upload(one, cells[:1])
    server.close_gate()
    programs = [Program(server.url, cells[:2]) for _ in range(4)]  # two at once, and two that wait
    page.click("#classify")
    page.get_by_text(busy).first.wait_for()
    spanish.click("#classify")
    spanish.get_by_text(ES["errors"]["busy"].format(most=2)).first.wait_for()
    with pytest.raises(urllib.error.HTTPError) as refused:
        Program(server.url, cells[:1])
    assert refused.value.code == 503
    assert busy in refused.value.read().decode()
    with pytest.raises(QueueError, match="full"):
        Client(server.url, verbose=False).predict([handle_file(cells[0])], "resnet18", api_name="/classify")
    server.open_gate()
    assert [len(program.answer()) for program in programs] == [2] * 4  # no one who had a place lost it
    classify(page, cells[:1])


# --- someone leaves ---


def test_whoever_leaves_frees_what_is_not_begun(server, open_page, cells):
    page = open_page()
    upload(page, cells)
    server.close_gate()
    before = len(server.begun())
    page.click("#classify")
    until(lambda: len(server.begun()) > before)
    stays = Program(server.url, cells[:3])
    leave = [Program(server.url, cells) for _ in range(2)]
    for program in leave:
        program.hang_up()
    page.close()
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


@pytest.mark.parametrize("language", ["en", "es"])
def test_a_killed_server_is_told_and_the_page_carries_on_when_it_is_back(server, open_page, cells, language):
    t = {"en": EN, "es": ES}[language]
    page = open_page(language)
    classify(page, cells[:3])
    give(page, 1, "not_a_cell")
    counts(page, f"1 {t['choice']['not_a_cell']}")
    upload_again(page, cells)
    server.close_gate()
    page.click("#classify")
    page.locator("#files").get_by_text(t["progress_loading"]).wait_for()
    server.kill()
    page.get_by_text(t["gradio"][LOST]).first.wait_for()
    page.evaluate("window.isOld = true")
    server.open_gate()
    server.start()
    page.wait_for_function("!window.isOld")  # it loads again by itself
    counts(page, f"1 {t['choice']['not_a_cell']}")
    page.locator("#gallery [data-cell]").nth(2).wait_for()
    classify(page, cells[:2])
    page.locator("#gallery [data-cell]").nth(2).wait_for(state="detached")


def test_a_server_that_was_restarted_unnoticed_says_how_to_carry_on(server, open_page, cells):
    page = open_page()
    classify(page, cells[:3])
    give(page, 1, "not_a_cell")
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    server.kill()
    server.start()
    cell(page, 0).click()
    page.get_by_text(EN["errors"]["gone"]).first.wait_for()
    page.reload()
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    select(page, 0)


def upload_again(page, files: list[str]) -> None:
    page.locator("#files button[aria-label='Clear']").click()
    upload(page, files)


# --- the disk, the temporary folder, the clock ---


@pytest.mark.parametrize("language", ["en", "es"])
def test_a_full_disk_is_a_sentence_and_nothing_is_lost(server, open_page, cells, language):
    page = open_page(language)
    classify(page, cells[:20])
    server.limit_files(3000)
    page.click("#csv")
    page.get_by_text(texts(language)["errors"]["disk_full"]).first.wait_for()
    page.reload()
    page.locator("#gallery [data-cell]").nth(19).wait_for()
    page.set_input_files("#files input[type=file]", cells[:1])
    page.get_by_text(texts(language)["errors"]["disk_full"]).first.wait_for()
    give(page, 1, "not_a_cell")  # needs no disk
    server.limit_files(resource.RLIM_INFINITY)
    assert download(page, "#csv", server.folder / "cells.csv").stat().st_size > 3000
    page.reload()
    classify(page, cells[:1])


def test_a_temporary_folder_that_is_gone_is_a_sentence_until_it_is_back(server, open_page, cells):
    page = open_page()
    uploads = max(server.temporary.glob("blood-cells-*"), key=lambda folder: folder.stat().st_ctime)  # killed ones left theirs
    uploads.rename(server.folder / "away")
    uploads.touch()  # a file in its way: not even root can write there
    page.set_input_files("#files input[type=file]", cells[:1])
    page.get_by_text(NO_FOLDER).first.wait_for()
    uploads.unlink()
    (server.folder / "away").rename(uploads)
    page.reload()
    classify(page, cells[:1])


def test_without_a_folder_for_uploads_the_page_does_not_start(tmp_path):
    (tmp_path / "file").touch()
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no folder for uploads (")
    assert done.stderr.count("\n") == 1


def test_a_clock_that_is_set_back_changes_nothing(server, open_page, cells):
    page = open_page()
    classify(page, cells[:3])
    server.close_gate()
    running = Program(server.url, cells[:2])
    (server.folder / "clock").touch()
    waiting = [Program(server.url, cells[:2]) for _ in range(2)]
    server.open_gate()
    assert [len(program.answer()) for program in (running, *waiting)] == [2, 2, 2]
    give(page, 1, "not_a_cell")
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    page.reload()
    classify(page, cells[:2])


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


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_page_says_which_model_is_cut_off_and_the_others_go_on(server, open_page, cells, language):
    weights = server.folder / "models" / "vit_tiny" / "model.safetensors"
    whole = weights.read_bytes()
    reason = cut_off(weights)
    message = f"The model vit_tiny {reason}" if language == "en" else "El modelo vit_tiny no se puede cargar"
    page = open_page(language)
    upload(page, cells[:2])
    choose(page, "vit_tiny")
    page.click("#classify")
    page.get_by_text(message).first.wait_for()
    page.locator("[data-testid=toast-close]").first.click()
    choose(page, "resnet18")
    page.click("#classify")
    page.locator("#gallery [data-cell]").nth(1).wait_for()
    weights.write_bytes(whole)
    choose(page, "vit_tiny")
    page.click("#classify")
    counts(page, "vit_tiny@")  # mended, it serves without a restart
    cut_off(weights)
    page.click("#saliency")  # needs the weights themselves
    page.get_by_text(message).first.wait_for()
    weights.write_bytes(whole)
    server.kill()
    server.start()  # without the model in memory


def choose(page, model: str) -> None:
    page.click("#model input")
    page.get_by_role("option", name=model).click()


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
