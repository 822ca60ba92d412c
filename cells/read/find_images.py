"""What a call names on this machine -> its pictures."""

import os
from collections.abc import Sequence

from cells.read.images import SUFFIXES


class CallError(Exception):
    """A call that cannot be carried out. Its text is one line for the user."""


def find_images(path: str, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """The file itself, or the files below a folder with these endings, in the order of their names. Raises CallError.

    Hidden files and folders are left out: they are other programs' leavings. Links to folders are followed. Each folder is
    listed once, whatever leads to it, so that a link to a folder above ends.
    """
    if not os.path.isdir(path):
        return [path]  # also a missing file, which becomes a row that says so
    found, visited = [], {os.path.realpath(path)}

    def is_new(folder: str) -> bool:
        count = len(visited)
        visited.add(os.path.realpath(folder))
        return len(visited) > count

    # A folder that may not be opened becomes a row that says so.
    for folder, subfolders, names in os.walk(path, onerror=lambda error: found.append(error.filename), followlinks=True):
        subfolders[:] = [name for name in sorted(subfolders) if not is_hidden(name) and is_new(os.path.join(folder, name))]
        found.extend(os.path.join(folder, name) for name in sorted(names) if is_image_name(name, suffixes))
    if not found:
        raise no_picture(path, suffixes)
    return found


def is_image_name(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file has one of the endings, and is not hidden."""
    return name.lower().endswith(tuple(suffixes)) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden."""
    return name.startswith(".")


def no_picture(path: str, suffixes: Sequence[str]) -> CallError:
    """The error of a folder without a picture."""
    return CallError(f"the folder {path} holds no picture; the endings looked for are {', '.join(suffixes)}.")
