"""Path or bytes -> RGB picture, or one named error per kind of bad file.

Everything that a camera or an image editor writes is read as a person would see it: upright (EXIF), on white where it is
transparent, any depth and colour space brought to 8-bit sRGB. A message is a sentence for the person who chose the file.
"""

import io
import math
import os
import re
import stat
import struct
from pathlib import Path
from typing import Protocol

from PIL import Image, UnidentifiedImageError

from cells.messages import Error
from cells.read import limits
from cells.read.decode_budget import BudgetedBytes, SlowError, decoding
from cells.read.to_rgb import to_rgb

# Read by content, never by name. Formats that draw (EPS, PDF, WMF) or call other programs are left out on purpose.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM", "AVIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".avif"),
    *(".pbm", ".pgm", ".pnm", ".ppm"),
)

WHOLE_SLIDES = (".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".bif", ".czi", ".vsi", ".dcm")  # of slide scanners

ORIENTATION = 0x0112  # of EXIF
TILE_WIDTH = 0x0142  # of TIFF


class Packed(Protocol):
    """A picture in an archive."""

    def read_bytes(self) -> bytes: ...


Source = str | os.PathLike | bytes | Packed | Image.Image


class ImageError(Error):
    """A file that is not one readable picture."""


def read_image(source: Source) -> Image.Image:
    """Return the picture at a path, in bytes, in an archive or of Pillow's, as an 8-bit RGB image. Raises ImageError."""
    if isinstance(source, Image.Image):
        return _converted(source)
    data = source if isinstance(source, bytes) else _read_bytes(source)
    if not data:
        raise ImageError("file_empty")
    budget = BudgetedBytes(data)
    try:
        with decoding():
            return to_rgb(_checked(Image.open(budget, formats=FORMATS), data), budget)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("picture_unknown") from None
    except Image.DecompressionBombError:
        raise ImageError("picture_far_too_large", allowed=_millions(limits.PIXELS)) from None
    except SlowError:
        raise ImageError("picture_slow", seconds=limits.FILE_SECONDS) from None
    except Exception:  # a damaged file can make a decoder raise almost anything
        raise ImageError("picture_broken") from None


def _converted(image: Image.Image) -> Image.Image:
    """A picture that Pillow has opened or made, of any mode, perhaps not decoded yet. The caller's stays as it is."""
    try:
        image.load()
        upright = image.getexif().get(ORIENTATION, 1) == 1
        _check_shape(image)
        return image if image.mode == "RGB" and upright else to_rgb(image.copy())
    except ImageError:
        raise
    except Exception:  # cut off, closed, or of no size
        raise ImageError("picture_broken") from None


def thumbnail(image: Image.Image, side: int) -> bytes:
    """A JPEG of at most `side` pixels each way."""
    buffer = io.BytesIO()
    fitted(image, side).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def fitted(image: Image.Image, side: int) -> Image.Image:
    """A smaller copy of at most `side` pixels each way; a picture that is no larger as it is."""
    if max(image.size) <= side:
        return image
    size = [max(1, round(length * side / max(image.size))) for length in image.size]
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _read_bytes(source: str | os.PathLike | Packed) -> bytes:
    try:
        if not isinstance(source, str | os.PathLike):
            return source.read_bytes()
        path = Path(source)
        if path.suffix.lower() in WHOLE_SLIDES and path.is_file():
            raise ImageError("picture_whole_slide")
        _check_file(path.stat())
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("file_missing") from None
    except IsADirectoryError:
        readable = os.access(source, os.R_OK | os.X_OK)
        raise ImageError("file_is_folder" if readable else "folder_closed") from None
    except PermissionError:
        raise ImageError("file_denied") from None
    except (OSError, ValueError) as error:  # a ValueError for a name with a zero in it
        raise ImageError("file_unreadable", reason=getattr(error, "strerror", None) or str(error)) from None


def _check_file(status: os.stat_result) -> None:
    """Refuse a device, which may never end, and what is too large to be read whole. A pipe that is named is read."""
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise ImageError("file_irregular")
    if stat.S_ISREG(status.st_mode) and status.st_size > limits.FILE_BYTES:
        raise ImageError("file_too_large", megabytes=limits.FILE_BYTES // 1_000_000)


def _checked(image: Image.Image, data: bytes) -> Image.Image:
    """The same, if it is one picture of a sane size, which its header says."""
    # Whether the file has a second picture, never how many: to count them takes long.
    is_stack = getattr(image, "is_animated", False) and image.format != "MPO"  # a telephone's JPEG has two
    if is_stack and image.format == "TIFF" and TILE_WIDTH in image.tag_v2:  # the same slide at several sizes, in tiles
        raise ImageError("picture_whole_slide")
    pixels, most = image.width * image.height, _most_pixels(image, data)
    if pixels > most:
        raise ImageError("picture_too_large", megapixels=f"{pixels / 1e6:.4g}", allowed=_millions(most))
    _check_shape(image)
    if is_stack:
        raise ImageError("picture_several")
    return image


def _check_shape(image: Image.Image) -> None:
    """Refuse a picture that fills the memory when it is resized to what a network takes, or has no pixels."""
    if min(image.size) == 0:
        raise ImageError("picture_broken")
    if max(image.size) > limits.ASPECT * min(image.size):
        raise ImageError("picture_too_long", width=image.width, height=image.height, times=limits.ASPECT)


def _most_pixels(image: Image.Image, data: bytes) -> int:
    """How many pixels a picture may have, by what its decoder makes of them. Raises SlowError."""
    whole = image.format in WHOLE
    if image.format in ("JPEG", "MPO"):
        if data.count(SCAN) > SCANS:
            raise SlowError
        # In several scans: progressive, or a colour after the other.
        whole = "progressive" in image.info or any(part[0] < image.layers for part in COLOURS.findall(data))
    elif image.format == "JPEG2000":
        _check_codestreams(data)
    elif image.format == "TIFF":  # decoded strip by strip, and one strip may hold the picture
        whole = sum(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 32
    return limits.PIXELS_WHOLE if whole else limits.PIXELS


WHOLE = ("WEBP", "AVIF", "JPEG2000")
SCAN = b"\xff\xda"  # what a scan of a JPEG begins with, and nothing else in its coded pixels
SCANS = 100  # a decoder goes through the whole picture for each; usual are 10
COLOURS = re.compile(SCAN + b"\\x00[\x08\x0a\x0c\x0e](.)", re.DOTALL)  # how many a scan holds
BITS_PER_SAMPLE = 258


def _check_codestreams(data: bytes) -> None:
    """Refuse a JPEG 2000 whose content says that it is more than its header does: its decoder takes the memory for it.

    Raises SlowError, ValueError.
    """
    if len(data) > CODESTREAM_BYTES:
        raise SlowError
    if data.count(CODESTREAM) > SCANS:
        raise ValueError("too many codestreams")
    for found in SIZES.finditer(data):
        right, bottom, _, _, width, height, left, top, colours = struct.unpack(">8IH", found[1])
        tiles = math.ceil((right - left) / width) * math.ceil((bottom - top) / height)
        if right * bottom > limits.PIXELS_WHOLE or colours > 4 or tiles > TILES:
            raise ValueError("too much in a codestream")


CODESTREAM = b"\xff\x4f\xff\x51"  # what one begins with
SIZES = re.compile(b"(?=" + CODESTREAM + b".{4}(.{34}))", re.DOTALL)
CODESTREAM_BYTES = 8_000_000  # a core decodes some 4 million a second
TILES = 4096  # of 256 x 256 pixels, with room


def _millions(pixels: int) -> str:
    return f"{pixels / 1e6:g}"
