"""Whether two networks differ by more than chance, from their predictions of the same pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from train.metrics import RESAMPLES

SEED = 42


@dataclass(frozen=True)
class Difference:
    """How much more accurate the first is than the second, and what chance makes of it."""

    first: str
    second: str
    accuracy: float
    low: float  # limits of the 95 % bootstrap interval
    high: float
    p_values: tuple[float, ...]  # McNemar's exact test, of each pair of runs with the same seed

    def row(self) -> str:
        """Of a Markdown table, in percentage points."""
        p_values = ", ".join("< 0.0001" if p < 1e-4 else f"{p:.4f}" for p in self.p_values)
        words = f"{100 * self.accuracy:+.2f} ({100 * self.low:+.2f} to {100 * self.high:+.2f})"
        return f"| `{self.first}` | `{self.second}` | {words} | {p_values} |"


def differences(right: dict[str, np.ndarray]) -> list[Difference]:
    """Of each two networks; `right` has bool (seeds, n) for each: whether the run of a seed named a picture rightly."""
    return [difference(first, second, right[first], right[second]) for first, second in combinations(right, 2)]


def difference(first: str, second: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Of two networks, from bool (seeds, n).

    A resample draws pictures, the same for both, and the seeds of each network: the interval says what other pictures and other
    seeds would give. Of one seed each it is that of pictures alone.
    """
    rng, gaps = np.random.default_rng(SEED), []
    for _ in range(RESAMPLES):
        pictures = rng.integers(0, ours.shape[1], ours.shape[1])
        drawn = [one[rng.integers(0, len(one), len(one))].mean(0)[pictures].mean() for one in (ours, theirs)]
        gaps.append(drawn[0] - drawn[1])
    low, high = np.percentile(gaps, [2.5, 97.5])
    p_values = tuple(mcnemar(*pair) for pair in zip(ours, theirs, strict=False))
    return Difference(first, second, ours.mean() - theirs.mean(), low, high, p_values)


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The exact two-sided p-value, from bool (n,) each: of the pictures that one alone names rightly (McNemar 1947)."""
    only_ours, only_theirs = (ours & ~theirs).sum(), (theirs & ~ours).sum()
    return 1.0 if only_ours + only_theirs == 0 else float(binomtest(only_ours, only_ours + only_theirs).pvalue)


def right_of(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """bool (tables, n): which pictures tables of predictions name rightly, in the order of image_id. Raises ValueError.

    The tables are to be of the same pictures.
    """
    tables = [table.sort_values("image_id") for table in tables]
    if any(list(table["image_id"]) != list(tables[0]["image_id"]) for table in tables):
        raise ValueError("the predictions are of different pictures")
    return np.stack([(table["label"] == table["prediction"]).to_numpy() for table in tables])
