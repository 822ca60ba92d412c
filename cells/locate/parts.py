"""A picture -> the pictures of its cells: itself where it shows a single cell, otherwise a crop around each white cell.

A single cell that is framed much closer or wider than any training picture is cut anew, as PBC frames its cells: the network
names more of them rightly then (results/fields.md). Others stay as they are: a cell's size in its picture tells its type.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cells.locate.find import Box, Locator, embedded
from cells.read.images import ImageError

AUTO, CELL, FIELD = HOW = "auto", "cell", "field"  # how a picture is taken
FRAMED = "framed"  # of programs alone: a picture that is known to show one cell, as `auto` frames it
FILLED = 0.42  # of a crop's side, by the longer side of the box: as PBC frames its cells
WELL_FRAMED = (0.15, 0.6)  # of the picture's longer side, filled by the box; no validation cell of PBC lies outside
SMALLEST = 24  # pixels of the median cell, below which there is too little of it to be named
CELL_SHARES = (0.2, 0.7)  # of the picture's longer side, that a single cell fills
CENTRED = 0.15  # of the picture's side, up to which a single cell's centre lies off the middle
SMALL = 512  # pixels of the longer side, up to which a picture is as a rule one of a single cell
EDGE = 0.02  # of the box's longer side, up to which a cell counts as cut by the picture's edge


@dataclass(frozen=True)
class Place:
    """Where in a field a cell is: the `number`-th of `of`, its box in pixels (x0, y0, x1, y1), the locator's score (0..1)."""

    number: int
    of: int
    box: tuple[float, float, float, float]
    found: float
    is_cut: bool = False  # by the edge of the field
    size: tuple[int, int] = (0, 0)  # of the field, (width, height)


Part = tuple[Image.Image, Place | None]  # what a network is given of a cell; its place, None where the picture is of that cell
Parts = Callable[[Image.Image], list[Part]]


def reader(how: str) -> Parts:
    """parts() with the embedded locator. Raises LocatorError."""
    if how == CELL:
        return lambda image: [(image, None)]
    locator = embedded()
    return lambda image: parts(image, how, locator)


def parts(image: Image.Image, how: str, locator: Locator) -> list[Part]:
    """The cells of an RGB picture that is taken as one of HOW or FRAMED; none for a field without a white cell.

    In CELL the picture stays as it is, however its cell is framed.

    Raises ImageError for a field whose cells are too small to be named.
    """
    if how == CELL:
        return [(image, None)]
    boxes = locator.find(image)
    if how == FRAMED or (how == AUTO and is_cell(image.size, boxes)):
        return [(framed(image, boxes), None)]
    typical = np.median([box.side for box in boxes]) if boxes else SMALLEST
    if typical < SMALLEST:
        raise ImageError("field_low_power", pixels=round(typical), smallest=SMALLEST)
    pixels = np.asarray(image)
    return [(Image.fromarray(crop(pixels, place.box)), place) for place in places(image.size, boxes)]


def is_cell(size: tuple[int, int], boxes: Sequence[Box]) -> bool:
    """Whether a picture of this (width, height) shows a single cell.

    A small picture does where something lies in its middle or nothing is found, as of a platelet. A larger one does where its
    only cell lies in the middle and fills CELL_SHARES of it.
    """
    longer = max(size)
    if longer <= SMALL:
        return not boxes or bool(_in_middle(size, boxes))
    if len(boxes) != 1:
        return False
    [box] = boxes
    off = (box.x0 + box.x1) / 2 / size[0] - 0.5, (box.y0 + box.y1) / 2 / size[1] - 0.5
    return CELL_SHARES[0] <= box.side / longer <= CELL_SHARES[1] and max(map(abs, off)) <= CENTRED


def framed(image: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """The square around the cell in a picture's middle; the picture as it is where that cell is well framed or missing."""
    best = max(_in_middle(image.size, boxes), key=lambda box: box.score, default=None)
    if best is None or WELL_FRAMED[0] <= best.side / max(image.size) <= WELL_FRAMED[1]:
        return image
    return Image.fromarray(crop(np.asarray(image), (best.x0, best.y0, best.x1, best.y1)))


def _in_middle(size: tuple[int, int], boxes: Sequence[Box]) -> list[Box]:
    x, y = size[0] / 2, size[1] / 2
    return [box for box in boxes if box.x0 < x < box.x1 and box.y0 < y < box.y1]


def places(size: tuple[int, int], boxes: Sequence[Box]) -> list[Place]:
    """The boxes as numbered places of a field of this (width, height)."""
    corners = [(box.x0, box.y0, box.x1, box.y1) for box in boxes]
    return [
        Place(number, len(boxes), box, found.score, is_cut(size, box), size)
        for number, (box, found) in enumerate(zip(corners, boxes, strict=True), 1)
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
