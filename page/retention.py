"""What visitors leave on the server goes in time, files and memory alike, and none of their words gets into its log."""

import asyncio
import contextlib
import logging
import os
import stat
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

PREFIX = "blood-cells-"  # of the folder that a server keeps its visitors' files in
MARK = ".blood-cells-server"  # the file by which such a folder is known as ours: others may have folders of this prefix
MARK_TEXT = "The page of the blood-cell classifier deletes this folder's old files.\n"


def cleaning(folder: Path, age: float, every: float) -> Callable[[Any], contextlib.AbstractAsyncContextManager]:
    """A lifespan for Gradio's server, during which whatever is older than `age` seconds goes, looked for `every` so many."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_cleaning(app, folder, age, every))
        try:
            yield
        finally:
            task.cancel()

    return lifespan


async def _keep_cleaning(app: Any, folder: Path, age: float, every: float) -> None:
    while True:
        try:
            await asyncio.to_thread(sweep, folder, age)
            clear_memory(app, age)
        except Exception:
            traceback.print_exc()  # and again at the next turn: what is to go must not stay for one mistake
        await asyncio.sleep(every)


def make_folders(folder: Path) -> tuple[str, str]:
    """Mark a server's folder as ours; two folders in it: of files that visitors may fetch again, and of temporary files."""
    (folder / MARK).write_text(MARK_TEXT)
    files, others = folder / "files", folder / "others"
    files.mkdir()
    others.mkdir()
    return str(files), str(others)


def sweep(folder: Path, age: float) -> None:
    """Delete what is too old in a server's folder, and in those beside it that killed servers have left."""
    in_use = {folder, *filter(Path.is_dir, folder.iterdir())}
    for path in in_use:
        os.utime(path)  # so that no other server takes it for left over while it is empty
    for left in folder.parent.glob(f"{PREFIX}*"):
        if _is_ours(left, folder.stat().st_uid):
            _sweep_folder(left, in_use, age)


def _is_ours(folder: Path, user: int) -> bool:
    """Whether a folder, which is no link, has our mark, and both are this user's."""
    try:
        found, mark = folder.lstat(), (folder / MARK).lstat()
        is_real = stat.S_ISDIR(found.st_mode) and stat.S_ISREG(mark.st_mode)
        return is_real and found.st_uid == mark.st_uid == user and (folder / MARK).read_text() == MARK_TEXT
    except (OSError, UnicodeDecodeError):
        return False


def _sweep_folder(folder: Path, in_use: set[Path], age: float) -> None:
    """Delete what is too old in a folder of ours. Its mark goes last, with the folder: without it nothing would be deleted."""
    is_old = _is_old(folder, age)
    for place, _, names in os.walk(folder, topdown=False):
        path = Path(place)
        for name in names:
            if path / name != folder / MARK:
                _delete(os.unlink, path / name, age)
        if path not in in_use and path != folder:
            _delete(os.rmdir, path, age)
    if is_old and folder not in in_use and os.listdir(folder) == [MARK]:
        with contextlib.suppress(OSError):
            (folder / MARK).unlink()
            folder.rmdir()


def _delete(how: Callable[[Path], None], path: Path, age: float) -> None:
    with contextlib.suppress(OSError):  # gone already, a folder with something in it, or another user's
        if _is_old(path, age):
            how(path)


def _is_old(path: Path, age: float) -> bool:
    return abs(time.time() - path.lstat().st_ctime) > age  # in either direction: the clock may have been set back


def clear_memory(app: Any, age: float) -> None:
    """Clear what Gradio remembers of sessions in which nothing was asked for so long; it would keep it for the next hundred.

    To be called where Gradio's own tasks run, between two of them.
    """
    queue, holder = app.blocks._queue, app.state_holder
    asked = {event["session_hash"]: event["time"] for event in list(queue.event_analytics.values())}
    asked |= {session: when.timestamp() for session, when in list(holder.time_last_used.items())}
    busy = {event.session_hash for event in list(queue.event_ids_to_events.values())}

    def is_over(session: str) -> bool:
        return session not in busy and abs(time.time() - asked.get(session, 0)) > age

    for session, held in list(holder.session_data.items()):
        held.STATE_TTL_WHEN_CLOSED = age  # of Gradio's own, an hour
        if is_over(session):
            held.state_data.clear()
            held.config_values.clear()
    for session in filter(is_over, list(queue.pending_messages_per_session)):  # answers that were not fetched
        queue.pending_messages_per_session.pop(session)
        queue.pending_event_ids_session.pop(session, None)
    for names in app.blocks.temp_file_sets:
        names.difference_update([name for name in list(names) if not os.path.exists(name)])


def quiet() -> None:
    """Make tracebacks say the kind and the place of an error, and not its words, which may name a visitor's file."""
    traceback.TracebackException.format_exception_only = _kind
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it shows the words of errors that nothing awaits


def _kind(error: traceback.TracebackException, **_: object) -> Iterator[str]:
    yield f"{getattr(error, 'exc_type_str', None) or error.exc_type.__name__}\n"  # from Python 3.13 on, and before
