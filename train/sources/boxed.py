"""Single cells of whole fields: a picture is cut around each box, as wide to its cell as in PBC, its edges reflected."""

import io
from collections.abc import Callable, Sequence

import datasets
import numpy as np
from PIL import Image

from cells import pbc
from cells.locate.parts import crop
from cells.pbc import DataError
from cells.read.images import ImageError, read_image
from train.sources import FEATURES


def cells(fields: datasets.Dataset, type_of: Callable[[dict, int], str], group: str | None = None) -> datasets.Dataset:
    """A row for each box of fields with image_id, image and boxes ([[x0, y0, x1, y1]] in pixels): see train/sources.

    type_of(field, number) -> the cell type of a box; a box of no type ("") is left out. group: the column of fields that names
    what stays in one part of a split. An image_id is FIELD/NUMBER. Raises DataError.
    """
    columns: dict[str, list] = {name: [] for name in FEATURES}
    for field in fields.cast_column("image", datasets.Image(decode=False)):
        types = [type_of(field, number) for number in range(len(field["boxes"]))]
        image = _decoded(field) if any(types) else None
        for number, (box, cell_type) in enumerate(zip(field["boxes"], types, strict=True)):
            if cell_type:
                row = (f"{field['image_id']}/{number}", _encoded(image, box), cell_type, "", field[group] if group else "", "")
                for values, value in zip(columns.values(), row, strict=True):
                    values.append(value)
    return datasets.Dataset.from_dict(columns)


def _decoded(field: dict) -> np.ndarray:
    try:
        return np.asarray(read_image(pbc.source_of(field["image"])))
    except ImageError as error:
        raise DataError(f"picture {field['image_id']}: {error}") from None


def _encoded(image: np.ndarray, box: Sequence[float]) -> dict:
    buffer = io.BytesIO()
    Image.fromarray(crop(image, box)).save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}
