"""Counted cells -> a differential as laboratories report it.

The denominator are the white cells. Erythroblasts (nucleated red cells), smudge cells and other cells that are not white are
given per 100 white cells, platelets apart. Shares are whole percentages that sum to 100 (largest remainder), with their counts
and exact 95 % limits (Clopper and Pearson 1934). Typical ranges are for orientation, never a verdict: they differ between
laboratories and populations. A user can give others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cells.classes import CELL_TYPES, ERYTHROBLAST, PLATELET, TYPICAL, CellClass, describe, place
from cells.messages import Error

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
class Apart:
    """A kind of cell outside the denominator; `per_100` white cells, None without one."""

    label: str
    count: int
    per_100: float | None


@dataclass(frozen=True)
class Differential:
    """What was counted: shares in a report's order, empty without a white cell; smudge cells and the like in `apart`."""

    white: int
    shares: tuple[Share, ...]
    erythroblasts: int
    platelets: int
    apart: tuple[Apart, ...] = ()

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


def differential(
    labels: Iterable[str], typical: Mapping[str, Range] = TYPICAL, classes: Sequence[CellClass] = CELL_TYPES
) -> Differential:
    """Of the labels of counted cells; see of_counts."""
    return of_counts(Counter(labels), typical, classes)


def of_counts(
    found: Mapping[str, int], typical: Mapping[str, Range] = TYPICAL, classes: Sequence[CellClass] = CELL_TYPES
) -> Differential:
    """Of the number of cells of each label; a subtype counts as its type, and a class that is not counted as nothing.

    `classes` are the model's: each of their types has its row, counted or not. A label of another class has its row as well.
    """
    known = {one.name: one for one in classes}
    seen = [(known.get(label) or describe((label,))[0], count) for label, count in found.items() if count]
    rows = sorted((one for one in (*classes, *(one for one, _ in seen)) if one.counted), key=place)
    inside, outside = ({one.cell_type: 0 for one in rows if one.white is white} for white in (True, False))
    for one, count in seen:
        if one.counted:
            (inside if one.white else outside)[one.cell_type] += count
    white = sum(inside.values())
    apart = [label for label in outside if label not in (ERYTHROBLAST, PLATELET)]
    return Differential(
        white,
        _shares(inside, typical) if white else (),
        outside.get(ERYTHROBLAST, 0),
        outside.get(PLATELET, 0),
        tuple(Apart(label, outside[label], 100 * outside[label] / white if white else None) for label in apart),
    )


def _shares(counts: Mapping[str, int], typical: Mapping[str, Range]) -> tuple[Share, ...]:
    white, wholes = sum(counts.values()), whole_percentages(list(counts.values()))
    return tuple(
        _share(label, count, white, whole, typical.get(label))
        for (label, count), whole in zip(counts.items(), wholes, strict=True)
    )


def _share(label: str, count: int, white: int, whole: int, typical: Range | None) -> Share:
    low, high = exact_limits(count, white)
    return Share(label, count, 100 * count / white, whole, 100 * low, 100 * high, typical)


def whole_percentages(counts: Sequence[int]) -> list[int]:
    """Whole percentages that sum to 100, by the largest remainder; of two equal ones the larger count, then the first.

    At least one count is above 0.
    """
    total = sum(counts)
    wholes = [100 * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda index: (-(100 * counts[index] % total), -counts[index], index))
    for index in by_remainder[: 100 - sum(wholes)]:
        wholes[index] += 1
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
