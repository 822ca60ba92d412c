"""The PBC dataset from the Hub, from parquet or from the unpacked archive, and its grouped, stratified, seeded split."""

import csv
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from cells.classes import LABELS, TYPE_OF_SUBTYPE
from cells.images import ImageError, read_image

HUB_ID = "chehablab/PBC"
COLUMNS = ("image_id", "image", "cell_type", "cell_subtype")
SPLIT_SEED = 42  # thesis; another seed of training must not change the test pictures
PARTS = ("train", "validation", "test")


class DataError(Exception):
    """The data cannot be used as they are. Its text is one line for the user."""


def load(sources: Sequence[str]) -> datasets.Dataset:
    """Read a Hub id, parquet files or an image folder; rows come in the order of `image_id`, pictures still encoded.

    Columns: image_id, image, cell_type, cell_subtype (empty where a picture has none). Raises DataError.
    """
    sources = [str(source) for source in sources]
    try:
        if all(source.endswith(".parquet") for source in sources):
            dataset = _load_parquet(sources)
        elif len(sources) == 1 and Path(sources[0]).is_dir():
            dataset = _load_folder(Path(sources[0]))
        elif len(sources) == 1 and sources[0].count("/") == 1 and not sources[0].startswith((".", "/")):
            dataset = datasets.concatenate_datasets(list(datasets.load_dataset(sources[0]).values()))
        else:
            raise DataError(
                f"--data {' '.join(sources)}: not there; give a Hub id (USER/NAME), parquet files, or the folder of the "
                "unpacked archive."
            )
    except DataError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"--data {sources[0]} cannot be read: {reason}") from error
    return _checked(dataset, sources[0])


def _load_parquet(files: list[str]) -> datasets.Dataset:
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise DataError(f"--data {missing[0]}: there is no such file.")
    return datasets.load_dataset("parquet", data_files=files, split="train")


def _load_folder(folder: Path) -> datasets.Dataset:
    """The unpacked archive: CELL_TYPE/SUBTYPE_NUMBER.jpg, hidden files ignored."""
    files = sorted(path for path in folder.rglob("*.jpg") if not path.name.startswith("."))
    if not files:
        raise DataError(f"--data {folder}: no .jpg file in it; give the unpacked archive's folder.")
    columns = {
        "image_id": [path.stem for path in files],
        "image": [str(path) for path in files],
        "cell_type": [path.parent.name for path in files],
        "cell_subtype": [path.stem.split("_")[0] for path in files],
    }
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image(decode=False))


def _checked(dataset: datasets.Dataset, source: str) -> datasets.Dataset:
    missing = [column for column in COLUMNS if column not in dataset.column_names]
    if missing:
        raise DataError(
            f"--data {source}: no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}, there are "
            f"{', '.join(dataset.column_names)}."
        )
    types, subtypes = dataset["cell_type"][:], dataset["cell_subtype"][:]
    for cell_type, subtype in set(zip(types, subtypes, strict=True)):
        if cell_type not in LABELS or (subtype and TYPE_OF_SUBTYPE.get(subtype) != cell_type):
            raise DataError(
                f"--data {source}: {subtype!r} in {cell_type!r} is no cell of PBC; types are {', '.join(LABELS)}, "
                f"subtypes {', '.join(TYPE_OF_SUBTYPE)}."
            )
    ids = dataset["image_id"][:]
    if len(set(ids)) < len(ids):
        raise DataError(f"--data {source}: {len(ids) - len(set(ids))} image_id occur twice; each is to name one picture.")
    _check_labels(dataset, types, source)
    dataset = dataset.select_columns(list(COLUMNS)).cast_column("image", datasets.Image(decode=False))
    return dataset.select(np.argsort(ids))  # so that nothing depends on the order in which rows arrive


