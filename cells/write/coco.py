"""Boxes and types of whole fields as COCO JSON, which CVAT and Label Studio read and write, and back.

A type is the person's word where there is one, otherwise the model's. A cell that a person rejected has no annotation.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from cells.review import REJECTED, Review
from cells.write.table import printable


class CocoError(Exception):
    """A file that is no COCO JSON of boxes. Its text is one line for the user."""


@dataclass(frozen=True)
class Annotation:
    """A box (x0, y0, x1, y1) in pixels of the picture, and the name of its category."""

    box: tuple[float, float, float, float]
    category: str


def to_json(review: Review) -> str:
    """The fields of a review; pictures of single cells have no boxes and are left out."""
    names, images, annotations = list(review.labels), {}, []
    for cell, label in zip(review.cells, review.standing, strict=True):
        place, file = cell.prediction.place, printable(cell.prediction.file)
        if place is None:
            continue
        picture = cell.id.rpartition(".")[0]  # files of two folders or ZIPs may have one name
        size = dict(zip(("width", "height"), place.size, strict=True))
        image = images.setdefault((file, picture), {"id": len(images) + 1, "file_name": file, **size})
        if label in REJECTED:
            continue
        if label not in names:  # of the model that it was compared with
            names.append(label)
        x0, y0, x1, y1 = (round(edge, 1) for edge in place.box)
        annotation = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": names.index(label) + 1}
        box = {"bbox": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)], "area": round((x1 - x0) * (y1 - y0), 1), "iscrowd": 0}
        annotations.append(annotation | box)
    categories = [{"id": number, "name": name, "supercategory": "blood cell"} for number, name in enumerate(names, 1)]
    info = {"description": f"{review.model}: for research and teaching, not for diagnosis."}
    found = {"info": info, "images": list(images.values()), "categories": categories, "annotations": annotations}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str | bytes) -> dict[str, list[Annotation]]:
    """File name -> its annotations, in the file's order, without boxes of no area. Raises CocoError.

    page/workbench/coco.js reads the same.
    """
    try:
        value = json.loads(text)
        files = {image["id"]: _text(image["file_name"]) for image in value["images"]}
        names = {category["id"]: _text(category["name"]) for category in value["categories"]}
        found: dict[str, list[Annotation]] = {file: [] for file in files.values()}
        for one in value["annotations"]:
            annotation = _annotation(one, names)
            x0, y0, x1, y1 = annotation.box
            found[files[one["image_id"]]] += [annotation] if x0 < x1 and y0 < y1 else []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CocoError(f"this is no COCO JSON with images, categories and boxes ({type(error).__name__}).") from error
    return found


def _annotation(one: Mapping, names: Mapping[int, str]) -> Annotation:
    x, y, width, height = one["bbox"]
    if not all(math.isfinite(each) for each in (x, y, width, height)):
        raise ValueError("a box has four numbers")
    return Annotation((x, y, x + width, y + height), names[one["category_id"]])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a name is a text")
    return value
