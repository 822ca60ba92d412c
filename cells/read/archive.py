"""A ZIP -> its pictures or its files, each read only when it is asked for, none written to a disk."""

import io
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from cells.read import limits
from cells.read.images import SUFFIXES, ImageError, Source

ENTRY = b"PK\x01\x02"  # what each entry of a ZIP's table of contents begins with
PIECE = 1_000_000  # bytes of a ZIP that are searched for entries at a time
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile bounds what these expand to, and no other
HIDDEN = re.compile(r"(?:^|[/\\])(?:__MACOSX|\.(?!\.?[/\\]))")  # a folder or file that programs hide; "." and ".." are none
UTF8_NAME = 0x800  # the flag of an entry whose name is UTF-8


class ArchiveError(ImageError):
    """A ZIP that cannot be used."""


@dataclass(frozen=True)
class Entry:
    """A file in a ZIP. It holds no open file, so that a deleted ZIP is gone."""

    name: str
    info: zipfile.ZipInfo = field(repr=False)
    _zip: zipfile.ZipFile = field(repr=False, compare=False)

    def read_bytes(self) -> bytes:
        """The content, never more than the table of contents says. Raises ImageError, FileNotFoundError, PermissionError."""
        try:
            with self._zip.open(self.info) as content:
                data = content.read(self.info.file_size + 1)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception:  # a damaged entry can make zipfile and zlib raise almost anything
            raise ImageError("picture_broken") from None
        return data


class _ReopenedFile(io.RawIOBase):
    """A file that is open only while a piece of it is read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.stat(self._path).st_size}[whence]
        if start + offset < 0:
            raise OSError("before the beginning")  # as a file does, which zipfile expects
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        with open(self._path, "rb") as file:
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data


def expand_archives(files: Sequence[str], most: int = limits.ENTRIES, is_named: bool = False) -> list[tuple[str, Source]]:
    """(name, source) of every picture. A ZIP stands for the pictures in it, whose names are those in the ZIP.

    `is_named`: the path of the ZIP comes before them, since two ZIPs may hold the same names.
    The name of any other file is its path. A ZIP of more than `most` pictures is refused, and once there are more than `most`
    pictures no further ZIP is opened. Raises ArchiveError.
    """
    found: list[tuple[str, Source]] = []
    for file in files:
        if is_archive(file) and os.path.isfile(file) and len(found) <= most:
            found += [(f"{file}/{entry.name}" if is_named else entry.name, entry) for entry in pictures(file, most)]
        else:
            found.append((file, file))
    return found


def is_archive(file: str) -> bool:
    return file.lower().endswith(".zip")


def pictures(file: str, most: int) -> list[Entry]:
    """The pictures of a ZIP, at most so many, in the order of their names; `.read_bytes()` of each is its content.

    What is no picture by its ending, and what programs hide in folders (`__MACOSX`, dot files), is passed over; so is a ZIP in
    it. Names are only names: nothing is unpacked, so none can lead out of a folder. Raises ArchiveError.
    """
    found = [entry for entry in sorted(_entries(file), key=lambda entry: entry.name) if _is_picture(entry.name)]
    infos = [entry.info for entry in found]
    if not found:
        raise ArchiveError("zip_empty", endings=", ".join(SUFFIXES))
    if len(found) > most:
        raise ArchiveError("zip_too_many", count=len(found), allowed=most)
    _check_readable(found)
    if sum(info.file_size for info in infos) > limits.UNPACKED_BYTES:  # no more than it says is read
        raise ArchiveError("zip_too_large", megabytes=limits.UNPACKED_BYTES // 1_000_000)
    if any(info.file_size > limits.FILE_BYTES for info in infos):
        raise ArchiveError("zip_picture_too_large", megabytes=limits.FILE_BYTES // 1_000_000)
    if any(len(entry.name) > limits.NAME for entry in found):
        raise ArchiveError("zip_name_too_long", letters=limits.NAME)
    return found


def files(file: str) -> list[Entry]:
    """The files of a ZIP, whatever they are, but for what programs hide in folders. Raises ArchiveError."""
    found = [entry for entry in _entries(file) if not entry.info.is_dir() and not HIDDEN.search(entry.name[: limits.NAME])]
    _check_readable(found)
    return found


def _check_readable(entries: Sequence[Entry]) -> None:
    """Raises ArchiveError."""
    if any(entry.info.flag_bits & 1 for entry in entries):
        raise ArchiveError("zip_locked")
    if any(entry.info.compress_type not in COMPRESSIONS for entry in entries):
        raise ArchiveError("zip_compression")


def _entries(file: str) -> list[Entry]:
    """What the table of contents of a ZIP names. Raises ArchiveError."""
    opened = _open(file)
    return [Entry(_name(info), info, opened) for info in opened.infolist()]


def _open(file: str) -> zipfile.ZipFile:
    """The ZIP, its table of contents read. Raises ArchiveError."""
    try:
        # The count that a ZIP states can lie; its entries cannot do without their mark. Each costs time and memory.
        if _count(file, ENTRY) > limits.ENTRIES:
            raise ArchiveError("zip_too_many_entries", allowed=limits.ENTRIES)
        return zipfile.ZipFile(_ReopenedFile(file))
    except ArchiveError:
        raise
    except PermissionError as error:
        raise ArchiveError("file_unreadable", reason=error.strerror) from None
    except Exception:  # a damaged table can make zipfile raise almost anything
        raise ArchiveError("zip_broken") from None


def _count(file: str, mark: bytes) -> int:
    """How often a file holds these bytes."""
    count, rest = 0, b""
    with open(file, "rb") as content:
        while piece := content.read(PIECE):
            count += (rest + piece).count(mark)
            rest = (rest + piece)[1 - len(mark) :]  # too short to hold one, and the beginning of one between two pieces
    return count


def _name(info: zipfile.ZipInfo) -> str:
    """The name of an entry. The Mac's own ZIPs have UTF-8 without the flag that says so; Windows' old ones are no UTF-8."""
    if info.flag_bits & UTF8_NAME:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not HIDDEN.search(name[: limits.NAME])
