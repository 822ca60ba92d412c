"""The bytes of a file for Pillow, which trusts what a file says of itself: here it runs out of reads before memory and time.

What a file points at can be pointed at a thousand times, so that a megabyte is read into a gigabyte; and a loop over its parts
can take minutes. Whoever reads a file more than a few times over, or for too long, is stopped with an OverreadError.
"""

import io
import time
from collections.abc import Callable
from typing import IO

from PIL import Image, TiffImagePlugin

from cells.read import limits

TIMES = 6  # that a file is read over: Pillow reads a TIFF's directory up to three times
SLACK = 1_000_000  # bytes, for small files
EXIF_BYTES = 65_533  # what a JPEG has room for; elsewhere a longer one is passed over
NUMBERS_BYTES = 2_000_000  # of a directory's numbers, which Python makes 18 times as large; 250,000 strips have room
TEXTS = (1, 2, 7)  # the types of a TIFF's values that stay bytes


class OverreadError(Exception):
    """More was read of a file than an honest one needs. No OSError: Pillow goes on after some of these."""


class SlowError(OverreadError):
    """The reading took longer than limits.FILE_SECONDS."""


class Metered(io.BytesIO):
    """The bytes of a file. Raises OverreadError where more of it is read than an honest file needs, or for too long."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.left = TIMES * len(data) + SLACK
        self.until = time.thread_time() + limits.FILE_SECONDS

    def read(self, size: int | None = -1) -> bytes:
        if time.thread_time() > self.until:
            raise SlowError
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise OverreadError
        return data


def _metered(load: Callable) -> Callable:
    """ImageFileDirectory_v2.load, of a TIFF, of EXIF and of the index of an MPO."""

    def loaded(self: TiffImagePlugin.ImageFileDirectory_v2, fp: IO[bytes]) -> None:
        if type(fp) is io.BytesIO:
            position, fp = fp.tell(), Metered(fp.getvalue())
            fp.seek(position)
        load(self, fp)
        if sum(len(data) for tag, data in self._tagdata.items() if self.tagtype[tag] not in TEXTS) > NUMBERS_BYTES:
            raise OverreadError

    return loaded


def _short(load: Callable) -> Callable:
    """Exif.load, which strips the mark before it as often as it is there, copying what follows each time."""

    def loaded(self: Image.Exif, data: bytes) -> None:
        load(self, data if len(data) <= EXIF_BYTES else b"")

    return loaded


TiffImagePlugin.ImageFileDirectory_v2.load = _metered(TiffImagePlugin.ImageFileDirectory_v2.load)
Image.Exif.load = _short(Image.Exif.load)
