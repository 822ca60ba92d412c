"""A budget of bytes and seconds for Pillow, which believes what a file says of itself.

What a file points at can be pointed at a thousand times, so that a megabyte is read into a gigabyte, and a loop over its parts
can take minutes. `decoding()` bounds what Pillow does for the thread within it; Pillow stays as it is for everybody else.
"""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import IO

from PIL import Image, TiffImagePlugin

from cells.read import limits

TIMES = 6  # that a file is read over: Pillow reads a TIFF's directory up to three times
SLACK = 1_000_000  # bytes, for small files
EXIF_BYTES = 65_533  # what a JPEG has room for; elsewhere a longer one is passed over
NUMBERS_BYTES = 2_000_000  # of a directory's numbers, which Python makes 18 times as large; 250,000 strips have room
TEXTS = (1, 2, 7)  # the types of a TIFF's values that stay bytes
BOMB_PIXELS = 178_956_970  # that a header may say; Pillow's own limit, which another library may have changed

_thread = threading.local()  # .decoding: whether this thread is within decoding()
_patching = threading.Lock()


class OverreadError(Exception):
    """More was read of a file than an honest one needs. No OSError: Pillow goes on after some of these."""


class SlowError(OverreadError):
    """The reading took longer than limits.FILE_SECONDS."""


class BudgetedBytes(io.BytesIO):
    """The bytes of a file. Raises OverreadError where more of it is read than an honest file needs, SlowError when late."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._data = data
        self.left = TIMES * len(data) + SLACK
        self.until = time.thread_time() + limits.FILE_SECONDS

    def read(self, size: int | None = -1) -> bytes:
        self.check_time()
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise OverreadError
        return data

    def again(self) -> "BudgetedBytes":
        """The same bytes from their beginning, with the same end of the time."""
        other = BudgetedBytes(self._data)
        other.until = self.until
        return other

    def check_time(self) -> None:
        """Raise SlowError where the time is over."""
        if time.thread_time() > self.until:
            raise SlowError


@contextmanager
def decoding() -> Iterator[None]:
    """Bound Pillow's directories, EXIF and header sizes for this thread, without a warning."""
    _patch_pillow()
    before, _thread.decoding = getattr(_thread, "decoding", False), True
    try:
        yield
    finally:
        _thread.decoding = before


def _patch_pillow() -> None:
    """Once, at the first picture. Each patch calls the original function for a thread that is not within decoding()."""
    directory = TiffImagePlugin.ImageFileDirectory_v2  # of a TIFF, of EXIF and of the index of an MPO
    with _patching:
        if not hasattr(directory.load, BOUNDED):
            directory.load = _within_decoding(_load_directory, directory.load)
            Image.Exif.load = _within_decoding(_load_exif, Image.Exif.load)
            Image._decompression_bomb_check = _within_decoding(_check_bomb, Image._decompression_bomb_check)


BOUNDED = "_bounded_by_cells"  # attribute of a patched function


def _within_decoding(bounded: Callable, original: Callable) -> Callable:
    @wraps(original)
    def either(*arguments: object, **named: object) -> object:
        if getattr(_thread, "decoding", False):
            return bounded(original, *arguments, **named)
        return original(*arguments, **named)

    setattr(either, BOUNDED, True)
    return either


def _load_directory(load: Callable, directory: TiffImagePlugin.ImageFileDirectory_v2, fp: IO[bytes]) -> None:
    if type(fp) is io.BytesIO:  # of EXIF and MPO, which Pillow has copied out of the file
        position, fp = fp.tell(), BudgetedBytes(fp.getvalue())
        fp.seek(position)
    load(directory, fp)
    if sum(len(data) for tag, data in directory._tagdata.items() if directory.tagtype[tag] not in TEXTS) > NUMBERS_BYTES:
        raise OverreadError


def _load_exif(load: Callable, exif: Image.Exif, data: bytes) -> None:
    """Pillow strips the mark before EXIF as often as it is repeated, copying what follows each time."""
    load(exif, data if len(data) <= EXIF_BYTES else b"")


def _check_bomb(check: Callable, size: tuple[int, int]) -> None:
    """As Pillow's, without its warning: limits.PIXELS is checked before a pixel is decoded."""
    if size[0] * size[1] > BOMB_PIXELS:
        raise Image.DecompressionBombError
