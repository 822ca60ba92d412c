"""A review -> DataFrame -> CSV, or text for a terminal. One column order everywhere."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from cells.classes import BLAST, LABELS, SMUDGE
from cells.messages import Message
from cells.model.uncertainty import CSV_DECIMALS, ERROR
from cells.review import Review

TEXTS = (
    *("file", "prediction", "person", "probability", "second", "second_probability"),
    *("prediction_set", "status", "message", "model"),
)
COMPARED = ("compared_model", "compared_prediction", "compared_probability")  # present when two models were asked
ALWAYS = (BLAST.name, SMUDGE.name)  # their columns are present for every model, empty where it does not know them
ENCODING = "utf-8-sig"  # Excel takes a CSV for UTF-8 only where it begins with a byte order mark


def columns(labels: Sequence[str] = LABELS) -> list[str]:
    """The columns of a table for a model of these labels: its own in its order, then those of ALWAYS."""
    return [*TEXTS, *(f"p_{label}" for label in (*(label for label in labels if label not in ALWAYS), *ALWAYS))]


def earlier_columns(labels: Sequence[str]) -> list[str]:
    """The same as versions wrote them that had columns of the model's labels only."""
    return [*TEXTS, *(f"p_{label}" for label in labels)]


def numbers(frame: pd.DataFrame) -> list[str]:
    """The columns that hold probabilities."""
    return [column for column in frame.columns if column.endswith("probability") or column.startswith("p_")]


# A spreadsheet takes a text that begins so for a formula (OWASP, "CSV injection"). In Spain and much of Europe it takes a
# semicolon for the end of a field, so what follows one begins a text as well.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")  # and the wide ones
FORMULA = re.compile(rf"(^|;)(?=[{re.escape(''.join(FORMULA_STARTS))}])")


def to_frame(
    review: Review, labels: Sequence[str] = (), translate: Callable[[Message | str], str] = lambda said: said
) -> pd.DataFrame:
    """A row per cell, in their order, with columns() of the model's labels; `person` is what a person said of it.

    `labels` are needed only where the review may have no cell to tell them. `translate` gives the words of `message`.
    """
    labels, decisions = labels or review.labels, review.decisions
    names, rows = columns(labels), []
    for index, cell in enumerate(review.cells):
        answer = cell.prediction
        (first, second) = answer.ranking[:2] if answer.ranking else ((None, None), (None, None))
        answered = {} if answer.probabilities is None else dict(zip(labels, answer.probabilities.tolist(), strict=True))
        words = (" or ".join(answer.prediction_set) or None, answer.status, translate(answer.message), review.model)
        probabilities = (answered.get(name.removeprefix("p_")) for name in names[len(TEXTS) :])
        row = (printable(answer.file), first[0], decisions.get(index), first[1], *second, *words, *probabilities)
        other = cell.second and (review.second_model, cell.second.label, cell.second.probability)
        rows.append((*row, *(other or (None, None, None))))
    frame = pd.DataFrame(rows, columns=[*names, *COMPARED])
    if not review.second_model:
        frame = frame.drop(columns=list(COMPARED))
    return frame.astype(dict.fromkeys(numbers(frame), "float64"))


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


def to_text(frame: pd.DataFrame) -> str:
    """The first columns, aligned for a terminal."""
    lines = [("file", "prediction", "probability", "second", "status", "message")]
    for row in frame.itertuples():
        answer = ("", "", "")
        if row.status != ERROR:
            answer = (row.prediction, f"{row.probability:.1%}", f"{row.second} {row.second_probability:.1%}")
        file = "".join(letter if letter.isprintable() else "?" for letter in row.file)  # a terminal obeys control letters
        lines.append((file, *answer, row.status, row.message))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)
