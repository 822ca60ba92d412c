"""A review -> DataFrame -> CSV, or text for a terminal. One column order everywhere."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from cells.classes import BLAST, LABELS, SMUDGE
from cells.messages import Message
from cells.model.uncertainty import CSV_DECIMALS, EMPTY, WITHOUT_ANSWER
from cells.review import Cell, Review

TEXTS = (
    *("file", "prediction", "person", "probability", "second", "second_probability"),
    *("prediction_set", "status", "message", "model"),
)
PLACE = ("field", "cell", "x0", "y0", "x1", "y1", "found")  # before the others, where pictures may be fields
COMPARED = ("compared_model", "compared_prediction", "compared_probability")  # present when two models were asked
ALWAYS = (BLAST.name, SMUDGE.name)  # their columns are present for every model, empty where it does not know them
ENCODING = "utf-8-sig"  # Excel takes a CSV for UTF-8 only where it begins with a byte order mark


def columns(labels: Sequence[str] = LABELS, places: bool = False) -> list[str]:
    """The columns of a table for a model of these labels: its own in its order, then those of ALWAYS."""
    return [
        *(PLACE if places else ()),
        *TEXTS,
        *(f"p_{label}" for label in (*(label for label in labels if label not in ALWAYS), *ALWAYS)),
    ]


def earlier_columns(labels: Sequence[str]) -> list[str]:
    """The same as versions wrote them that had columns of the model's labels only."""
    return [*TEXTS, *(f"p_{label}" for label in labels)]


def numbers(frame: pd.DataFrame) -> list[str]:
    """The columns that hold probabilities and scores."""
    return [name for name in frame.columns if name.endswith("probability") or name.startswith("p_") or name == PLACE[-1]]


# A spreadsheet takes a text that begins so for a formula (OWASP, "CSV injection"). In Spain and much of Europe it takes a
# semicolon for the end of a field, so what follows one begins a text as well.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")  # and the wide ones
FORMULA, ESCAPED = (re.compile(rf"(^|;){mark}(?=[{re.escape(''.join(FORMULA_STARTS))}])") for mark in ("", "'"))


def to_frame(
    review: Review,
    labels: Sequence[str] = (),
    translate: Callable[[Message | str], str] = lambda said: said,
    places: bool | None = None,
) -> pd.DataFrame:
    """A row per cell, in their order, with columns() of the model's labels; `person` is what a person said of it.

    `labels` are needed only where the review may have no cell to tell them. `translate` gives the words of `message`. The
    columns of PLACE are there where `places` says so; by itself, where a cell has a place.
    """
    labels, decisions = labels or review.labels, review.decisions
    places = any(map(_in_field, review.cells)) if places is None else places
    names, rows = columns(labels, places), []
    for index, cell in enumerate(review.cells):
        answer = cell.prediction
        (first, second) = answer.ranking[:2] if answer.ranking else ((None, None), (None, None))
        answered = {} if answer.probabilities is None else dict(zip(labels, answer.probabilities.tolist(), strict=True))
        words = (" or ".join(answer.prediction_set) or None, answer.status, translate(answer.message), review.model)
        probabilities = (answered.get(name.removeprefix("p_")) for name in names if name.startswith("p_"))
        row = (printable(answer.file), first[0], decisions.get(index), first[1], *second, *words, *probabilities)
        other = cell.second and (review.second_model, cell.second.label, cell.second.probability)
        rows.append((*(_place(cell) if places else ()), *row, *(other or (None, None, None))))
    frame = pd.DataFrame(rows, columns=[*names, *COMPARED])
    if not review.second_model:
        frame = frame.drop(columns=list(COMPARED))
    pixels = dict.fromkeys(PLACE[1:-1] if places else (), "Int64")
    return frame.astype(dict.fromkeys(numbers(frame), "float64") | pixels)


def _in_field(cell: Cell) -> bool:
    return cell.prediction.place is not None or cell.prediction.status == EMPTY


def _place(cell: Cell) -> tuple:
    """The values of PLACE."""
    place = cell.prediction.place
    if place is None:
        return (printable(cell.prediction.file) if _in_field(cell) else None, *[None] * (len(PLACE) - 1))
    return (printable(cell.prediction.file), place.number, *map(round, place.box), place.found)


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are spelled as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write_csv(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """A CSV in UTF-8 with a byte order mark, by which Excel of any language reads the accents."""
    Path(path).write_bytes(to_csv(frame).encode(ENCODING))


def to_csv(frame: pd.DataFrame, header: bool = True, escape: bool = True) -> str:
    """Comma-separated. With `escape` what a spreadsheet would take for a formula gets an apostrophe before it."""
    if escape:
        texts = frame.columns.difference(numbers(frame))
        frame = frame.assign(**{column: frame[column].map(not_a_formula) for column in texts})
    return frame.to_csv(index=False, header=header, float_format=f"%.{CSV_DECIMALS}f", lineterminator="\n")


def not_a_formula(value: object) -> object:
    """What stands in a CSV for a value."""
    return FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def unescaped(value: str) -> str:
    """What not_a_formula() was given."""
    return ESCAPED.sub(r"\1", value)


def to_text(frame: pd.DataFrame) -> str:
    """The first columns, aligned for a terminal."""
    lines = [("file", "prediction", "probability", "second", "status", "message")]
    numbered = frame["cell"] if "cell" in frame else [None] * len(frame)
    for row, number in zip(frame.itertuples(), numbered, strict=True):
        answer = ("", "", "")
        if row.status not in WITHOUT_ANSWER:
            answer = (row.prediction, f"{row.probability:.1%}", f"{row.second} {row.second_probability:.1%}")
        file = "".join(letter if letter.isprintable() else "?" for letter in row.file)  # a terminal obeys control letters
        file = f"{file} cell {number}" if number and not pd.isna(number) else file
        lines.append((file, *answer, row.status, row.message))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)
