"""What an adapted model was made from, and how right it is: the adapted.json of its folder."""

import json
from dataclasses import dataclass

RIGHT = 0.95  # of the cells that are `ok`
ENOUGH = 5  # cells of a type, before a cell that is named so can be `ok`


@dataclass(frozen=True)
class Report:
    """What a model was adapted from, and how right it is on labelled cells that were held back."""

    base: str  # NAME@VERSION
    cells: dict[str, int]  # of each type
    right: int  # of the held-back cells, which are all cells in turns
    right_before: int  # of the same cells, by the base
    ok: int  # of them, with the new threshold
    ok_right: int
    missing: dict[str, int]  # cells of a type that are still to be labelled, before one can be `ok`

    @classmethod
    def from_json(cls, text: str | bytes) -> "Report":
        """Of an adapted.json. Raises ValueError, TypeError, AttributeError, RecursionError where it is none."""
        report = cls(**json.loads(text))
        counts = (*report.cells.values(), *report.missing.values())
        counts = (*counts, report.right, report.right_before, report.ok, report.ok_right)
        if not isinstance(report.base, str) or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("not a report of an adapted model")
        return report

    @property
    def total(self) -> int:
        return sum(self.cells.values())
