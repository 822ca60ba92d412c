"""The boxes of PBC's cells in github.com/medmabcf/White-Blood-Cell-Detection-Dataset (CC BY 4.0): 12,005 of them.

Places: the clone, with PART/images/NAME.jpg and PART/labels/NAME.txt; or PBC's parquet files and a CSV of image_id, x_centre,
y_centre, width and height, shares of the picture.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import datasets
from PIL import Image

from cells import pbc
from cells.pbc import DataError
from train.sources import yolo

COLUMNS = ("x_centre", "y_centre", "width", "height")
KINDS = ("white cell",) * 10  # whichever number a line has


def fields(places: Sequence[str]) -> datasets.Dataset:
    """Pictures with image_id, image and boxes. Raises DataError."""
    tables = [place for place in places if place.endswith(".csv")]
    if tables:
        return _from_table(Path(tables[0]), [place for place in places if place != tables[0]])
    pairs = list(yolo.pairs(places))
    if not pairs:
        raise DataError(f"{places[0]}: no images with labels; give the clone of White-Blood-Cell-Detection-Dataset.")
    columns = {
        "image_id": [image.stem for image, _ in pairs],
        "image": [str(image) for image, _ in pairs],
        "boxes": [[box for box, _ in yolo.boxes(labels, image, KINDS)] for image, labels in pairs],
    }
    return datasets.Dataset.from_dict(columns)


def _from_table(table: Path, places: Sequence[str]) -> datasets.Dataset:
    try:
        with table.open(newline="") as file:
            found = {row["image_id"]: [float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{table}: it is to have the columns image_id, {', '.join(COLUMNS)}: {error}") from None
    dataset = pbc.read(places)
    dataset = dataset.select([row for row, image_id in enumerate(dataset["image_id"][:]) if image_id in found])
    encoded = dataset.cast_column("image", datasets.Image(decode=False))
    boxes = [[_corners(_size(row["image"]), *found[row["image_id"]])] for row in encoded]
    return dataset.select_columns(["image_id", "image"]).add_column("boxes", boxes)


def _size(image: dict) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(image["bytes"]) if image["bytes"] else image["path"]) as opened:
            return opened.size
    except OSError as error:
        raise DataError(f"a picture cannot be read: {error}") from None


def _corners(size: tuple[int, int], x: float, y: float, width: float, height: float) -> list[float]:
    """[x0, y0, x1, y1] in pixels of a picture of (width, height)."""
    shares = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return [share * side for share, side in zip(shares, size * 2, strict=True)]
