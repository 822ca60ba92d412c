"""A picture of any mode, depth and colour space -> 8-bit sRGB on white. Large pictures are converted piece by piece."""

import io
import itertools
import re
import sys
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps

from cells.read.decode_budget import BudgetedBytes

# The values that cameras use of 16 bits. A picture whose largest value is 4000 has 12 bits, and would be black by 16.
RANGES = (255, 1023, 4095, 16_383, 65_535)
MAX_SAMPLE_VALUE = 281  # the tag of a TIFF that states its range
COLOUR_16_BIT = re.compile("(RGB[AX]?);16([BLN])")  # Pillow's name for 16-bit colours, of which it decodes the high bytes
OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
PROFILE_BYTES = 1_000_000  # of a colour profile; a longer one, which takes long to prepare, is ignored
STAGES = b"mpet"  # what a profile begins a list of computations with, any number of which a megabyte can ask for
SAME_COLOUR = 2  # levels of 255 by which a profile of sRGB may differ from sRGB
GREY_MODES = ("1", "L", "LA")


def to_rgb(image: Image.Image, budget: BudgetedBytes | None = None) -> Image.Image:
    """An opened picture as a loaded RGB image. `budget` holds its bytes; there is none for a picture that was made in memory.

    Upright (EXIF), on white where it is transparent, by its colour profile. Raises SlowError, and whatever a damaged file makes
    Pillow raise.
    """
    profile = image.info.get("icc_profile")
    if budget is not None:
        _scale_16_bit_colours(image, budget)
    ImageOps.exif_transpose(image, in_place=True)  # a large picture is copied no more often than needed
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own conversion would clip these to 255
        image = _scale_to_8_bit(image)
    to_srgb = _transform(profile, image.mode) if profile else None
    if to_srgb or image.has_transparency_data:
        return _flattened(image, to_srgb, budget)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _flattened(image: Image.Image, to_srgb: ImageCms.ImageCmsTransform | None, budget: BudgetedBytes | None) -> Image.Image:
    """By its colour profile, on white."""
    opaque = Image.new("RGB", image.size)
    is_transparent = image.has_transparency_data
    for box in _boxes(image.size):
        if budget is not None:
            budget.check_time()
        part = image.crop(box)
        alpha = part.convert("RGBA") if is_transparent else None
        if to_srgb:
            part = ImageCms.applyTransform(part.convert(to_srgb.input_mode), to_srgb)
            if alpha:
                part.putalpha(alpha.getchannel("A"))
        elif alpha:
            part = alpha
        if alpha:
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB")
        opaque.paste(part, box)
    return opaque


@lru_cache(maxsize=8)  # the pictures of one camera have the same profile, and to prepare it takes 10 ms
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From an ICC profile to sRGB; None where it is broken, too long, of another kind of colours, or that of sRGB."""
    if len(profile) > PROFILE_BYTES or STAGES in profile:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        colours = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[opened.profile.xcolor_space.strip()]
        if (colours == "CMYK") != (mode == "CMYK") or (colours == "L" and mode not in GREY_MODES):
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), colours, "RGB")
        return None if _is_srgb(transform) else transform
    except Exception:  # lcms on a broken profile, which says nothing of the picture
        return None


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether colours all over the space stay as they are."""
    bands = {"RGB": 3, "L": 1}.get(transform.input_mode)
    if bands is None:
        return False
    values = bytes(itertools.chain.from_iterable(itertools.product(range(0, 256, 51), repeat=bands)))
    sample = Image.frombytes(transform.input_mode, (len(values) // bands, 1), values)
    difference = ImageChops.difference(ImageCms.applyTransform(sample, transform), sample.convert("RGB"))
    return max(high for _, high in difference.getextrema()) <= SAME_COLOUR


def _scale_16_bit_colours(image: Image.Image, budget: BudgetedBytes) -> None:
    """Bring colours of fewer than 15 bits, stored in 16, to 8 bits by their range. Pillow would keep their high bytes alone.

    Those of 15 and 16 bits stay as Pillow decodes them.
    """
    swapped = _swapped(image)
    if not swapped:
        return
    high = max(most for _, most in image.getextrema()[:3])
    stated = _stated_range(image)
    most = stated if stated and stated // 256 >= high else next(limit for limit in RANGES if limit // 256 >= high)
    if most > RANGES[-2]:
        return
    to_8_bit = np.uint8(np.round(np.minimum(np.arange(RANGES[-1] + 1) / most, 1) * 255))
    low_bytes = Image.open(budget.again(), formats=[image.format])
    low_bytes.tile = swapped
    for box in _boxes(image.size):
        if budget is not None:
            budget.check_time()
        part = image.crop(box)
        values = np.asarray(part)[..., :3] * np.uint16(256) + np.asarray(low_bytes.crop(box))[..., :3]
        colours = Image.fromarray(to_8_bit[values])
        if part.mode == "RGBA":
            colours.putalpha(part.getchannel("A"))
        image.paste(colours, box)


def _swapped(image: Image.Image) -> list:
    """The tiles of a picture of 16-bit colours, such that Pillow decodes the low bytes; empty for any other picture."""
    swapped = []
    for tile in getattr(image, "tile", ()):
        name, *others = (tile.args,) if isinstance(tile.args, str) else tile.args or ("",)
        found = COLOUR_16_BIT.fullmatch(str(name))
        if not found:
            return []
        name = f"{found[1]};16{OTHER_END[found[2]]}"
        swapped.append(tile._replace(args=name if isinstance(tile.args, str) else (name, *others)))
    return swapped


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit values by the range that their bits have; 32-bit and float ones, which have none, by the picture's own."""

    def values(box: tuple[int, int, int, int]) -> np.ndarray:
        return np.asarray(image.crop(box)).astype(np.float64)

    boxes = _boxes(image.size)
    low, high = np.transpose([(part.min(), part.max()) for part in map(values, boxes)])
    low, high = low.min(), high.max()
    if not np.isfinite([low, high]).all():
        raise ValueError("not a number")
    if image.mode != "F" and low >= 0 and high <= RANGES[-1]:
        stated = _stated_range(image)
        low, high = 0, stated if stated and stated >= high else next(limit for limit in RANGES if limit >= high)
    grey = Image.new("L", image.size)
    for box in boxes:
        scaled = np.uint8(np.round((values(box) - low) / max(high - low, 1e-12) * 255))
        grey.paste(Image.fromarray(scaled), box)
    return grey


def _stated_range(image: Image.Image) -> int | None:
    """The largest value that a TIFF says its samples may have; None where it says nothing or only what 16 bits may have."""
    found = image.tag_v2.get(MAX_SAMPLE_VALUE) if image.format == "TIFF" else None
    values = [value for value in (found if isinstance(found, tuple) else (found,)) if isinstance(value, int)]
    return max(values) if values and 0 < max(values) < RANGES[-1] else None


def _boxes(size: tuple[int, int], side: int = 2048) -> list[tuple[int, int, int, int]]:
    """A picture in pieces: what is made of a large one on the way would fill the memory."""
    width, height = size
    corners = itertools.product(range(0, height, side), range(0, width, side))
    return [(left, top, min(left + side, width), min(top + side, height)) for top, left in corners]
