"""A stand-in for the network that finds cells: it finds dark discs, where and as large as they are."""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from cells.locate.find import STRIDES, Locator

GROUND, CELL = (250, 235, 215), (60, 20, 110)
SMALLEST, LARGEST = 16, 140  # pixels of a disc that it knows, as the network knows cells


def network(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
    """As cells/locate/network.py answers, with a score of 0.9 at the middle of each disc and 0 elsewhere."""
    height, width = pixels.shape[2:]
    outputs = []
    marked, _ = ndimage.label(pixels[0, 1] < 0)
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        scores, sides = np.zeros((1, rows * columns), np.float32), np.zeros((1, rows * columns, 4), np.float32)
        for y, x in ndimage.find_objects(marked):
            if stride == STRIDES[0] and SMALLEST <= max(y.stop - y.start, x.stop - x.start) <= LARGEST:
                row = min(round((y.start + y.stop) / 2 / stride), rows - 1)
                column = min(round((x.start + x.stop) / 2 / stride), columns - 1)
                at_x, at_y = column * stride, row * stride
                scores[0, row * columns + column] = 0.9
                sides[0, row * columns + column] = at_x - x.start, at_y - y.start, x.stop - at_x, y.stop - at_y
        outputs += [scores, sides]
    return tuple(outputs)


def locator() -> Locator:
    """A Locator of this network."""
    return Locator(network, 0.5)


def field(size: tuple[int, int], *discs: tuple[float, float, float], colour: tuple[int, int, int] = CELL) -> Image.Image:
    """A picture of this (width, height) with discs (x, y, diameter)."""
    image = Image.new("RGB", size, GROUND)
    for x, y, diameter in discs:
        ImageDraw.Draw(image).ellipse([x - diameter / 2, y - diameter / 2, x + diameter / 2, y + diameter / 2], colour)
    return image
