"""What visitors leave on the server goes in time, files and memory alike."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from page.uploads import log

PREFIX = "blood-cells-"  # of the folder that a server keeps its visitors' files in


def forgetting(
    folder: Path, age: float, every: float, forget: Callable[[Any], None] = lambda app: None
) -> Callable[[Any], contextlib.AbstractAsyncContextManager]:
    """A lifespan for Gradio's server, during which whatever is older than `age` seconds goes, looked for `every` so many.

    `forget(app)` clears what the server's App remembers, between two of its own tasks.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_forgetting(app, folder, age, every, forget))
        try:
            yield
        finally:
            task.cancel()

    return lifespan


async def _keep_forgetting(app: Any, folder: Path, age: float, every: float, forget: Callable[[Any], None]) -> None:
    while True:
        try:
            await asyncio.to_thread(sweep, folder, age)
            forget(app)
        except Exception as error:
            log("retention", error)  # and again at the next turn: what is to go must not stay for one mistake
        await asyncio.sleep(every)


def rooms(folder: Path) -> tuple[str, str]:
    """Two folders in it: of what visitors may fetch again, and of whatever libraries write for a moment."""
    files, others = folder / "files", folder / "others"
    files.mkdir()
    others.mkdir()
    return str(files), str(others)


def sweep(folder: Path, age: float) -> None:
    """Delete what is too old in a server's folder, and in those beside it that killed servers have left."""
    in_use = {folder, *folder.iterdir()}
    for one in in_use:
        os.utime(one)  # so that no other server takes it for left over while it is empty
    for one in folder.parent.glob(f"{PREFIX}*"):
        if not one.is_symlink():
            for place, _, names in os.walk(one, topdown=False):
                for name in names:
                    _delete(os.unlink, Path(place, name), age)
                if Path(place) not in in_use:
                    _delete(os.rmdir, Path(place), age)


def _delete(how: Callable[[Path], None], path: Path, age: float) -> None:
    with contextlib.suppress(OSError):  # gone already, a folder with something in it, or another user's
        if abs(time.time() - path.lstat().st_ctime) > age:  # either way: the clock may have been set back
            how(path)
