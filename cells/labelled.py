"""Labelled cells on this machine: a folder with a folder a type, or a reviewed CSV beside its pictures."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cells.classes import KNOWN
from cells.locate.parts import FRAMED, crop, reader
from cells.read import limits
from cells.read.find_images import CallError, find_images, is_hidden
from cells.read.images import ImageError, read_image
from cells.review import REJECTED
from cells.write.table import ENCODING, PLACE, unescaped

# A type comes before a subtype of the same words.
_LABELS = {word.lower(): one.name for one in reversed(KNOWN.values()) for word in (one.english, one.spanish, one.name)}


def read_labelled(place: Path) -> tuple[list[Image.Image], list[str]]:
    """(RGB pictures of one cell each, the label of each). A folder or CSV may say a type by its label or in words.

    Of a CSV the rows count of which a person said a type, in its column `person`. Raises CallError, which names a picture that
    cannot be read.
    """
    if place.is_dir():
        named = [(file, None, folder.name) for folder in _folders(place) for file in find_images(str(folder))]
    else:
        named = list(_rows(place))
    most = limits.LABELLED[1]
    if len(named) > most:  # before they are read
        raise CallError(f"{place} has {len(named)} labelled cells; at most {most} are learnt from.")
    pictures = [_picture(file, box) for file, box, _ in named]
    return pictures, [label_of(word) for _, _, word in named]


def label_of(word: str) -> str:
    """The label of a type that is known by this word, otherwise the word itself."""
    return _LABELS.get(word.strip().lower(), word.strip())


def _folders(place: Path) -> list[Path]:
    found = sorted(path for path in place.iterdir() if path.is_dir() and not is_hidden(path.name))
    if not found:
        raise CallError(f"the folder {place} holds no folders; it is to have one of each type, with pictures of its cells.")
    return found


def _rows(place: Path) -> Iterator[tuple[str, list[float] | None, str]]:
    """(file, box in a field, what a person said) of a CSV's rows."""
    try:
        frame = pd.read_csv(place, encoding=ENCODING, dtype={"file": str, "person": str, PLACE[0]: str})
    except (OSError, ValueError) as error:
        raise CallError(f"{place} is neither a folder nor a CSV that can be read.") from error
    if not {"file", "person"} <= {*frame.columns}:
        raise CallError(f"{place} has no columns `file` and `person`: give the CSV of a review.")
    has_places = {*PLACE} <= {*frame.columns}
    for row in frame[frame["person"].notna()].to_dict("records"):
        if row["person"] not in REJECTED:
            is_in_field = has_places and pd.notna(row["cell"])
            yield (
                _beside(place, row["file"]),
                [row[name] for name in PLACE[2:6]] if is_in_field else None,
                row["person"],
            )


def _beside(place: Path, name: str) -> str:
    """The file of a row, whose name may be escaped."""
    file = os.path.join(place.parent, name)
    return file if os.path.exists(file) else os.path.join(place.parent, unescaped(name))


def _picture(file: str, box: list[float] | None) -> Image.Image:
    try:
        picture = read_image(file)
    except ImageError as error:
        raise CallError(f"{file}: {error}") from None
    if box is None:
        [(picture, _)] = reader(FRAMED)(picture)
        return picture
    return Image.fromarray(crop(np.asarray(picture), box))
