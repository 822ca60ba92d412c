"""Files that visitors uploaded: which paths are one, their deletion, and what the log says when something fails."""

import errno
import os
import stat
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from page.texts import RefusedError


def folder() -> Path:
    """Where the server keeps uploads, each in a folder of its own, whose name cannot be guessed."""
    return Path(os.environ["GRADIO_TEMP_DIR"]).resolve()


def find(path: str) -> Path:
    """The upload at a path that POST /upload returned. Raises RefusedError: `not_uploaded`, or `gone` where it was deleted."""
    try:
        found = Path(path)
        if not found.is_absolute() or found.parent.parent.resolve() != folder() or ".." in found.parts:
            raise RefusedError("not_uploaded")
        status = found.lstat()
    except FileNotFoundError:
        raise RefusedError("gone") from None
    except (OSError, ValueError):  # a name that is too long, or has a zero in it
        raise RefusedError("not_uploaded") from None
    if not stat.S_ISREG(status.st_mode) or found.parent.is_symlink():
        raise RefusedError("not_uploaded")
    return found


def delete(files: Iterable[Path]) -> None:
    """Delete uploads with their folders. What cannot be deleted is left to retention.py."""
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)
            file.parent.rmdir()


def unkept(error: OSError) -> str:
    """The key of the sentence about a file that could not be read or written. It names neither place nor file."""
    return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "disk_closed"


def log(where: str, error: BaseException) -> None:
    """A line on what kind of error came where, without its words, which may name a visitor's file."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    with suppress(OSError):  # the log may lie on a full disk
        print(f"{where}: {type(error).__name__} at {places}", file=sys.stderr, flush=True)
