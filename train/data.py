"""The pictures of a recipe: read from their sources, labelled, decoded, split."""

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cells import pbc
from cells.classes import BLAST, LABELS, SMUDGE, SUBTYPE_LABELS
from cells.measures import HOME, HUB_ID, read_metrics, trained_on
from cells.pbc import DataError
from cells.read.images import ImageError, read_image
from train import duplicates
from train.batches import Pictures, split_batch
from train.recipe import Recipe
from train.sources import FEATURES, chula, jhu, raabin, seoul
from train.sources import pbc as pbc_source
from train.split import folds as split_folds
from train.split import split

READERS = {HOME: pbc_source.read, "chula": chula.read, "jhu": jhu.read, "raabin": raabin.read, "seoul": seoul.read}
KNOWN_TYPES = (*LABELS, BLAST.name, SMUDGE.name)  # of cells that are measured in any laboratory
PLACES = (  # for --help
    f"where PBC is: a Hub id, parquet files, or the unpacked archive's folder (default {HUB_ID}); and SOURCE=PLACE for each "
    f"further laboratory of the recipe's sources, of {', '.join(name for name in READERS if name != HOME)}"
)


def by_source(places: Sequence[str]) -> dict[str, list[str]]:
    """The places of each source, by its name; a place is PBC's unless it is written SOURCE=PLACE."""
    found: dict[str, list[str]] = {}
    for place in map(str, places):
        name, equals, path = place.partition("=")
        name, path = (name, path) if equals and name in READERS else (HOME, place)
        found.setdefault(name, []).append(path)
    return found


def load(places: Sequence[str]) -> datasets.Dataset:
    """The rows of every source, by image_id within each, with the columns of sources.FEATURES and `source`.

    An image_id of another laboratory than PBC begins with its name and a colon. Raises DataError.
    """
    parts = [_load_one(name, own) for name, own in by_source(places).items()]
    if len(parts) == 1:
        return parts[0]
    features = datasets.Features({**FEATURES, "source": datasets.Value("string")})
    return datasets.concatenate_datasets([part.select_columns(list(features)).cast(features) for part in parts])


def _load_one(name: str, places: list[str]) -> datasets.Dataset:
    dataset = READERS[name](places)
    if name != HOME:
        ids = [f"{name}:{image_id}" for image_id in dataset["image_id"][:]]
        if len(set(ids)) < len(ids):
            raise DataError(f"{places[0]}: {len(ids) - len(set(ids))} image_id occur twice; each is to name one picture.")
        dataset = dataset.remove_columns("image_id").add_column("image_id", ids).select(np.argsort(ids))
        dataset = dataset.cast_column("image", datasets.Image(decode=False))
    return dataset.add_column("source", [name] * len(dataset))


def label(dataset: datasets.Dataset, labels: Sequence[str]) -> datasets.Dataset:
    """Add the column `label`, an index into `labels`: of the subtype where it is among them, otherwise of the type.

    Rows of neither are left out. Raises DataError if a class has no picture.
    """
    index = {name: number for number, name in enumerate(labels)}
    kinds = zip(dataset["cell_type"][:], dataset["cell_subtype"][:], strict=True)
    found = [index.get(subtype, index.get(cell_type)) for cell_type, subtype in kinds]
    missing = [name for name, number in index.items() if number not in set(found)]
    if missing:
        raise DataError(f"no picture of {', '.join(missing)}; each of the {len(labels)} classes needs some.")
    dataset = dataset.select([row for row, number in enumerate(found) if number is not None])
    return dataset.add_column("label", [number for number in found if number is not None])


def decode(dataset: datasets.Dataset, size: int) -> Tensor:
    """Every picture as uint8 (n, 3, size, size), resized as the model folder's preprocessing does. Raises DataError."""
    pixels = torch.empty((len(dataset), 3, size, size), dtype=torch.uint8)

    def one(index: int) -> None:
        row = dataset[index]
        try:
            image = read_image(pbc.source_of(row["image"]))
        except ImageError as error:
            raise DataError(f"picture {row['image_id']}: {error}") from None
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(len(dataset))))
    return pixels


