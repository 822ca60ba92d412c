"""A picture -> the pictures of its cells: itself where it shows a single cell, otherwise a crop around each white cell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cells.locate.find import Box, Locator, embedded

AUTO, CELL, FIELD = HOW = "auto", "cell", "field"  # how a picture is taken
FILLED = 0.42  # of a crop's side, by the longer side of the box: as PBC frames its cells
CELL_SHARES = (0.2, 0.7)  # of the picture's longer side, that a single cell fills
SMALL_SHARE = 0.1  # the same of a small picture, whose one cell may be a platelet
CENTRED = 0.15  # of the picture's side, up to which a single cell's centre lies off the middle
SMALL = 512  # pixels of the longer side, up to which a picture without a white cell may still be one of a platelet or a smudge
EDGE = 0.02  # of the box's longer side, up to which a cell counts as cut by the picture's edge


@dataclass(frozen=True)
class Place:
    """Where in a field a cell is: the `number`-th of `of`, its box in pixels (x0, y0, x1, y1), the locator's score (0..1)."""

    number: int
    of: int
    box: tuple[float, float, float, float]
    found: float
    is_cut: bool = False  # by the edge of the field


Part = tuple[Image.Image, Place | None]  # a picture of one cell; its place, None where the whole picture is that cell
Parts = Callable[[Image.Image], list[Part]]


def reader(how: str) -> Parts:
    """parts() with the embedded locator. Raises LocatorError."""
    if how == CELL:
        return lambda image: [(image, None)]
    locator = embedded()
    return lambda image: parts(image, how, locator)


def parts(image: Image.Image, how: str, locator: Locator) -> list[Part]:
    """The cells of an RGB picture that is taken as one of HOW; none for a field without a white cell."""
    if how == CELL:
        return [(image, None)]
    boxes = locator.find(image)
    if how == AUTO and is_cell(image.size, boxes):
        return [(image, None)]
    pixels = np.asarray(image)
    return [(Image.fromarray(crop(pixels, place.box)), place) for place in places(image.size, boxes)]


def is_cell(size: tuple[int, int], boxes: Sequence[Box]) -> bool:
    """Whether a picture of this (width, height) shows a single cell: one in the middle, alone or in a small picture.

    A small picture without a white cell is one too, for the network knows neither platelets nor smudge cells.
    """
    longer = max(size)
    if not boxes:
        return longer <= SMALL
    if len(boxes) > 1 and longer > SMALL:
        return False
    middle = [box for box in boxes if all(abs(off) <= CENTRED for off in _off_centre(size, box))]
    least = SMALL_SHARE if longer <= SMALL else CELL_SHARES[0]
    return any(least <= box.side / longer <= CELL_SHARES[1] for box in middle)


def _off_centre(size: tuple[int, int], box: Box) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2 / size[0] - 0.5, (box.y0 + box.y1) / 2 / size[1] - 0.5


def places(size: tuple[int, int], boxes: Sequence[Box]) -> list[Place]:
    """The boxes as numbered places of a field of this (width, height)."""
    return [
        Place(number, len(boxes), (box.x0, box.y0, box.x1, box.y1), box.score, is_cut(size, (box.x0, box.y0, box.x1, box.y1)))
        for number, box in enumerate(boxes, 1)
    ]


def is_cut(size: tuple[int, int], box: Sequence[float]) -> bool:
    """Whether the edge of a picture of this (width, height) cuts the cell."""
    near = EDGE * max(box[2] - box[0], box[3] - box[1])
    return min(box[:2]) <= near or box[2] >= size[0] - near or box[3] >= size[1] - near


def crop(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The square around a box, uint8 (side, side, 3) from (h, w, 3); what lies outside is reflected."""
    left, top, right, bottom = box
    side = max(round(max(right - left, bottom - top) / FILLED), 1)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    height, width = image.shape[:2]
    part = image[max(y, 0) : y + side, max(x, 0) : x + side]
    outside = ((max(-y, 0), max(y + side - height, 0)), (max(-x, 0), max(x + side - width, 0)), (0, 0))
    return np.pad(part, outside, mode="reflect")
