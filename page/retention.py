"""What visitors leave on the server goes in time, files and memory alike."""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from page.uploads import log

PREFIX = "blood-cells-"  # of the folder that a server keeps its visitors' files in
MARK = ".blood-cells-server"  # the file by which such a folder is known as ours: others may have folders of this prefix
MARK_TEXT = "The page of the blood-cell classifier deletes this folder's old files.\n"


def cleaning(
    folder: Path, age: float, every: float, clear_memory: Callable[[Any], None] = lambda app: None
) -> Callable[[Any], contextlib.AbstractAsyncContextManager]:
    """A lifespan for Gradio's server, during which whatever is older than `age` seconds goes, looked for `every` so many.

    `clear_memory(app)` clears what the server's App remembers, between two of its own tasks.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_cleaning(app, folder, age, every, clear_memory))
        try:
            yield
        finally:
            task.cancel()

    return lifespan


async def _keep_cleaning(app: Any, folder: Path, age: float, every: float, clear_memory: Callable[[Any], None]) -> None:
    while True:
        try:
            await asyncio.to_thread(sweep, folder, age)
            clear_memory(app)
        except Exception as error:
            log("retention", error)  # and again at the next turn: what is to go must not stay for one mistake
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