def part(dataset: datasets.Dataset, split_file: Path, name: str) -> datasets.Dataset:
    """The rows that a split file gives to train, validation or test. Raises DataError where there is none."""
    parts = pbc.read_split(split_file)
    rows = [row for row, image_id in enumerate(dataset["image_id"][:]) if parts.get(image_id) == name]
    if not rows:
        raise DataError(f"--split {split_file}: none of its {name} pictures is among the data.")
    return dataset.select(rows)


def sources_of(folder: Path) -> list[str]:
    """The laboratories that a model has learnt from, by their names in train/sources."""
    try:
        return trained_on(read_metrics(folder / "metrics.json"))
    except OSError:
        return [HOME]


def of_laboratory(
    dataset: datasets.Dataset, split: dict[str, str], laboratory: str, part: str | None, types: Collection[str] = KNOWN_TYPES
) -> datasets.Dataset:
    """The pictures of a laboratory in one part (None: in all but test) whose type is one of these."""
    columns = zip(*(dataset[key][:] for key in ("source", "cell_type", "image_id")), strict=True)
    kept = [
        row
        for row, (source, cell_type, image_id) in enumerate(columns)
        if source == laboratory and cell_type in types and _in_part(split.get(image_id, ""), part)
    ]
    return dataset.select(kept)


def _in_part(found: str, wanted: str | None) -> bool:
    return found != "test" if wanted is None else found == wanted


@dataclass(frozen=True)
class Prepared:
    """The pictures of a run: encoded, decoded, and the part of each."""

    dataset: datasets.Dataset
    pixels: Tensor  # uint8 (n, 3, s, s)
    parts: list[str]

    def ids(self, *parts: str) -> list[str]:
        """The image_id of the pictures of these parts."""
        return [image_id for image_id, one in zip(self.dataset["image_id"][:], self.parts, strict=True) if one in parts]

    def subset(self, part: str, device: torch.device) -> dict[str, Pictures]:
        """The pictures of a part, by source."""
        labels, rows = torch.tensor(self.dataset["label"][:]), _rows_by_source(self.dataset)
        found = {}
        for name, own in rows.items():
            chosen = torch.tensor([row for row in own if self.parts[row] == part], dtype=torch.long)
            found[name] = Pictures(self.pixels[chosen].to(device), labels[chosen].to(device))
        return found


def _rows_by_source(dataset: datasets.Dataset) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, name in enumerate(dataset["source"][:]):
        found.setdefault(name, []).append(row)
    return found


def prepare(chosen: Recipe, places: Sequence[str], split_file: Path | None, say: Callable[[str], None] = print) -> Prepared:
    """Read, decode and split the pictures of a recipe. Raises DataError.

    A split file decides for each source of which it names pictures; otherwise the source's own split, or a new one.
    """
    found = load(_places_of(chosen, places))
    dataset = label(found, chosen.labels)
    if len(dataset) < len(found):
        kind = "a subtype" if chosen.labels == SUBTYPE_LABELS else "one of the recipe's classes"
        say(f"{len(found) - len(dataset)} pictures without {kind} left out.")
    dataset, parts = _given_parts(dataset, split_file, say)
    say(f"decoding {len(dataset)} pictures to {chosen.image_size} px")
    pixels = decode(dataset, chosen.image_size)
    for rows in _rows_by_source(dataset).values():
        if None in (parts[row] for row in rows):
            own, groups = dataset.select(rows), _groups(dataset, pixels, rows, say)
            for row, one in zip(rows, split(own, groups), strict=True):
                parts[row] = one
    _check_parts(dataset, parts, chosen)
    say(", ".join(f"{parts.count(name)} {name}" for name in pbc.PARTS))
    return Prepared(dataset, pixels, parts)


def folds(
    chosen: Recipe, places: Sequence[str], number: int, say: Callable[[str], None] = print
) -> tuple[list[str], list[list[str]]]:
    """(image_id of a recipe's pictures, for each fold of a cross-validation the part of each), per source. Raises DataError."""
    dataset = label(load(_places_of(chosen, places)), chosen.labels)
    pixels = decode(dataset, duplicates.SIZE)
    found = [[""] * len(dataset) for _ in range(number)]
    for rows in _rows_by_source(dataset).values():
        own = split_folds(dataset.select(rows), _groups(dataset, pixels, rows, say), number)
        for parts, of_source in zip(found, own, strict=True):
            for row, one in zip(rows, of_source, strict=True):
                parts[row] = one
    return dataset["image_id"][:], found


