"""Counted cells -> a differential as laboratories report it.

The denominator are the white cells. Erythroblasts (nucleated red cells) are given per 100 white cells, platelets apart. Shares
are whole percentages that sum to 100 (largest remainder), with their counts and exact 95 % limits (Clopper and Pearson 1934).
Typical ranges are for orientation, never a verdict: they differ between laboratories and populations. A user can give others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    """One kind of white cell. Shares are per cent of the white cells; `low` and `high` are the 95 % limits.

    `whole` is the percentage of a report: those of all kinds sum to 100.
    """

    label: str
    count: int
    percent: float
    whole: int
    low: float
    high: float
    typical: Range | None

    @property
    def mark(self) -> str:
        """`low` or `high` where the 95 % limits exclude the typical range, otherwise nothing."""
        if self.typical is None:
            return ""
        if self.high < self.typical[0]:
            return "low"
        return "high" if self.low > self.typical[1] else ""


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
    return of_counts(Counter(labels), typical)


def of_counts(found: Mapping[str, int], typical: Mapping[str, Range] = TYPICAL) -> Differential:
    """Of the number of cells of each label: cell types, or subtypes, which count as their type."""
    counts: Counter[str] = Counter()
    for label, count in found.items():
        counts[TYPE_OF_SUBTYPE.get(label, label)] += count
    numbers = [counts[label] for label in ORDER]
    white = sum(numbers)
    if not white:
        return Differential(0, (), counts["erythroblast"], counts["platelet"])
    shares = [
        _share(label, count, white, whole, typical.get(label))
        for label, count, whole in zip(ORDER, numbers, whole_percentages(numbers), strict=True)
    ]
    return Differential(white, tuple(shares), counts["erythroblast"], counts["platelet"])


def _share(label: str, count: int, white: int, whole: int, typical: Range | None) -> Share:
    low, high = exact_limits(count, white)
    return Share(label, count, 100 * count / white, whole, 100 * low, 100 * high, typical)


def whole_percentages(counts: Sequence[int]) -> list[int]:
    """Whole percentages that sum to 100, by the largest remainder; of two equal ones the larger count, then the first.

    At least one count is above 0.
    """
    total = sum(counts)
    wholes = [100 * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda place: (-(100 * counts[place] % total), -counts[place], place))
    for place in by_remainder[: 100 - sum(wholes)]:
        wholes[place] += 1
    return wholes


def exact_limits(count: int, n: int) -> tuple[float, float]:
    """The exact binomial 95 % limits of count out of n, as shares in 0..1 (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv  # a moment that only a differential costs

    low = betaincinv(count, n - count + 1, 0.025) if count else 0.0
    high = betaincinv(count + 1, n - count, 0.975) if count < n else 1.0
    return float(low), float(high)


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
