"""Path or bytes -> RGB picture, or one named error per kind of bad file.

Everything that a camera or an image editor writes is read as a person would see it: upright (EXIF), on white where it is
transparent, 16-bit and CMYK brought to 8-bit RGB. A message is a sentence for the person who chose the file.
"""

import io
import lzma
import os
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cells import limits

# Read by content, never by name. Formats that draw (EPS, PDF, WMF) or call other programs are left out on purpose.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM", "AVIF")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".avif"),
    *(".pbm", ".pgm", ".pnm", ".ppm"),
)

# Pillow warns of bombs at its own limit; ours is checked before a pixel is decoded.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


Source = str | os.PathLike | bytes | zipfile.Path | Image.Image  # the last is taken as it is: RGB


class ImageError(Exception):
    """A file that is not one readable picture. Its text is the message for the user."""


class MissingFileError(ImageError):
    """There is nothing at the path."""


class FolderError(ImageError):
    """The path is a folder."""


class PermissionDeniedError(ImageError):
    """The file may not be read."""


class EmptyFileError(ImageError):
    """The file has no bytes."""


class UnknownFormatError(ImageError):
    """The bytes are not a picture in a format that is read here."""


class AnimationError(ImageError):
    """The file holds several pictures."""


class TooManyPixelsError(ImageError):
    """The picture has more than limits.PIXELS."""


class BrokenImageError(ImageError):
    """The file begins as a picture, but is truncated or damaged."""


def read_image(source: Source) -> Image.Image:
    """Return the picture at a path, in bytes or in an archive, as an 8-bit RGB image. Raises ImageError."""
    if isinstance(source, Image.Image):
        return source
    data = source if isinstance(source, bytes) else _read_bytes(source if isinstance(source, zipfile.Path) else Path(source))
    if not data:
        raise EmptyFileError("The file is empty (0 bytes); choose one that holds a picture.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise UnknownFormatError("This is not a picture that can be read; use JPEG, PNG, TIFF, BMP or WebP.") from None
    except Image.DecompressionBombError:
        raise TooManyPixelsError(_too_many("far too many pixels")) from None
    except Exception:  # a damaged header can make a decoder raise almost anything
        raise BrokenImageError(_BROKEN) from None
    _check(image)
    try:
        return _to_rgb(image)
    except Exception:
        raise BrokenImageError(_BROKEN) from None


_BROKEN = "The picture is damaged or cut off; save or copy it again."


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


def _read_bytes(path: Path | zipfile.Path) -> bytes:
    try:
        return path.read_bytes()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, UnicodeDecodeError):
        raise BrokenImageError(_BROKEN) from None
    except FileNotFoundError:
        raise MissingFileError("There is no such file.") from None
    except IsADirectoryError:
        readable = os.access(path, os.R_OK | os.X_OK)
        raise FolderError(f"This is a folder{', not a picture' if readable else ' that may not be opened'}.") from None
    except PermissionError:
        raise PermissionDeniedError("The file may not be read: permission denied.") from None
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror or error}.") from None


def _check(image: Image.Image) -> None:
    """Refuse what is not one picture of a sane size, from the header alone."""
    if image.width * image.height > limits.PIXELS:
        raise TooManyPixelsError(_too_many(f"{image.width * image.height / 1e6:.0f} million pixels"))
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:
        raise BrokenImageError(_BROKEN) from None
    if frames > 1 and image.format != "MPO":  # a telephone's JPEG with a second, smaller picture in it
        raise AnimationError(f"The file holds {frames} pictures (an animation or a stack); save one picture a file.")


def _too_many(amount: str) -> str:
    return f"The picture has {amount}, and {limits.PIXELS // 1_000_000} million are allowed; crop it to the cell."


def _to_rgb(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)  # a large picture is copied no more often than needed
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own conversion would clip these to 255
        image = _scale_to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit values by their full range; 32-bit and float ones, which have none, by the picture's own."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("not a number")
    low, high = values.min(), values.max()
    if image.mode != "F" and low >= 0 and high <= 65535:
        low, high = 0, 65535
    return Image.fromarray(np.uint8(np.round((values - low) / max(high - low, 1e-12) * 255)))
