"""Which pictures a model has learnt from: a file of its folder with a hash of each image_id.

A run that starts from a model, or learns from it as its teacher, would report figures that are too good where the model has
seen the pictures that the run validates or tests with.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from transformers import AutoConfig
from transformers.utils.hub import cached_file

from cells.classes import LABELS, SUBTYPE_LABELS
from train.checkpoint import write_text
from train.packages import PACKAGES
from train.recipe import Recipe, RecipeError

FILE = "training_ids.txt"
DIGITS = 12  # of the SHA-256: two of a million pictures share them with a chance of 1 in 500


def hashed(ids: Iterable[str]) -> set[str]:
    """What the file says of each image_id."""
    return {hashlib.sha256(image_id.encode()).hexdigest()[:DIGITS] for image_id in ids}


def write(folder: Path, ids: Iterable[str], recipe: Recipe) -> None:
    """Write the file of a model that has learnt from these pictures, and from what its start and its teacher had."""
    _write(folder, hashed(ids), _origins(recipe).values())


def merge(folder: Path, places: Iterable[str]) -> None:
    """Write the file of a model that was made of the models at these places."""
    _write(folder, set(), places)


def _write(folder: Path, own: set[str], places: Iterable[str]) -> None:
    known = own.union(*(read(place) or () for place in places))
    write_text(folder / FILE, "".join(f"{one}\n" for one in sorted(known)))


def read(place: str) -> set[str] | None:
    """The hashes of a model folder or a Hub id; None where it has no such file."""
    file = Path(place) / FILE if Path(place).is_dir() else _cached(place)
    return set(file.read_text().split()) if file and file.is_file() else None


def check(recipe: Recipe, held_out: Iterable[str], say=print) -> None:
    """Refuse a start or a teacher that has learnt from pictures of validation or test; warn where that cannot be known.

    Raises RecipeError.
    """
    held_out = hashed(held_out)
    for key, place in _origins(recipe).items():
        known = read(place)
        if known is None:
            if _classifies_cells(place):
                say(
                    f"warning: {key}={place} does not say which pictures it was trained on ({FILE}); if pictures of this run's "
                    "validation or test part are among them, its figures will be too good; give --split that model's split."
                )
        elif seen := len(known & held_out):
            raise RecipeError(
                f"{key}={place} was trained on {seen} of the {len(held_out)} pictures of this run's validation and test parts; "
                "give --split the split.csv that it was trained with, or start from other weights."
            )


def _origins(recipe: Recipe) -> dict[str, str]:
    """What the run starts from or learns from; a package of ImageNet weights has seen no cell."""
    places = {key: getattr(recipe, key) for key in ("pretrained", "teacher")}
    return {key: place for key, place in places.items() if place and place not in PACKAGES}


def _cached(place: str) -> Path | None:
    try:
        found = cached_file(place, FILE, _raise_exceptions_for_missing_entries=False)
    except OSError:  # no such repository, or the Hub is out of reach; the weights were found before
        return None
    return Path(found) if found else None


def _classifies_cells(place: str) -> bool:
    """Whether a model without the file answers with types of cells: others have seen no picture of these laboratories."""
    try:
        labels = AutoConfig.from_pretrained(place, trust_remote_code=False).id2label.values()
    except (OSError, ValueError):
        return True
    return bool(set(labels) & {*LABELS, *SUBTYPE_LABELS})
