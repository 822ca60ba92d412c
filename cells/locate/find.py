"""Find the white cells of a picture: at a scale where they have the size that the network knows, in tiles where it is large."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from cells.messages import Error
from cells.model.folder import EMBEDDED

EMBEDDED_LOCATOR = EMBEDDED / "locate"
FACTS_FILE, ARRAYS_FILE, ONNX_FILE = LOCATOR_FILES = "locator.json", "model.safetensors", "locator.onnx"

STRIDES = (8, 16)  # see network.py
MEAN = STD = 0.5  # of what the network takes, as network.py has it
FIRST_SIDE = 160  # pixels of the longer side at which the search begins
LARGE_ENOUGH = 40  # pixels of a cell, from which on a finer scale shows nothing more
TILE, OVERLAP = 640, 128  # pixels at the scale of the search; the overlap is more than a cell
CUT = 4  # pixels from the border of two tiles, up to which a box is taken to be cut by it
BACKGROUND, WHITE = 0.9, 235  # the quantile of a colour that is the background's value, and the value that it gets
DARKEST = 30  # value of a background, below which the gain grows no more
NUCLEUS, PART = 1.12, 0.2  # blue per green light of a stained nucleus at least, and the part of a box that it fills at least
MULTIPLE = 16  # of pixels, that a side of what the network takes has to be
SAME = 0.5  # intersection over union, from which on two boxes are of one cell
LOWEST = 0.05  # boxes of a lower score are never looked at
MOST = 500  # boxes of a tile that are looked at, the surest: a tile holds a hundred cells at most

Network = Callable[[np.ndarray], tuple[np.ndarray, ...]]  # (1, 3, h, w), normalised -> see network.LocatorNetwork


@dataclass(frozen=True)
class Box:
    """Where a cell is, in pixels of the picture; score: 0..1, how sure the network is that it is a white cell."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float

    @property
    def side(self) -> float:
        """The longer one, in pixels."""
        return max(self.x1 - self.x0, self.y1 - self.y0)


class LocatorError(Error):
    """A locator that cannot be used."""


class Locator:
    """The network of a locator's folder in ONNX Runtime, and the score from which on a box counts."""

    def __init__(self, network: Network, threshold: float) -> None:
        self.network = network
        self.threshold = threshold

    @classmethod
    def load(cls, folder: Path) -> "Locator":
        """Raises LocatorError."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as many pictures as there are cores are under way at once
        options.log_severity_level = 3  # errors; they are raised as well
        try:
            facts = json.loads((folder / FACTS_FILE).read_text())
            session = onnxruntime.InferenceSession(folder / ONNX_FILE, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever a missing or a broken file makes ONNX Runtime raise
            raise LocatorError("locator_unusable", folder=folder.name) from error
        return cls(lambda pixels: tuple(session.run(None, {"pixel_values": pixels})), facts["threshold"])

    def find(self, image: Image.Image, threshold: float | None = None) -> list[Box]:
        """See find(); without a threshold the locator's own."""
        return find(image, self.network, self.threshold if threshold is None else threshold)


@cache
def embedded() -> Locator:
    """The locator that comes with this code, loaded once. Raises LocatorError."""
    return Locator.load(EMBEDDED_LOCATOR)


def find(image: Image.Image, network: Network, threshold: float) -> list[Box]:
    """The boxes of an RGB picture of any size with at least this score, from the upper left to the lower right.

    The search begins with the whole picture at FIRST_SIDE and doubles its side until the cells have LARGE_ENOUGH pixels or
    the picture has its own size. The boxes of the last scale that shows a cell count.
    """
    found = np.empty((0, 5))
    gains = white_balance(image)
    longer, side = max(image.size), FIRST_SIDE
    while True:
        scale = min(side / longer, 1.0)
        boxes = _at_scale(image, scale, gains, network, threshold)
        found = boxes if len(boxes) else found
        if scale == 1 or (len(boxes) and _typical_side(boxes) * scale >= LARGE_ENOUGH):
            break
        side *= 2
    found[:, [0, 2]] = found[:, [0, 2]].clip(0, image.width)
    found[:, [1, 3]] = found[:, [1, 3]].clip(0, image.height)
    return [Box(*row) for row in sorted(found.tolist(), key=lambda row: (row[1] + row[3], row[0] + row[2]))]


def _at_scale(image: Image.Image, scale: float, gains: np.ndarray, network: Network, threshold: float) -> np.ndarray:
    """(k, 5): x0 y0 x1 y1 in pixels of the picture, and the score."""
    found = [np.empty((0, 5))]
    width, height = (max(round(side * scale), 1) for side in image.size)
    for x, y, tile in _tiles(image, scale, width, height):
        pixels = prepared(tile, gains)
        boxes = _decode(network(pixels), pixels.shape[2:], threshold)
        boxes = boxes[_whole(boxes, x, y, width, height)]
        boxes = boxes[_with_nucleus(boxes, tile, gains)]
        found.append((boxes + np.array([x, y, x, y, 0])) / [scale, scale, scale, scale, 1])
    return without_doubles(np.concatenate(found))


