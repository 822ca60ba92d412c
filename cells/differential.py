"""Counted cells -> a differential as laboratories report it.

The denominator are the white cells. Erythroblasts (nucleated red cells), smudge cells and other cells that are not white are
given per 100 white cells, platelets apart. Shares are whole percentages with their counts and exact 95 % limits (Clopper and
Pearson 1934). Typical ranges are for orientation, never a verdict: they differ between laboratories and populations, so a user
can give others.
"""

import math
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
    """Of the labels of counted cells; a subtype counts as its type.

    `classes` are the model's: each of their types has its row, counted or not. A label of another class has its row as well.
    """
    known = {one.name: one for one in classes}
    cells = [one for label in labels if (one := known.get(label) or describe((label,))[0]).counted]
    inside, outside = (Counter(one.cell_type for one in cells if one.white is white) for white in (True, False))
    rows = sorted((one for one in (*classes, *cells) if one.counted), key=place)
    white = inside.total()
    shares = (_share(label, inside[label], white, typical.get(label)) for label in _types(rows, True)) if white else ()
    apart = (label for label in _types(rows, False) if label not in (ERYTHROBLAST, PLATELET))
    return Differential(
        white,
        tuple(shares),
        outside[ERYTHROBLAST],
        outside[PLATELET],
        tuple(Apart(label, outside[label], 100 * outside[label] / white if white else None) for label in apart),
    )


def _types(rows: Iterable[CellClass], white: bool) -> list[str]:
    return list(dict.fromkeys(one.cell_type for one in rows if one.white is white))


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