def _check_labels(dataset: datasets.Dataset, types: Sequence[str], source: str) -> None:
    """A label column, where there is one, must say the same as the types."""
    if "label" not in dataset.column_names:
        return
    for cell_type, number in sorted(set(zip(types, dataset["label"][:], strict=True))):
        if number != LABELS.index(cell_type):
            raise DataError(
                f"--data {source}: label {number} stands beside {cell_type!r}, which is {LABELS.index(cell_type)}; labels go "
                f"from 0 to {len(LABELS) - 1}, in the order {', '.join(LABELS)}."
            )


def label(dataset: datasets.Dataset, labels: Sequence[str]) -> datasets.Dataset:
    """Add the column `label`, an index into `labels`: the 8 types, or the 13 subtypes.

    With subtypes, rows without one are left out. Raises DataError if a class has no picture.
    """
    column = "cell_type" if tuple(labels) == LABELS else "cell_subtype"
    dataset = dataset.select([row for row, name in enumerate(dataset[column][:]) if name])
    names = dataset[column][:]
    missing = [name for name in labels if name not in set(names)]
    if missing:
        raise DataError(f"no picture of {', '.join(missing)}; each of the {len(labels)} classes needs some.")
    return dataset.add_column("label", [labels.index(name) for name in names])


def source_of(image: dict) -> bytes | str:
    """What `datasets` has of an encoded picture: its bytes, or its path."""
    return image["bytes"] or image["path"]


def decode(dataset: datasets.Dataset, size: int) -> Tensor:
    """Every picture as uint8 (n, 3, size, size), resized as the model folder's preprocessing does. Raises DataError."""
    pixels = torch.empty((len(dataset), 3, size, size), dtype=torch.uint8)

    def one(index: int) -> None:
        row = dataset[index]
        try:
            image = read_image(source_of(row["image"]))
        except ImageError as error:
            raise DataError(f"picture {row['image_id']}: {error}") from None
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(len(dataset))))
    return pixels


def split(dataset: datasets.Dataset, groups: np.ndarray, seed: int = SPLIT_SEED) -> list[str]:
    """The part of each row: a fifth to test (thesis: 20 %, seed 42), a tenth of the rest to validation.

    Stratified by subtype; rows of one group (see duplicates.py) stay in one part.
    """
    kinds = zip(dataset["cell_type"][:], dataset["cell_subtype"][:], strict=True)
    subtypes = np.array([subtype or cell_type for cell_type, subtype in kinds])
    try:
        rest, test = _first_fold(np.arange(len(subtypes)), 5, subtypes, groups, seed)
        _, validation = _first_fold(rest, 10, subtypes, groups, seed)
    except ValueError as error:
        raise DataError(f"too few pictures for a split ({len(subtypes)}): {error}") from None
    parts = np.full(len(subtypes), "train", dtype=object)
    parts[test], parts[validation] = "test", "validation"
    return parts.tolist()


def _first_fold(rows: np.ndarray, folds: int, strata: np.ndarray, groups: np.ndarray, seed: int):
    """(the other rows, the rows of the first of `folds` folds)."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a small subtype is spread as far as it goes
        rest, fold = next(splitter.split(rows, strata[rows], groups[rows]))
    return rows[rest], rows[fold]


def write_split(path: Path, ids: Sequence[str], parts: Sequence[str]) -> None:
    """A CSV of image_id and split: the file by which anyone can check a figure."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image_id", "split"))
        writer.writerows(zip(ids, parts, strict=True))


def read_split(path: Path) -> dict[str, str]:
    """image_id -> part, from a file that write_split wrote. Raises DataError."""
    try:
        with open(path, newline="") as file:
            rows = {row["image_id"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"--split {path} cannot be read: it is to be a CSV of image_id and split ({error!r}).") from None
    wrong = set(rows.values()) - set(PARTS)
    if wrong or not rows:
        raise DataError(f"--split {path}: parts are {', '.join(PARTS)}; found {', '.join(sorted(wrong)) or 'none'}.")
    return rows
