"""Raabin-WBC, Tehran (Kouzehkanan et al. 2022), boxed in github.com/lugan113/TXL-PBC_Dataset: fields of 575 x 575 px.

Places: the clone of that repository, with TXL_PBC/images and TXL_PBC/labels (its other pictures are not Raabin's); or parquet
with image_id, image and boxes ([[x0, y0, x1, y1]] of white cells, in pixels). The cells have no type.
"""

import re
from collections.abc import Sequence

import datasets

from cells.pbc import DataError
from train.sources import parquet_files, read_parquet, yolo

KINDS = ("white cell", "red cell", "platelet")  # by the numbers of the clone's label files
NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def fields(places: Sequence[str]) -> datasets.Dataset:
    """Whole fields with image_id, image and boxes. Raises DataError."""
    if parquet_files(places):
        return read_parquet(places, ("image_id", "image", "boxes"))
    pairs = [(image, labels) for image, labels in yolo.pairs(places) if NAME.fullmatch(image.stem)]
    if not pairs:
        raise DataError(f"{places[0]}: no field of Raabin in it; give the clone of TXL-PBC_Dataset, or parquet.")
    columns = {
        "image_id": [image.stem for image, _ in pairs],
        "image": [str(image) for image, _ in pairs],
        "boxes": [[box for box, kind in yolo.boxes(labels, image, KINDS) if kind == KINDS[0]] for image, labels in pairs],
    }
    return datasets.Dataset.from_dict(columns)
