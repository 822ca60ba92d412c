"""Raabin-WBC, Tehran (Kouzehkanan et al. 2022), boxed in github.com/lugan113/TXL-PBC_Dataset: fields of 575 x 575 px.

Places: the clone of that repository, with TXL_PBC/images and TXL_PBC/labels (its other pictures are not Raabin's); or parquet
with image_id, image and boxes ([[x0, y0, x1, y1]] of white cells, in pixels).

The boxes have no type. raabin_types.csv gives one to 442 of the 517: each cell was looked at, by no haematologist, and left out
where its type was unclear or the box held no whole cell. docs/training.md says more.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import datasets

from cells.pbc import DataError
from train.sources import boxed, parquet_files, read_parquet, yolo

KINDS = ("white cell", "red cell", "platelet")  # by the numbers of the clone's label files
NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TYPES = Path(__file__).with_name("raabin_types.csv")


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources; the cells of TYPES. Raises DataError."""
    with TYPES.open(newline="") as file:
        types = {row["image_id"]: row["cell_type"] for row in csv.DictReader(file)}
    return boxed.cells(fields(places), lambda field, number: types.get(f"{field['image_id']}/{number}", ""))


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
