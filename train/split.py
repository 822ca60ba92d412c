"""Which pictures train, which validate, which test: grouped, stratified, seeded."""

import warnings

import datasets
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from cells.pbc import DataError

SPLIT_SEED = 42  # thesis; another seed of training must not change the test pictures


def split(dataset: datasets.Dataset, groups: np.ndarray, seed: int = SPLIT_SEED) -> list[str]:
    """The part of each row: a fifth to test (thesis: 20 %, seed 42), a tenth of the rest to validation.

    Stratified by subtype; rows of one group (a patient, a slide, or see duplicates.py) stay in one part. Raises DataError.
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
