"""The PBC dataset from wherever it is, decoded, and its grouped, stratified, seeded split."""

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

from cells import pbc
from cells.classes import LABELS
from cells.pbc import DataError
from cells.read.images import ImageError, read_image

HUB_ID = "chehablab/PBC"
SPLIT_SEED = 42  # thesis; another seed of training must not change the test pictures


def load(sources: Sequence[str]) -> datasets.Dataset:
    """Read a Hub id, parquet files or the unpacked archive's folder, as pbc.checked returns them. Raises DataError."""
    source = str(sources[0])
    is_hub_id = source.count("/") == 1 and not source.startswith((".", "/")) and not source.endswith(".parquet")
    if len(sources) > 1 or Path(source).is_dir() or not is_hub_id:
        return pbc.read([str(one) for one in sources])
    try:
        dataset = datasets.concatenate_datasets(list(datasets.load_dataset(source).values()))
    except Exception as error:  # from the Hub, from pyarrow, from a broken repo
        raise pbc.unreadable(source, error) from error
    return pbc.checked(dataset, source)


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


def part(dataset: datasets.Dataset, split_file: Path, name: str) -> datasets.Dataset:
    """The rows that a split file gives to train, validation or test. Raises DataError where there is none."""
    parts = pbc.read_split(split_file)
    rows = [row for row, image_id in enumerate(dataset["image_id"][:]) if parts.get(image_id) == name]
    if not rows:
        raise DataError(f"--split {split_file}: none of its {name} pictures is among the data.")
    return dataset.select(rows)


def _first_fold(rows: np.ndarray, folds: int, strata: np.ndarray, groups: np.ndarray, seed: int):
    """(the other rows, the rows of the first of `folds` folds)."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a small subtype is spread as far as it goes
        rest, fold = next(splitter.split(rows, strata[rows], groups[rows]))
    return rows[rest], rows[fold]
