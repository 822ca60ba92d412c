"""A ZIP of pictures -> its pictures, each read only when it is asked for, none written to a disk."""

import zipfile
from pathlib import Path

from cells import limits
from cells.images import SUFFIXES, ImageError


class ArchiveError(ImageError):
    """A ZIP that cannot be used. Its text is the message for the user."""


def is_archive(file: str) -> bool:
    return file.lower().endswith(".zip")


def pictures(file: str, most: int) -> list[zipfile.Path]:
    """The pictures of a ZIP, at most so many, in the order of their names; `.read_bytes()` of each is its content.

    What is no picture by its ending, and what programs hide in folders (`__MACOSX`, dot files), is passed over; so is a ZIP in
    it. Names are only names: nothing is unpacked, so none can lead out of a folder. Raises ArchiveError.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        raise ArchiveError("The ZIP is damaged or cut off; make it again.") from None
    found = sorted((one for one in archive.infolist() if _is_picture(one)), key=lambda one: one.filename)
    if not found:
        raise ArchiveError(f"The ZIP holds no picture; the endings looked for are {', '.join(SUFFIXES)}.")
    if len(found) > most:
        raise ArchiveError(f"The ZIP holds {len(found)} pictures, and {most} are allowed; split it.")
    if any(one.flag_bits & 1 for one in found):
        raise ArchiveError("The ZIP is locked with a password; make it without one.")
    if sum(one.file_size for one in found) > limits.UNPACKED_BYTES:  # no more than it says is read
        raise ArchiveError(f"The ZIP holds more than {limits.UNPACKED_BYTES // 1_000_000} MB of pictures; split it.")
    if any(one.file_size > limits.FILE_BYTES for one in found):
        raise ArchiveError(f"The ZIP holds a picture of more than {limits.FILE_BYTES // 1_000_000} MB; leave it out.")
    return [zipfile.Path(archive, one.filename) for one in found]


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    parts = Path(entry.filename.replace("\\", "/")).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts if part not in ("/", "..", "."))
    return entry.filename.lower().endswith(SUFFIXES) and not entry.is_dir() and not hidden
