"""Counted cells -> a differential as laboratories report it.

The denominator are the white cells. Erythroblasts (nucleated red cells) are given per 100 white cells, platelets apart. Shares
are whole percentages with their counts and exact 95 % limits (Clopper and Pearson 1934). Typical ranges are for orientation,
never a verdict: they differ between laboratories and populations, so a user can give others.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cells.classes import TYPE_OF_SUBTYPE
from cells.messages import Error

ORDER = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig")  # of a laboratory's report
TYPICAL = {  # per cent of the white cells of adults
    "neutrophil": (40.0, 60.0),
    "lymphocyte": (20.0, 40.0),
    "monocyte": (2.0, 8.0),
    "eosinophil": (1.0, 4.0),
    "basophil": (0.5, 1.0),
}
ENOUGH = 100  # white cells; with fewer, the limits are too wide for most questions
CORRECT_FROM = 5.0  # erythroblasts per 100 white cells, from which a counter's white count is corrected

Range = tuple[float, float]


class RangeError(Error):
    """A typical range that is none."""


@dataclass(frozen=True)
class Share:
    """One kind of white cell. Shares are per cent of the white cells; `low` and `high` are the 95 % limits."""

    label: str
    count: int
    percent: float
    low: float
    high: float
    typical: Range | None

    @property
    def whole(self) -> int:
        """Per cent as a report has it."""
        return _half_up(self.percent)

    @property
    def mark(self) -> str:
        """`low` or `high` where the whole percentage lies outside the typical range, otherwise nothing.

        A range from 0.5 is met by 0: of 100 cells, one can hardly be half there.
        """
        if self.typical is None:
            return ""
        if self.whole < math.floor(self.typical[0]):
            return "low"
        return "high" if self.whole > _half_up(self.typical[1]) else ""


def _half_up(percent: float) -> int:
    return math.floor(percent + 0.5)


@dataclass(frozen=True)
class Differential:
    """What was counted: shares in the order of ORDER, empty without a white cell."""

    white: int
    shares: tuple[Share, ...]
    erythroblasts: int
    platelets: int

    @property
    def erythroblasts_per_100(self) -> float | None:
        return 100 * self.erythroblasts / self.white if self.white else None

    @property
    def is_small(self) -> bool:
        return self.white < ENOUGH

    @property
    def correction(self) -> float | None:
        """What a counter's white count is to be multiplied by, where erythroblasts are many enough to swell it."""
        per_100 = self.erythroblasts_per_100
        return 100 / (100 + per_100) if per_100 is not None and per_100 >= CORRECT_FROM else None


def differential(labels: Iterable[str], typical: Mapping[str, Range] = TYPICAL) -> Differential:
    """Of the labels of counted cells: cell types, or subtypes, which count as their type."""
    counts = Counter(TYPE_OF_SUBTYPE.get(label, label) for label in labels)
    white = sum(counts[label] for label in ORDER)
    shares = tuple(_share(label, counts[label], white, typical.get(label)) for label in ORDER) if white else ()
    return Differential(white, shares, counts["erythroblast"], counts["platelet"])


def _share(label: str, count: int, white: int, typical: Range | None) -> Share:
    low, high = exact_limits(count, white)
    return Share(label, count, 100 * count / white, 100 * low, 100 * high, typical)


def exact_limits(count: int, n: int) -> tuple[float, float]:
    """The exact binomial 95 % limits of count out of n, as shares in 0..1 (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest  # a second that only a differential costs

    limits = binomtest(count, n).proportion_ci(confidence_level=0.95, method="exact")
    return float(limits.low), float(limits.high)


def check_ranges(ranges: Mapping[str, tuple[object, object]]) -> dict[str, Range]:
    """Typical ranges as a user gave them, in numbers; a kind without both limits has none. Raises RangeError."""
    checked = {}
    for label, limits in ranges.items():
        if any(limit in (None, "") for limit in limits):
            continue
        try:
            low, high = (float(str(limit).replace(",", ".")) for limit in limits)
        except ValueError:
            raise RangeError("range_not_numbers", label=label) from None
        if not 0 <= low <= high <= 100:
            raise RangeError("range_not_percent", label=label)
        checked[label] = (low, high)
    return checked
