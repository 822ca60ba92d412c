"""Which pictures train, which validate, which test: grouped, stratified, seeded."""

import warnings
from collections.abc import Iterator

import datasets
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from cells.pbc import DataError

SPLIT_SEED = 42  # thesis; another seed of training must not change the test pictures
TEST_FOLDS, VALIDATION_FOLDS = 5, 10  # a fifth to test (thesis), a tenth of the rest to validation


def split(dataset: datasets.Dataset, groups: np.ndarray, seed: int = SPLIT_SEED) -> list[str]:
    """The part of each row: a fifth to test (thesis: 20 %, seed 42), a tenth of the rest to validation.

    Stratified by subtype; rows of one group (a patient, a slide, or see duplicates.py) stay in one part. Raises DataError.
    """
    return folds(dataset, groups, TEST_FOLDS, seed)[0]


def folds(dataset: datasets.Dataset, groups: np.ndarray, number: int, seed: int = SPLIT_SEED) -> list[list[str]]:
    """For each fold of a cross-validation the part of each row: the fold to test, a tenth of the rest to validation.

    Stratified and grouped as in split(), which is the first of five. Raises DataError.
    """
    kinds = zip(dataset["cell_type"][:], dataset["cell_subtype"][:], strict=True)
    subtypes = np.array([subtype or cell_type for cell_type, subtype in kinds])
    found = []
    try:
        for rest, test in _folds(np.arange(len(subtypes)), number, subtypes, groups, seed):
            _, validation = next(_folds(rest, VALIDATION_FOLDS, subtypes, groups, seed))
            parts = np.full(len(subtypes), "train", dtype=object)
            parts[test], parts[validation] = "test", "validation"
            found.append(parts.tolist())
    except ValueError as error:
        raise DataError(f"too few pictures for a split ({len(subtypes)}): {error}") from None
    return found


def _folds(rows: np.ndarray, number: int, strata: np.ndarray, groups: np.ndarray, seed: int) -> Iterator[tuple]:
    """(the other rows, the rows of a fold), for each fold."""
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a small subtype is spread as far as it goes
        for rest, fold in splitter.split(rows, strata[rows], groups[rows]):
            yield rows[rest], rows[fold]
