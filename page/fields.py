"""Fields on the page: what the browser keeps of one, and the cell in a box that a person draws."""

import base64

import numpy as np
from PIL import Image

from cells.locate.parts import FILLED, Part, Parts, Place, crop, is_cut
from cells.read import limits
from cells.read.images import thumbnail
from page.texts import RefusedError

SIDE = 1280  # pixels of the longer side of what the browser keeps
LARGEST = 0.5  # of the field's longer side, up to which a box may be of one cell
DRAWN = 0.0  # the score of a box that a person drew


def field_to_json(image: Image.Image) -> dict:
    """{picture: a JPEG of at most SIDE pixels in base64, width, height: of the field itself}."""
    picture = base64.b64encode(thumbnail(image, SIDE)).decode()
    return {"picture": picture, "width": image.width, "height": image.height}


def drawn(size: object, number: object, box: object) -> Place:
    """The `number`-th cell of a field of this (width, height), in a box that a person drew. Raises RefusedError."""
    try:
        width, height = size
        x0, y0, x1, y1 = box
    except (TypeError, ValueError):
        raise RefusedError("bad_request") from None
    is_whole = all(isinstance(each, int) and each > 0 for each in (number, width, height))
    if not is_whole or not all(isinstance(edge, int | float) for edge in (x0, y0, x1, y1)):
        raise RefusedError("bad_request")
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise RefusedError("bad_request")
    if max(x1 - x0, y1 - y0) > LARGEST * max(width, height):
        raise RefusedError("box_too_large")
    place = (x0, y0, x1, y1)
    return Place(number, number, place, DRAWN, is_cut((width, height), place), (width, height))


def parts_of(place: Place, width: int) -> Parts:
    """The one cell at a place, whose box is in pixels of a field that is `width` wide; the picture may be a smaller one.

    Raises RefusedError where the picture has another shape than the field was said to have, and the box is of no one cell.
    """

    def parts(image: Image.Image) -> list[Part]:
        box = [edge * image.width / width for edge in place.box]
        side = max(box[2] - box[0], box[3] - box[1])
        if side > LARGEST * max(image.size) or (side / FILLED) ** 2 > limits.PIXELS:  # the crop is a square
            raise RefusedError("box_too_large")
        return [(Image.fromarray(crop(np.asarray(image), box)), place)]

    return parts
