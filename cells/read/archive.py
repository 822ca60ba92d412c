"""A ZIP of pictures -> its pictures, each read only when it is asked for, none written to a disk."""

import bz2
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cells.read import limits
from cells.read.images import SUFFIXES, ImageError

ENTRY = b"PK\x01\x02"  # what each entry of a ZIP's table of contents begins with
LOCAL_HEADER = struct.Struct("<4s22xHH")  # before an entry's content: its mark, and the lengths of name and extra field


class ArchiveError(ImageError):
    """A ZIP that cannot be used."""


@dataclass(frozen=True)
class Entry:
    """A picture in a ZIP. It holds no open file, so that a deleted ZIP is gone."""

    archive: str
    at: str
    info: zipfile.ZipInfo

    def read_bytes(self) -> bytes:
        """The content, never more than the table of contents says. Raises ImageError, FileNotFoundError.

        zipfile's own reading asks for all that a compressed piece expands to, however little the table says.
        """
        packed = self._packed()
        try:
            data = DECOMPRESS[self.info.compress_type](packed, self.info.file_size + 1)
        except Exception:  # of zlib, bz2, lzma; and a KeyError for a compression that nobody knows
            raise ImageError("picture_broken") from None
        if len(data) > self.info.file_size or zlib.crc32(data) != self.info.CRC:
            raise ImageError("picture_broken")
        return data

    def _packed(self) -> bytes:
        name = self.info.orig_filename.encode("utf-8" if self.info.flag_bits & 0x800 else "cp437")
        with open(self.archive, "rb") as file:
            try:
                file.seek(self.info.header_offset)
                mark, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
                known = mark == b"PK\x03\x04" and file.read(name_length) == name
                file.seek(extra_length, 1)
                packed = file.read(min(self.info.compress_size, limits.FILE_BYTES))
            except (struct.error, OSError, ValueError, OverflowError):  # an offset that lies
                raise ImageError("picture_broken") from None
        if not known:
            raise ImageError("picture_broken")
        return packed


def is_archive(file: str) -> bool:
    return file.lower().endswith(".zip")


def pictures(file: str, most: int) -> list[Entry]:
    """The pictures of a ZIP, at most so many, in the order of their names; `.read_bytes()` of each is its content.

    What is no picture by its ending, and what programs hide in folders (`__MACOSX`, dot files), is passed over; so is a ZIP in
    it. Names are only names: nothing is unpacked, so none can lead out of a folder. Raises ArchiveError.
    """
    found = sorted((one for one in _entries(file) if _is_picture(one)), key=lambda one: one.filename)
    if not found:
        raise ArchiveError("zip_empty", endings=", ".join(SUFFIXES))
    if len(found) > most:
        raise ArchiveError("zip_too_many", count=len(found), allowed=most)
    if any(one.flag_bits & 1 for one in found):
        raise ArchiveError("zip_locked")
    if sum(one.file_size for one in found) > limits.UNPACKED_BYTES:  # no more than it says is read
        raise ArchiveError("zip_too_large", megabytes=limits.UNPACKED_BYTES // 1_000_000)
    if any(one.file_size > limits.FILE_BYTES for one in found):
        raise ArchiveError("zip_picture_too_large", megabytes=limits.FILE_BYTES // 1_000_000)
    if any(len(one.filename) > limits.NAME for one in found):
        raise ArchiveError("zip_name_too_long", letters=limits.NAME)
    return [Entry(file, one.filename, one) for one in found]


def _entries(file: str) -> list[zipfile.ZipInfo]:
    """All that the table of contents names. Raises ArchiveError."""
    try:
        # The count that a ZIP states can lie; its entries cannot do without their mark. Each costs time and memory below.
        if Path(file).read_bytes().count(ENTRY) > limits.ENTRIES:
            raise ArchiveError("zip_too_many_entries", allowed=limits.ENTRIES)
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except ArchiveError:
        raise
    except Exception:  # a damaged table can make zipfile raise almost anything
        raise ArchiveError("zip_broken") from None


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    return name.lower().endswith(SUFFIXES) and not HIDDEN.search(name[: limits.NAME])


HIDDEN = re.compile(r"(?:^|[/\\])(?:__MACOSX|\.(?!\.?[/\\]))")  # a folder or file that programs hide; "." and ".." are none


def _lzma(packed: bytes, most: int) -> bytes:
    """A ZIP's LZMA, which is that of an .lzma file but for the header: 4 bytes of version, then 5 of properties."""
    header = packed[4:9] + b"\xff" * 8  # of a size that is not known
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=limits.FILE_BYTES * 2).decompress(header + packed[9:], most)


DECOMPRESS: dict[int, Callable[[bytes, int], bytes]] = {
    zipfile.ZIP_STORED: lambda packed, most: packed[:most],
    zipfile.ZIP_DEFLATED: lambda packed, most: zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most),
    zipfile.ZIP_BZIP2: lambda packed, most: bz2.BZ2Decompressor().decompress(packed, most),
    zipfile.ZIP_LZMA: _lzma,
}