def _places_of(chosen: Recipe, places: Sequence[str]) -> list[str]:
    """SOURCE=PLACE for each of the recipe's sources, in its order. Raises DataError."""
    given = by_source(places)
    names = [name for name, _ in chosen.sources]
    unknown = [name for name in names if name not in READERS]
    if unknown:
        raise DataError(f"sources: no laboratory is called {unknown[0]!r}; there are {', '.join(READERS)}.")
    given.setdefault(HOME, [HUB_ID])
    lacking = [name for name in names if name not in given]
    if lacking:
        raise DataError(f"{chosen.name} learns from {lacking[0]} as well; say where it is: --data ... {lacking[0]}=PLACE.")
    surplus = [name for name in by_source(places) if name not in names]
    if surplus:
        raise DataError(f"--data names {surplus[0]}, which {chosen.name} does not learn from: sources={chosen.sources}.")
    return [f"{name}={place}" for name in names for place in given[name]]


def _given_parts(
    dataset: datasets.Dataset, split_file: Path | None, say: Callable[[str], None]
) -> tuple[datasets.Dataset, list[str | None]]:
    """(the rows that are used, the part of each as a split file or its source has it; None: to be decided)."""
    given = pbc.read_split(split_file) if split_file else {}
    ids, own = dataset["image_id"][:], dataset["split"][:]
    parts: list[str | None] = [None] * len(ids)
    kept: list[int] = []
    for number, (name, rows) in enumerate(_rows_by_source(dataset).items()):
        used = rows
        if split_file and (number == 0 or any(ids[row] in given for row in rows)):
            used = [row for row in rows if ids[row] in given]
            say(f"{split_file}: {len(used)} of {len(given)} pictures found; {len(rows) - len(used)} others left out.")
        elif all(own[row] for row in rows):
            say(f"{name}: the split of its publisher is used.")
        for row in used:
            parts[row] = given.get(ids[row]) or own[row] or None
        kept += used
    if len(kept) < len(ids):
        dataset = dataset.select(kept)
    return dataset, [parts[row] for row in kept]


def _groups(dataset: datasets.Dataset, pixels: Tensor, rows: list[int], say: Callable[[str], None]) -> np.ndarray:
    """(n,) of rows of one source: equal for pictures that stay in one part."""
    names = [dataset["group"][row] for row in rows]
    if all(names):
        return np.unique(names, return_inverse=True)[1]
    say("looking for pictures that show the same cells")
    return duplicates.groups(pixels[rows])


def _check_parts(dataset: datasets.Dataset, parts: list[str], chosen: Recipe) -> None:
    counts = {part: parts.count(part) for part in pbc.PARTS}
    if not all(counts.values()):
        raise DataError(f"every part needs pictures; there are {counts}.")
    sources = {name: [parts[row] for row in rows] for name, rows in _rows_by_source(dataset).items()}
    if lacking := [name for name, _ in chosen.sources if name not in sources]:
        raise DataError(f"no picture of {lacking[0]} shows one of the classes: {', '.join(chosen.labels)}.")
    wanted = split_batch(chosen.batch_size, [dict(chosen.sources)[name] for name in sources])
    for (name, own), batch in zip(sources.items(), wanted, strict=True):
        if own.count("train") < batch:
            kind = f"batch_size={chosen.batch_size}" if len(sources) == 1 else f"the {batch} of {name} in a batch"
            raise DataError(f"{own.count('train')} training pictures are fewer than {kind}.")
        if not own.count("validation"):
            raise DataError(f"{name} has no validation picture; every source needs some.")
    trained = {label for label, part in zip(dataset["label"][:], parts, strict=True) if part == "train"}
    missing = [name for index, name in enumerate(chosen.labels) if index not in trained]
    if missing:
        raise DataError(f"no training picture of {', '.join(missing)}; each of the classes needs some.")
