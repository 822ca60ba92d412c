"""Chulalongkorn University, Bangkok (github.com/singgihbekti/WBC_Dataset): boxed white cells in whole fields, by slide.

Places: the clone of the repository, with images/SLIDE_NUMBER.jpg and labels/SLIDE_NUMBER.txt (a line a box, as YOLO has it); or
parquet with image_id, slide, image, boxes ([[x0, y0, x1, y1]] in pixels) and cell_types. A picture is cut around each box, its
edges reflected; the cell fills as much of it as in PBC.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from cells import pbc
from cells.pbc import DataError
from cells.read.images import ImageError, read_image
from train.sources import parquet_files, read_parquet

TYPES = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte")  # by the numbers of the clone's label files
FILLED = 0.42  # of the picture's side, by the longer side of the box


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources. Raises DataError."""
    fields = _fields(places)
    columns = {name: [] for name in ("image_id", "image", "cell_type", "cell_subtype", "group", "split")}
    for field in fields.cast_column("image", datasets.Image(decode=False)):
        try:
            image = np.asarray(read_image(pbc.source_of(field["image"])))
        except ImageError as error:
            raise DataError(f"picture {field['image_id']}: {error}") from None
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


def _fields(places: Sequence[str]) -> datasets.Dataset:
    """Whole fields with the columns of the parquet."""
    if parquet_files(places):
        return read_parquet(places, ("image_id", "slide", "image", "boxes", "cell_types"))
    images = {file.stem: file for place in places for file in sorted(Path(place).glob("**/images/*.jpg"))}
    labels = {file.stem: file for place in places for file in sorted(Path(place).glob("**/labels/*.txt"))}
    names = sorted(images.keys() & labels.keys())
    if not names:
        raise DataError(f"{places[0]}: no images/*.jpg with labels/*.txt in it; give the clone of WBC_Dataset, or parquet.")
    boxes = [_boxes(labels[name], images[name]) for name in names]
    columns = {
        "image_id": names,
        "slide": [name.rpartition("_")[0] for name in names],
        "image": [str(images[name]) for name in names],
        "boxes": [[box for box, _ in each] for each in boxes],
        "cell_types": [[cell_type for _, cell_type in each] for each in boxes],
    }
    return datasets.Dataset.from_dict(columns)


def _boxes(label_file: Path, image_file: Path) -> list[tuple[list[float], str]]:
    """([x0, y0, x1, y1] in whole pixels, type) of each line: a number, then centre and size as shares of the picture."""
    try:
        with Image.open(image_file) as image:
            width, height = image.size
    except OSError as error:
        raise DataError(f"{image_file} cannot be read: {error}") from None
    found = []
    try:
        for line in label_file.read_text().splitlines():
            number, x, y, w, h = line.split()
            x, y, w, h = float(x) * width, float(y) * height, float(w) * width, float(h) * height
            found.append(([float(round(one)) for one in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)], TYPES[int(number)]))
    except (ValueError, IndexError) as error:
        line = f"NUMBER X Y WIDTH HEIGHT, NUMBER up to {len(TYPES) - 1}"
        raise DataError(f"{label_file}: a line is to be {line}: {error}") from None
    return found


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
