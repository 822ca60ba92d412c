"""Chulalongkorn University, Bangkok (github.com/singgihbekti/WBC_Dataset): boxed white cells in whole fields, by slide.

Places: parquet with image_id, slide, image, boxes ([[x0, y0, x1, y1]] in pixels) and cell_types. A picture is cut around each
box, its edges reflected; the cell fills as much of it as in PBC.
"""

import io
from collections.abc import Sequence

import datasets
import numpy as np
from PIL import Image

from cells import pbc
from cells.read.images import read_image
from train.sources import read_parquet

FILLED = 0.42  # of the picture's side, by the longer side of the box


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources. Raises DataError."""
    fields = read_parquet(places, ("image_id", "slide", "image", "boxes", "cell_types"))
    columns = {name: [] for name in ("image_id", "image", "cell_type", "cell_subtype", "group", "split")}
    for field in fields.cast_column("image", datasets.Image(decode=False)):
        image = np.asarray(read_image(pbc.source_of(field["image"])))
        for number, (box, cell_type) in enumerate(zip(field["boxes"], field["cell_types"], strict=True)):
            buffer = io.BytesIO()
            Image.fromarray(crop(image, box)).save(buffer, "PNG", compress_level=1)
            row = (
                f"{field['image_id']}/{number}",
                {"bytes": buffer.getvalue(), "path": None},
                cell_type,
                "",
                field["slide"],
                "",
            )
            for values, value in zip(columns.values(), row, strict=True):
                values.append(value)
    return datasets.Dataset.from_dict(columns)


def crop(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The square around a box, uint8 (side, side, 3) from (h, w, 3); what lies outside is reflected."""
    left, top, right, bottom = box
    side = max(round(max(right - left, bottom - top) / FILLED), 1)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    height, width = image.shape[:2]
    outside = ((max(-y, 0), max(y + side - height, 0)), (max(-x, 0), max(x + side - width, 0)), (0, 0))
    padded = np.pad(image, outside, mode="reflect")
    y, x = y + outside[0][0], x + outside[1][0]
    return padded[y : y + side, x : x + side]
