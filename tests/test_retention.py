"""What visitors leave on the server goes within the hour and when it stops, however it came and however the server ends."""

import asyncio
import io
import json
import logging
import signal
import socket
import time
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from serving import serve, started
from visiting import answer, classified, classify, form, upload

import app
from cells.synthetic import draw_cell
from page import retention

ROOT = Path(__file__).resolve().parent.parent
KEPT = app.KEPT_SECONDS
SOON = "import app; app.KEPT_SECONDS, app.CHECK_SECONDS = 3, 0.2; app.main()"  # the same server, in a hurry
PATIENCE = 120  # seconds, on a machine that is busy


def until(condition) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def later(monkeypatch):
    """later(seconds): the clock that retention.py looks at goes ahead."""
    now = time.time

    def go(seconds: float) -> None:
        monkeypatch.setattr(retention.time, "time", lambda: now() + seconds)

    yield go
    monkeypatch.undo()


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a picture")
    return path


def test_nothing_gets_an_hour_old():
    assert KEPT + app.CHECK_SECONDS < 3600


def test_what_is_too_old_goes_from_the_folder_and_from_those_that_killed_servers_left(tmp_path, later):
    ours, left = tmp_path / "blood-cells-ours", tmp_path / "blood-cells-left"
    other = write(tmp_path / "another program's" / "file.png")
    ours.mkdir()
    files, others = map(Path, retention.make_folders(ours))
    left.mkdir()
    retention.make_folders(left)
    old = [write(files / "ab12" / "upload.png"), write(others / "tmpchunk"), write(left / "cd34" / ".hidden.zip")]
    later(KEPT - 60)
    retention.sweep(ours, KEPT)
    assert all(file.exists() for file in old)
    later(KEPT + 1)
    retention.sweep(ours, KEPT)
    assert not any(file.exists() for file in old)
    later(2 * KEPT + 2)  # the folders too, once they are empty for as long; a running server's own stay
    retention.sweep(ours, KEPT)
    assert not left.exists()
    assert not (files / "ab12").exists()
    assert files.exists()
    assert others.exists()
    assert other.exists()


def test_a_clock_that_was_set_back_keeps_nothing(tmp_path, later):
    (tmp_path / "blood-cells-ours").mkdir()
    files, _ = retention.make_folders(tmp_path / "blood-cells-ours")
    file = write(Path(files) / "upload.png")
    later(-86_400)
    retention.sweep(tmp_path / "blood-cells-ours", KEPT)
    assert not file.exists()


def test_a_link_that_someone_else_planted_is_not_followed(tmp_path, later):
    precious = write(tmp_path / "precious" / "file.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "blood-cells-planted").symlink_to(tmp_path / "precious")
    ours = tmp_path / "folder" / "blood-cells-ours"
    ours.mkdir()
    retention.make_folders(ours)
    retention.make_folders(tmp_path / "precious")
    (ours / "link").symlink_to(tmp_path / "precious")
    later(KEPT + 1)
    retention.sweep(ours, KEPT)
    assert precious.exists()


def test_a_folder_of_another_program_with_our_prefix_is_left_alone(tmp_path, later):
    """Whatever it holds in place of our mark: nothing, a file of the same name, or a link to a mark of ours."""
    ours = tmp_path / "blood-cells-ours"
    ours.mkdir()
    retention.make_folders(ours)
    precious = [write(tmp_path / f"blood-cells-{name}" / "slide.png") for name in ("study", "named", "linked")]
    (tmp_path / "blood-cells-named" / retention.MARK).write_text("another program's")
    (tmp_path / "blood-cells-linked" / retention.MARK).symlink_to(ours / retention.MARK)
    (tmp_path / "blood-cells-empty").mkdir()
    later(KEPT + 1)
    retention.sweep(ours, KEPT)
    later(2 * KEPT + 2)
    retention.sweep(ours, KEPT)
    assert all(file.exists() for file in precious)
    assert (tmp_path / "blood-cells-empty").exists()


def test_the_mark_stays_as_long_as_anything_else(tmp_path, later, monkeypatch):
    """Otherwise a younger file would never be deleted."""
    ours, left = tmp_path / "blood-cells-ours", tmp_path / "blood-cells-left"
    for folder in (ours, left):
        folder.mkdir()
        retention.make_folders(folder)
    young = write(left / "files" / "upload.png")
    is_old = retention._is_old
    later(KEPT + 1)
    with monkeypatch.context() as patched:
        patched.setattr(retention, "_is_old", lambda path, age: path != young and is_old(path, age))
        retention.sweep(ours, KEPT)
    assert young.exists()
    assert (left / retention.MARK).exists()
    for turn in (2, 4):  # the file, then the folders, which are as young as its end
        later(turn * KEPT)
        retention.sweep(ours, KEPT)
    assert not left.exists()


def test_a_mistake_does_not_end_the_cleaning(run_async, tmp_path, monkeypatch, capsys):
    turns = []
    monkeypatch.setattr(retention, "sweep", lambda *_: turns.append(1) or 1 / 0)

    async def run() -> None:
        async with retention.cleaning(tmp_path, KEPT, 0)(None):
            while len(turns) < 3:
                await asyncio.sleep(0)

    run_async(run())
    assert "retention: ZeroDivisionError at " in capsys.readouterr().err


def test_the_servers_own_log_has_no_words(capfd):
    logger = logging.getLogger("uvicorn.error")
    try:
        app.keep_words_out_of_the_log()
        try:
            Path("/nowhere/patient.png").read_bytes()
        except OSError:
            logger.error("Exception in ASGI application\n", exc_info=True)
    finally:
        for name in ("uvicorn.error", "asyncio"):
            logging.getLogger(name).filters.clear()
    said = capfd.readouterr().err
    assert said.startswith("uvicorn.error: FileNotFoundError at ")
    assert "patient" not in said


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != retention.MARK]


