"""What visitors leave on the server goes within the hour and when it stops, however it came and however the server ends."""

import asyncio
import io
import json
import signal
import socket
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio_client import Client, handle_file
from serving import started
from visiting import classify, form, upload

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


@pytest.fixture
def server() -> SimpleNamespace:
    """Gradio's own memory of the page, as launch() makes it."""
    demo = app.build_demo()
    server = app.gr.routes.App.create_app(demo)
    server.state_holder.set_blocks(demo)
    return server


def test_what_a_session_showed_and_what_no_one_fetched_is_cleared_in_memory(server, later):
    demo = server.blocks
    styles = next(one for one in demo.blocks.values() if one.elem_id == "styles")
    review = next(one for one in demo.blocks.values() if isinstance(one, app.gr.State))
    session = server.state_holder["a visitor"]
    session[review._id] = "what was said of the pictures"
    session._update_value_in_config(styles._id, "the pictures themselves")
    queue = demo._queue
    queue.pending_messages_per_session["a program"] = asyncio.Queue()
    queue.event_analytics["1"] = {"session_hash": "a program", "time": time.time()}
    demo.upload_file_set.add("/nowhere/patient.png")

    def remembered() -> str:
        return f"{session.state_data} {session.config_values} {dict(queue.pending_messages_per_session)}"

    retention.clear_memory(server, KEPT)
    assert "said of the pictures" in remembered()
    assert "pictures themselves" in remembered()
    assert "a program" in remembered()
    assert not demo.upload_file_set
    later(KEPT + 1)
    queue.event_ids_to_events["2"] = SimpleNamespace(session_hash="a visitor")  # still at work
    retention.clear_memory(server, KEPT)
    assert "pictures themselves" in remembered()
    assert "a program" not in remembered()
    queue.event_ids_to_events.clear()
    retention.clear_memory(server, KEPT)
    assert remembered() == "{} {} {}"
    assert session[review._id] != "what was said of the pictures"


def test_a_mistake_does_not_end_the_forgetting(run_async, tmp_path, monkeypatch, capsys):
    turns = []
    monkeypatch.setattr(retention, "sweep", lambda *_: turns.append(1) or 1 / 0)

    async def run() -> None:
        async with retention.cleaning(tmp_path, KEPT, 0)(None):
            while len(turns) < 3:
                await asyncio.sleep(0)

    run_async(run())
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_traceback_has_no_words(monkeypatch):
    theirs = traceback.TracebackException.format_exception_only
    monkeypatch.setattr(traceback.TracebackException, "format_exception_only", theirs)  # to be put back
    retention.quiet()
    try:
        Path("/nowhere/patient.png").read_bytes()
    except OSError:
        text = traceback.format_exc()
    assert text.endswith("\nFileNotFoundError\n")
    assert Path(__file__).name in text
    assert "No such file" not in text


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
    break_off(url)


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
