"""Chulalongkorn University, Bangkok (github.com/singgihbekti/WBC_Dataset): boxed white cells in whole fields, by slide.

Places: the clone of the repository, with images/SLIDE_NUMBER.jpg and labels/SLIDE_NUMBER.txt (a line a box, as YOLO has it); or
parquet with image_id, slide, image, boxes ([[x0, y0, x1, y1]] in pixels) and cell_types.
"""

from collections.abc import Sequence

import datasets

from cells.pbc import DataError
from train.sources import boxed, parquet_files, read_parquet, yolo

TYPES = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte")  # by the numbers of the clone's label files


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources. Raises DataError."""
    return boxed.cells(fields(places), lambda field, number: field["cell_types"][number], group="slide")


def fields(places: Sequence[str]) -> datasets.Dataset:
    """Whole fields with the columns of the parquet. Raises DataError."""
    if parquet_files(places):
        return read_parquet(places, ("image_id", "slide", "image", "boxes", "cell_types"))
    pairs = list(yolo.pairs(places))
    if not pairs:
        raise DataError(f"{places[0]}: no images/*.jpg with labels/*.txt in it; give the clone of WBC_Dataset, or parquet.")
    boxes = [yolo.boxes(labels, image, TYPES) for image, labels in pairs]
    columns = {
        "image_id": [image.stem for image, _ in pairs],
        "slide": [image.stem.rpartition("_")[0] for image, _ in pairs],
        "image": [str(image) for image, _ in pairs],
        "boxes": [[box for box, _ in each] for each in boxes],
        "cell_types": [[cell_type for _, cell_type in each] for each in boxes],
    }
    return datasets.Dataset.from_dict(columns)
