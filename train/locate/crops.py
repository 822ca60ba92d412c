"""Training crops: parts of fields with cells of many sizes, mosaics of small pictures, clusters of pasted cells.

What a batch holds depends on the seed and the step alone, so a resumed run sees what an unbroken one sees.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cells.locate.find import BACKGROUND, DARKEST, WHITE
from train import domain_randomisation as randomisation
from train.locate.fields import Field

SIDE = 256  # pixels of a crop
SMALLEST, LARGEST = 20, 110  # pixels at which a crop draws the median cell; find.py searches at such a scale
WITH_A_CELL = 0.8  # of the crops begin with a cell in view; the others fall anywhere
CLUSTERS = 0.5  # of the crops of pasted sources have cells pasted beside a cell
MOST_PASTED = 7
OVERLAID = 0.3  # of the crops have the red cells of another crop on them
VISIBLE = 0.4  # of a box, from which on a cut cell is to be found
WITHOUT = 0.04  # of the crops show no cell: text, lines, noise
CHANGES = ("style", "stain", "colour", "light", "haze", "blur", "sharpen", "noise", "jpeg")  # of domain_randomisation


@dataclass(frozen=True, eq=False)
class Crops:
    """`crops.at(step)` -> (images float (n, 3, SIDE, SIDE) in 0..1, the boxes float (k, 4) of each in pixels)."""

    fields: Mapping[str, Sequence[Field]]  # of each source
    shares: Mapping[str, float]  # of each source in a batch
    pasted: Sequence[Field]  # pictures whose boxed cells are pasted into crops of the sources in `clusters`
    clusters: frozenset[str]
    batch_size: int
    seed: int

    def at(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        rng = np.random.default_rng([self.seed, step])
        drawn = [self._one(rng) for _ in range(self.batch_size)]
        images = torch.from_numpy(np.stack([image for image, _ in drawn])).permute(0, 3, 1, 2).float().div_(255)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        draw = randomisation.Draw(len(images), generator, images.device)
        for name in CHANGES:
            images = getattr(randomisation, name)(images, draw)
        return balanced(images), [torch.from_numpy(boxes).float() for _, boxes in drawn]

    def _one(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if rng.random() < WITHOUT:
            return without_cells(rng), np.empty((0, 4))
        names = list(self.fields)
        source = rng.choice(names, p=np.array([self.shares[name] for name in names]) / sum(self.shares[name] for name in names))
        cell = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
        image, boxes = mosaic(self.fields[source], cell, rng)
        if rng.random() < OVERLAID:
            image = overlaid(image, *mosaic(self.fields[source], cell, rng))
        if source in self.clusters and len(boxes) and self.pasted and rng.random() < CLUSTERS:
            image, boxes = paste(image, boxes, self.pasted, cell, rng)
        return turned(image, visible(boxes), rng)


def balanced(images: Tensor) -> Tensor:
    """Float (n, 3, s, s) in 0..1 -> the same with a nearly white background, as find.white_balance makes it."""
    background = images.flatten(2).quantile(BACKGROUND, dim=2).clamp_(min=DARKEST / 255)
    return (images * (WHITE / 255 / background)[..., None, None]).clamp_(max=1)


def mosaic(fields: Sequence[Field], cell: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 (SIDE, SIDE, 3), boxes (k, 4)): fields side by side, each with a median cell of `cell` pixels.

    The boxes may reach beyond the crop.
    """
    first = fields[rng.integers(len(fields))]
    image, boxes = _resized(first, cell)
    height, width = image.shape[:2]
    x, y = (int(rng.integers(-max(side - SIDE, 0), max(SIDE - side, 0) + 1)) for side in (width, height))
    if rng.random() < WITH_A_CELL:
        centre = boxes[rng.integers(len(boxes))].reshape(2, 2).mean(0)
        x, y = (int(rng.uniform(0.1, 0.9) * SIDE - at) for at in centre)
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    found = []
    columns = range(x - math.ceil(max(x, 0) / width) * width, SIDE, width)
    rows = range(y - math.ceil(max(y, 0) / height) * height, SIDE, height)
    for upper in rows:
        for left in columns:
            if (left, upper) != (x, y):
                image, boxes = _fitted(fields[rng.integers(len(fields))], cell, width, height)
            else:
                image, boxes = _resized(first, cell)
            _put(canvas, image, left, upper)
            found.append(boxes + np.array([left, upper, left, upper]))
    return canvas, np.concatenate(found)


def _resized(field: Field, cell: float) -> tuple[np.ndarray, np.ndarray]:
    scale = cell / field.cell
    height, width = field.image.shape[:2]
    size = (max(round(width * scale), 8), max(round(height * scale), 8))
    image = Image.fromarray(field.image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image), field.boxes * scale