def _whole(boxes: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """(k,) of bool: the boxes that no border to another tile cuts. What it cuts, the other tile shows whole."""
    right, lower = (np.inf if at + TILE >= side else TILE - CUT for at, side in ((x, width), (y, height)))
    left, upper = (CUT if at else -np.inf for at in (x, y))
    return (boxes[:, 0] > left) & (boxes[:, 1] > upper) & (boxes[:, 2] < right) & (boxes[:, 3] < lower)


def _with_nucleus(boxes: np.ndarray, tile: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """(k,) of bool: the boxes with a stained nucleus, which lets more blue light through than green.

    Red cells, and the gaps between them, may have the outline of a white cell. In a laboratory that the network did not learn
    from they are most of what it finds too much.
    """
    if not len(boxes):
        return np.zeros(0, bool)
    green, blue = (tile[..., channel] * np.float32(gains[channel]) for channel in (1, 2))
    purple = blue > NUCLEUS * green
    corners = boxes[:, :4].round().astype(int).clip(0, [side - 1 for side in purple.shape[::-1] * 2])
    return np.array([purple[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean() >= PART for x0, y0, x1, y1 in corners])


def _tiles(image: Image.Image, scale: float, width: int, height: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """(x, y, uint8 (h, w, 3)): where a tile of the scaled picture begins, and its pixels, one tile in memory at a time."""
    for y in _starts(height):
        for x in _starts(width):
            right, lower = min(x + TILE, width), min(y + TILE, height)
            part = tuple(
                float(np.clip(edge / scale, 0, most)) for edge, most in zip((x, y, right, lower), image.size * 2, strict=True)
            )
            tile = image.resize((right - x, lower - y), Image.Resampling.BILINEAR, box=part, reducing_gap=2.0)
            yield x, y, np.asarray(tile)


def _starts(length: int) -> list[int]:
    """Where tiles begin, so that each but the last shares OVERLAP pixels with the next, and the last ends with the picture."""
    if length <= TILE:
        return [0]
    return [*range(0, length - TILE, TILE - OVERLAP), length - TILE]


def white_balance(image: Image.Image) -> np.ndarray:
    """(3,): what the red, green and blue of a picture are multiplied by, so that its background is nearly white.

    A dim, bluish or greenish field then looks like any other; the network learns from crops that are balanced so.
    """
    small = image.resize((FIRST_SIDE, FIRST_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return WHITE / np.quantile(np.asarray(small), BACKGROUND, axis=(0, 1)).clip(DARKEST)


def prepared(pixels: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) -> float32 (1, 3, h', w'), balanced, normalised, its last row and column repeated up to a MULTIPLE."""
    missing = [-side % MULTIPLE for side in pixels.shape[:2]]
    padded = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    scaled = (np.minimum(padded * (gains / 255).astype(np.float32), 1) - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def _decode(outputs: tuple[np.ndarray, ...], shape: tuple[int, int], threshold: float) -> np.ndarray:
    """(k, 5) boxes and scores of what the network says of one tile of this (height, width)."""
    found = [np.empty((0, 5))]
    for stride, scores, sides in zip(STRIDES, outputs[::2], outputs[1::2], strict=True):
        places = np.argsort(-scores[0], kind="stable")[:MOST]
        places = places[scores[0, places] >= max(threshold, LOWEST)]
        y, x = np.divmod(places, shape[1] // stride)
        left, upper, right, lower = sides[0, places].T
        x, y = x * stride, y * stride
        found.append(np.stack([x - left, y - upper, x + right, y + lower, scores[0, places]], 1))
    return without_doubles(np.concatenate(found))


def without_doubles(boxes: np.ndarray) -> np.ndarray:
    """(k, 5) -> those that no box of a higher score covers."""
    kept = []
    waiting = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        waiting = waiting[_same(best, waiting) < SAME]
    return np.array(kept).reshape(-1, 5)


def _same(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(k,): the intersection over union with each, or 1 where one of the two lies within the other, as a part of a cell."""
    width = (np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])).clip(0)
    height = (np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])).clip(0)
    shared, own, area = width * height, _areas(box[None]), _areas(others)
    return np.maximum(shared / (own + area - shared), (shared / np.minimum(own, area) > 0.8).astype(float))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clip(1e-6)


def _typical_side(boxes: np.ndarray) -> float:
    """The median of the longer sides, weighted by the areas: a few specks beside a cell do not change it."""
    sides = np.sort(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]))
    weights = np.cumsum(sides**2)
    return float(sides[np.searchsorted(weights, weights[-1] / 2)])
