"""The pictures that the locator learns from: fields of several laboratories with the boxes of their white cells."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from cells import pbc
from cells.pbc import DataError
from cells.read.images import ImageError, read_image
from train.sources import chula, jhu, pbc_boxes, raabin

# White cells of chula's fields that its authors did not box, and cells in the middle of single-cell pictures of jhu. Both were
# found by a first network, trained without them; of the first each was looked at, of the second one in fourteen.
MISSING_BOXES, JHU_BOXES = (Path(__file__).with_name(f"{name}.csv") for name in ("chula_missing_boxes", "jhu_boxes"))


def _chula(places: Sequence[str]) -> datasets.Dataset:
    rows, missing = chula.fields(places), _boxes(MISSING_BOXES)
    boxes = [
        [*map(list, row["boxes"]), *missing.get(row["image_id"], [])] for row in rows.select_columns(["image_id", "boxes"])
    ]
    return rows.remove_columns("boxes").add_column("boxes", boxes)


def _jhu(places: Sequence[str]) -> datasets.Dataset:
    """Pictures of single cells, some of which show a part of another: only the boxed cell is of use."""
    rows, boxes = jhu.read(places), _boxes(JHU_BOXES)
    rows = rows.select([row for row, image_id in enumerate(rows["image_id"][:]) if image_id in boxes])
    return rows.add_column("boxes", [boxes[image_id] for image_id in rows["image_id"][:]])


def _boxes(file: Path) -> dict[str, list[list[float]]]:
    """image_id -> boxes."""
    found: dict[str, list[list[float]]] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["image_id"], []).append([float(row[name]) for name in ("x0", "y0", "x1", "y1")])
    return found


READERS: dict[str, Callable[[Sequence[str]], datasets.Dataset]] = {
    "chula": _chula,
    "raabin": raabin.fields,
    "pbc": pbc_boxes.fields,
    "jhu": _jhu,
}
LARGEST_CELL = 112  # pixels of the median cell in a picture that is kept for training: crops.py shows none larger
HELD_OUT = 5


@dataclass(frozen=True, eq=False)
class Field:
    """A picture uint8 (h, w, 3) and the boxes (k, 4) of its white cells in pixels; `group` names what was photographed."""

    source: str
    image_id: str
    group: str
    image: np.ndarray
    boxes: np.ndarray

    @property
    def cell(self) -> float:
        """The longer side of the median box, in pixels."""
        return float(np.median((self.boxes[:, 2:] - self.boxes[:, :2]).max(1)))

    def shrunk(self) -> "Field":
        """The same with a median cell of at most LARGEST_CELL pixels."""
        scale = LARGEST_CELL / self.cell
        if scale >= 1:
            return self
        height, width = self.image.shape[:2]
        size = (round(width * scale), round(height * scale))
        image = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        return Field(self.source, self.image_id, self.group, image, self.boxes * scale)


def places_of(arguments: Sequence[str]) -> dict[str, list[str]]:
    """SOURCE=PLACE of each argument -> the places of each source. Raises DataError."""
    found: dict[str, list[str]] = {}
    for argument in arguments:
        name, _, place = argument.partition("=")
        if name not in READERS or not place:
            raise DataError(f"{argument}: write SOURCE=PLACE; the sources are {', '.join(READERS)}.")
        found.setdefault(name, []).append(place)
    return found


def read(source: str, places: Sequence[str], wanted: Callable[[str], bool] = lambda image_id: True) -> list[Field]:
    """The fields of one source by image_id, at their own size, without those that have no box. Raises DataError."""
    rows = READERS[source](places).cast_column("image", datasets.Image(decode=False))
    rows = rows.select([row for row, image_id in enumerate(rows["image_id"][:]) if wanted(image_id)])
    found = [field(source, row) for row in rows if len(row["boxes"])]
    if not found:
        raise DataError(f"{places[0]}: no picture with a box in it.")
    return sorted(found, key=lambda field: field.image_id)


def field(source: str, row: Mapping) -> Field:
    """Of a row with image_id, the encoded image and boxes. Raises DataError."""
    try:
        image = np.asarray(read_image(pbc.source_of(row["image"])))
    except ImageError as error:
        raise DataError(f"picture {row['image_id']}: {error}") from None
    return Field(source, row["image_id"], row.get("slide", row["image_id"]), image, np.array(row["boxes"], float))


def parts(split: Path) -> dict[str, str]:
    """The part (pbc.PARTS) of each slide of chula, as `chula:SLIDE`, and of each picture of PBC. Raises DataError."""
    try:
        with split.open(newline="") as file:
            rows = [(row["image_id"], row["split"]) for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise DataError(f"{split}: it is to be a CSV of image_id and split: {error}") from None
    slides = {
        f"chula:{name.split(':', 1)[1].rpartition('/')[0].rpartition('_')[0]}": part for name, part in rows if "chula:" in name
    }
    return {name: part for name, part in rows if ":" not in name} | slides


def part_of(field: Field, known: Mapping[str, str], number: int) -> str:
    """The part of a field, the `number`-th of its source. Of raabin, which has no split, one in HELD_OUT is for validation."""
    if field.source == "raabin":
        return "train" if number % HELD_OUT else "validation"
    return known.get(f"chula:{field.group}" if field.source == "chula" else field.image_id, "train")
