"""Predictions -> DataFrame -> CSV, Excel. One column order everywhere."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from cells.classes import LABELS
from cells.classifier import Prediction
from cells.trust import ERROR


def columns(labels: Sequence[str] = LABELS) -> list[str]:
    """The columns of a table for a model of these labels."""
    texts = ("file", "prediction", "probability", "second", "second_probability", "status", "message", "model")
    return [*texts, *(f"p_{label}" for label in labels)]


def numbers(frame: pd.DataFrame) -> list[str]:
    """The columns that hold probabilities."""
    return [column for column in frame.columns if column.endswith("probability") or column.startswith("p_")]


# A spreadsheet takes a text that begins so for a formula (OWASP, "CSV injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_frame(predictions: Iterable[Prediction], model: str) -> pd.DataFrame:
    """A row per prediction, in their order, with columns() of their labels. `model` is its name with its version."""
    rows, labels = [], LABELS
    for one in predictions:
        (first, second) = one.ranking[:2] if one.ranking else ((None, None), (None, None))
        labels = one.labels
        probabilities = [None] * len(labels) if one.probabilities is None else one.probabilities.tolist()
        rows.append((printable(one.file), *first, *second, one.status, one.message, model, *probabilities))
    frame = pd.DataFrame(rows, columns=columns(labels))
    return frame.astype(dict.fromkeys(numbers(frame), "float64"))


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are spelled as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def write(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write .csv or .xlsx, by the name's ending. Raises ValueError for another ending, OSError where it cannot write."""
    suffix = Path(path).suffix.lower()
    writers = {".csv": write_csv, ".xlsx": write_excel}
    if suffix not in writers:
        raise ValueError(f"The ending of {path} is to be .csv or .xlsx.")
    writers[suffix](frame, path)


def write_csv(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """UTF-8, comma-separated. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    safe = frame.copy()
    for column in safe.columns.difference(numbers(frame)):
        safe[column] = safe[column].map(_not_a_formula)
    safe.to_csv(path, index=False, float_format="%.6f", lineterminator="\n")


def _not_a_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def write_excel(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """One sheet, `cells`: header fixed, filters on, probabilities as percentages, every text a text."""
    options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with pd.ExcelWriter(path, engine="xlsxwriter", engine_kwargs={"options": options}) as writer:
        frame.to_excel(writer, sheet_name="cells", index=False)
        sheet = writer.sheets["cells"]
        shares = numbers(frame)
        percent = writer.book.add_format({"num_format": "0.0%"})
        for index, column in enumerate(frame.columns):
            texts = [column, *frame[column].dropna().astype(str)]
            width = 13 if column in shares else min(60, 2 + max(map(len, texts)))
            sheet.set_column(index, index, max(width, len(column) + 2), percent if column in shares else None)
        sheet.freeze_panes(1, 1)
        sheet.autofilter(0, 0, len(frame), len(frame.columns) - 1)


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
