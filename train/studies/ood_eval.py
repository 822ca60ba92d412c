"""How many out-of-distribution pictures of each kind a model calls unfamiliar: python -m train ood_eval MODEL.

Each kind is made from the cells of the test part or from scikit-image's bundled pictures, with a fixed seed. None of these
pictures is used to fit a model or its thresholds.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage import color
from skimage import data as samples

from cells import pbc
from cells.model.classifier import BATCH_SIZE, Classifier
from cells.model.uncertainty import OK, UNFAMILIAR
from cells.read.images import read_image
from train import data, laboratories, options

SEED = 42
DRAWN = 1000  # pictures of noise, and as many blank ones
SIZE = (360, 363)  # pixels; that of most pictures of PBC
# The pictures in scikit-image's package; its others would be downloaded.
SAMPLES = (
    *("astronaut", "brick", "camera", "cat", "cell", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse"),
    *("hubble_deep_field", "immunohistochemistry", "logo", "microaneurysms", "moon", "page", "retina", "rocket", "text"),
)
RED_CELLS_SIDE = 1 / 3  # the side of a corner, relative to the picture's: larger ones would reach the cell in the middle


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser(
        "ood_eval",
        "Measure how many pictures of each kind models call unfamiliar, and how many ok: cells of the test part as they are "
        "and altered, and pictures of other things.",
    )
    options.add_models(parser, "results/ood_eval.csv")
    chosen = parser.parse_args(arguments)
    rows = []
    for row in measure(chosen.models, data.load(chosen.data), chosen.split):
        rows.append(row)
        print(
            f"{row['model']:20s} {row['kind']:20s} {row['pictures']:6d} pictures {row['unfamiliar']:8.1%} {row['ok']:8.1%}",
            flush=True,
        )
    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.5g")
    return 0


def measure(models: Sequence[str], dataset: datasets.Dataset, split_file: Path) -> Iterator[dict]:
    """A row per model and kind: how many pictures, the shares called unfamiliar and ok. Raises DataError, ModelError."""
    sources = [pbc.source_of(one) for one in data.part(dataset, split_file, "test")["image"][:]]
    for name in models:
        classifier = laboratories.load(name)
        for kind, images in kinds(sources).items():
            statuses = [prediction.status for prediction in _predict(classifier, images)]
            shares = {status: statuses.count(status) / max(len(statuses), 1) for status in (UNFAMILIAR, OK)}
            yield {"model": classifier.name, "kind": kind, "pictures": len(statuses)} | shares


def _predict(classifier: Classifier, images: Iterator[Image.Image]) -> Iterator:
    """A batch at a time, so that few pictures are in memory."""
    while batch := list(islice(images, BATCH_SIZE)):
        yield from classifier.predict(batch)


def kinds(sources: Sequence[bytes | str]) -> dict[str, Iterator[Image.Image]]:
    """kind -> its pictures, made as they are asked for."""
    altered = {kind: _altered(sources, alter) for kind, alter in ALTERATIONS.items()}
    rng = np.random.default_rng(SEED)
    return {
        "test cells": map(read_image, sources),
        "photographs": photographs(),
        "noise": (noise(rng) for _ in range(DRAWN)),
        "blank fields": (blank(rng) for _ in range(DRAWN)),
        **altered,
    }


def _altered(sources: Sequence[bytes | str], alter: Callable) -> Iterator[Image.Image]:
    rng = np.random.default_rng(SEED)
    pictures = (alter(read_image(source), rng) for source in sources)
    return (picture for picture in pictures if picture is not None)


def photographs() -> Iterator[Image.Image]:
    """Each sample of scikit-image whole, and its four quarters."""
    for name in SAMPLES:
        pixels = getattr(samples, name)()
        pixels = pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        picture = Image.fromarray(pixels.astype(np.uint8) * (255 if pixels.dtype == bool else 1))
        yield picture
        (width, height), (x, y) = picture.size, (picture.width // 2, picture.height // 2)
        for box in ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)):
            yield picture.crop(box)


def noise(rng: np.random.Generator) -> Image.Image:
    """Independent colours in grains of 1 to 16 pixels."""
    grain = int(rng.choice([1, 2, 4, 8, 16]))
    pixels = rng.integers(0, 256, (SIZE[1] // grain + 1, SIZE[0] // grain + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(SIZE, Image.Resampling.BILINEAR)


def blank(rng: np.random.Generator) -> Image.Image:
    """One colour, any or that of an empty place on a slide, with up to a sensor's noise."""
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else rng.normal((240, 225, 210), 10)
    pixels = colour + rng.normal(0, rng.choice([0, 1, 4]), (SIZE[1], SIZE[0], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def stain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Each dye at most half or at least twice as strong, by colour deconvolution (Ruifrok & Johnston 2001)."""
    dyes = color.rgb2hed(np.asarray(image))
    factors = np.where(rng.random(3) < 0.5, rng.uniform(0.25, 0.5, 3), rng.uniform(2, 3, 3))
    return Image.fromarray((color.hed2rgb(dyes * factors).clip(0, 1) * 255).astype(np.uint8))


def colour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The hue shifted by at least 60 degrees."""
    pixels = np.asarray(image.convert("HSV")).copy()
    pixels[..., 0] += np.uint8(rng.uniform(60, 300) / 360 * 256)  # the sum wraps around at 256
    return Image.fromarray(pixels, "HSV").convert("RGB")


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A Gaussian of 8 to 14 pixels, in pictures of 360."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(8, 14)))


def half_size(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The picture at half its size, centred on its median border colour."""
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    pixels = np.asarray(small)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    padded = Image.new("RGB", image.size, tuple(np.median(border, axis=0).astype(int).tolist()))
    padded.paste(small, ((image.width - small.width) // 2, (image.height - small.height) // 2))
    return padded


def red_cells(image: Image.Image, rng: np.random.Generator) -> Image.Image | None:
    """A corner without a nucleus or platelet, enlarged to the size of the picture; None where no corner is without."""
    pixels = np.asarray(image, dtype=np.float32)
    green = pixels[..., 1]
    # Nuclei and platelets are dark in green light, and bluer than red cells.
    dark = (green < (green.min() + np.median(green)) / 2) & (pixels[..., 2] > green + 15)
    dark = ndimage.binary_opening(dark)
    side = int(RED_CELLS_SIDE * min(image.size))
    boxes = [
        (x, y, x + side, y + side)
        for x in (0, image.width - side)
        for y in (0, image.height - side)
        if not dark[y : y + side, x : x + side].any()
    ]
    return image.crop(boxes[rng.integers(len(boxes))]).resize(image.size, Image.Resampling.BICUBIC) if boxes else None


ALTERATIONS = {
    "stain": stain,
    "colour": colour,
    "blur": blur,
    "half size": half_size,
    "red cells only": red_cells,
}