def _fitted(field: Field, cell: float, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Another field at the same place of a mosaic: cut or stretched at its edges to that size."""
    image, boxes = _resized(field, cell)
    missing = ((0, max(height - image.shape[0], 0)), (0, max(width - image.shape[1], 0)), (0, 0))
    image = np.pad(image, missing, mode="edge")[:height, :width]
    inside = (boxes.reshape(-1, 2, 2).mean(1) < (width, height)).all(1)
    return image, boxes[inside].clip(0, [width, height, width, height])


def _put(canvas: np.ndarray, image: np.ndarray, left: int, upper: int) -> None:
    x0, y0 = max(left, 0), max(upper, 0)
    x1, y1 = min(left + image.shape[1], SIDE), min(upper + image.shape[0], SIDE)
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1] = image[y0 - upper : y1 - upper, x0 - left : x1 - left]


def overlaid(image: np.ndarray, other: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A crop with the red cells of another one on it, whose white cells lie in `boxes`.

    Absorbances add, so red cells form the clumps of a thick smear: other laboratories have them, and they are no white cells.
    """
    light = np.minimum(other / np.maximum(np.quantile(other, 0.9, axis=(0, 1)), 1), 1)
    for x0, y0, x1, y1 in boxes.round().astype(int).clip(0, SIDE):
        light[y0:y1, x0:x1] = 1
    return np.round(image * light).astype(np.uint8)


def paste(
    canvas: np.ndarray, boxes: np.ndarray, fields: Sequence[Field], cell: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The crop with cells of other pictures pasted beside its cells, so that they touch; their edges are blended."""
    canvas, boxes = canvas.copy(), boxes.copy()
    for _ in range(rng.integers(1, MOST_PASTED + 1)):
        field = fields[rng.integers(len(fields))]
        image, own = _resized(field, cell * rng.uniform(0.8, 1.2))
        own = own[rng.integers(len(own))]
        beside = boxes[rng.integers(len(boxes))]
        centre = beside.reshape(2, 2).mean(0)
        angle = rng.uniform(0, 2 * math.pi)
        distance = (np.mean(beside[2:] - beside[:2]) + np.mean(own[2:] - own[:2])) / 2 * rng.uniform(0.75, 1.1)
        centre = centre + distance * np.array([math.cos(angle), math.sin(angle)])
        new = _paste_one(canvas, image, own, centre)
        if new is not None:
            boxes = np.concatenate([boxes, new[None]])
    return canvas, boxes


def _paste_one(canvas: np.ndarray, image: np.ndarray, box: np.ndarray, centre: np.ndarray) -> np.ndarray | None:
    """Blend an ellipse of the image around the box into the canvas; its box there, or None outside."""
    half = (box[2:] - box[:2]) / 2
    middle = (box[2:] + box[:2]) / 2
    shift = np.round(centre - middle).astype(int)
    x0, y0 = np.maximum(np.floor(middle - half * 1.25).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(middle + half * 1.25).astype(int), image.shape[1::-1])
    x0, y0 = max(x0, -shift[0]), max(y0, -shift[1])
    x1, y1 = min(x1, SIDE - shift[0]), min(y1, SIDE - shift[1])
    if x0 >= x1 or y0 >= y1:
        return None
    y, x = np.mgrid[y0:y1, x0:x1]
    away = np.hypot((x - middle[0]) / half[0], (y - middle[1]) / half[1])  # 1 at the ellipse that fills the box
    share = np.clip((1.15 - away) / 0.15, 0, 1)[..., None]
    place = canvas[y0 + shift[1] : y1 + shift[1], x0 + shift[0] : x1 + shift[0]]
    place[:] = np.round(share * image[y0:y1, x0:x1] + (1 - share) * place)
    return box + np.tile(shift, 2)


def visible(boxes: np.ndarray) -> np.ndarray:
    """The boxes cut at the crop's edges, without those of which too little is left."""
    cut = boxes.clip(0, SIDE)
    left = np.prod(cut[:, 2:] - cut[:, :2], 1) / np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    return cut[left >= VISIBLE]


def turned(image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random one of the eight turns and flips of a square."""
    if rng.random() < 0.5:
        image, boxes = image[:, ::-1], np.stack([SIDE - boxes[:, 2], boxes[:, 1], SIDE - boxes[:, 0], boxes[:, 3]], 1)
    for _ in range(rng.integers(4)):  # a quarter turn: x becomes y, y becomes SIDE - x
        image, boxes = np.rot90(image), np.stack([boxes[:, 1], SIDE - boxes[:, 2], boxes[:, 3], SIDE - boxes[:, 0]], 1)
    return np.ascontiguousarray(image), boxes


def without_cells(rng: np.random.Generator) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3): text, lines and rough noise on a plain ground."""
    side = int(rng.integers(2, 64))
    noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    ground = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(0, 256, 3).tolist()))
    image = Image.blend(ground, noise, float(rng.choice([0, 0.1, 0.3, 1])))
    drawing = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 12)):
        colour, place = tuple(rng.integers(0, 256, 3).tolist()), rng.integers(0, SIDE, 4).tolist()
        drawing.line(place, colour, int(rng.integers(1, 8)))
        drawing.text(place[:2], "".join(map(chr, rng.integers(48, 123, 12))), colour, font_size=int(rng.integers(8, 60)))
    return np.asarray(image)
