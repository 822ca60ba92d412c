"""What a call names on this machine -> its pictures."""

import os
from collections.abc import Sequence

from cells.read.images import SUFFIXES


class CallError(Exception):
    """A call that cannot be carried out. Its text is one line for the user."""


def walk(path: str, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """The file itself, or the files below a folder with these endings, in the order of their names. Raises CallError."""
    if not os.path.isdir(path):
        return [path]  # also a missing one: it becomes a row that says so
    found = []
    # A folder that may not be opened becomes a row that says so.
    for folder, subfolders, names in os.walk(path, onerror=lambda error: found.append(error.filename)):
        subfolders.sort()
        found.extend(os.path.join(folder, name) for name in sorted(names) if is_meant(name, suffixes))
    if not found:
        raise no_picture(path, suffixes)
    return found


def is_meant(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes)) and not name.startswith(".")  # hidden ones are other programs' leavings


def no_picture(path: str, suffixes: Sequence[str]) -> CallError:
    return CallError(f"the folder {path} holds no picture; the endings looked for are {', '.join(suffixes)}.")