def picture() -> bytes:
    buffer = io.BytesIO()
    draw_cell("neutrophil").save(buffer, "PNG")
    return buffer.getvalue()


def break_off(url: str) -> None:
    """Begin an upload and hang up in the middle."""
    host, port = url.removeprefix("http://").split(":")
    body = form("a.png", 9000 * b"x")
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body[:5000])
        time.sleep(0.5)


def leave_everything(url: str, tmp_path: Path) -> None:
    """What visitors can leave: uploads of a program's and of plain HTTP, a result that no one fetches, half a file."""
    (tmp_path / "patient.png").write_bytes(picture())
    Client(url, verbose=False).predict([handle_file(tmp_path / "patient.png")], "resnet18", api_name="/classify")
    (path,) = json.loads(upload(url, "patient.png", picture()).body)
    classify(url, path, event_id=True)
    (archive,) = json.loads(upload(url, "patients.zip", b"no archive").body)  # a browser crashed before it was discarded
    assert answer(url, "open_archive", path=archive)["error"]
    break_off(url)


def test_a_page_that_classifies_leaves_nothing_on_the_disk(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with serve(ROOT, tmp_path, TMPDIR=str(temporary)) as url:
        paths = [path for _ in range(3) for path in json.loads(upload(url, "patient.png", picture()).body)]
        found = classified(url, *paths)
        assert len(found["cells"]) == 3
        review = found | {"format": 1, "created": "", "steps": [], "comment": ""}
        for kind in ("csv", "excel", "report"):
            assert answer(url, "export", kind=kind, review=review)["data"]
        small = found["cells"][0]["picture"]
        assert answer(url, "saliency", model=found["model"], label="ig", picture=small)["picture"]
        assert not files_in(temporary)
        (folder,) = temporary.glob(f"{retention.PREFIX}*")
        assert not list((folder / "files").iterdir())  # nor empty folders


def test_files_go_while_the_server_runs(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(ROOT, tmp_path, "-c", SOON, TMPDIR=str(temporary)) as (url, _):
        leave_everything(url, tmp_path)
        seen = until(lambda: not files_in(temporary))
        assert seen, files_in(temporary)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_leaves_nothing(how, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(ROOT, tmp_path, "app.py", TMPDIR=str(temporary)) as (url, process):
        leave_everything(url, tmp_path)
        assert files_in(temporary)
        process.send_signal(how)
        process.wait(PATIENCE)
    assert not files_in(temporary)
    assert not list(temporary.glob(f"{retention.PREFIX}*"))


def test_what_a_killed_server_left_goes_once_another_runs(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(ROOT, tmp_path, "app.py", TMPDIR=str(temporary)) as (url, process):
        leave_everything(url, tmp_path)
        process.kill()
        process.wait(PATIENCE)
    assert files_in(temporary)
    with started(ROOT, tmp_path, "-c", SOON, TMPDIR=str(temporary)):
        assert until(lambda: not files_in(temporary)), files_in(temporary)
