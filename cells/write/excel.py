"""A review -> an Excel workbook of three sheets: cells, differential, about. Every text in it stays a text."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import xlsxwriter
from PIL import Image

from cells import differential
from cells.colours import colour
from cells.messages import Message
from cells.review import REJECTED, Review
from cells.write import table

MAX_ROWS = 1_048_576  # of a sheet, its header among them
ROW_HEIGHT = 50  # points, of a row with a picture
PICTURE_SIDE = 62  # pixels of a picture in its row
OPTIONS = {
    **{"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "nan_inf_to_errors": False},
    "in_memory": True,  # nothing of a visitor's is written to a disk on the way
}
PREDICTION_SET = table.TEXTS[6]
CLASS_COLUMNS = ("prediction", "person", "second", "compared_prediction")

ENGLISH = {
    "sheet_cells": "cells",
    "sheet_differential": "differential",
    "sheet_about": "about",
    "picture": "picture",
    "or": "or",
    "cell_type": "cell type",
    "count": "count",
    "per_cent": "per cent",
    "from": "95 % from",
    "to": "95 % to",
    "typical": "typical",
    "range": "{low} to {high}",
    "white": "white cells",
    "erythroblasts": "erythroblasts",
    "per_100": "erythroblasts per 100 white cells",
    "apart_per_100": "{name} per 100 white cells",
    "platelets": "platelets (no part of the differential)",
    "few": "fewer than {enough} white cells: the limits are wide",
    "what": "what",
    "value": "value",
    "model": "model",
    "compared": "compared with",
    "date": "date (UTC)",
    "pictures": "pictures",
    "changed": "changed by a person",
    "confirmed": "confirmed by a person",
    "unreviewed": "not reviewed by a person",
    "held_review": "not counted: low confidence",
    "held_unfamiliar": "not counted: unfamiliar",
    "held_disagree": "not counted: two models disagree",
    "held_empty": "fields without a white cell",
    "held_error": "not counted: could not be read",
    "not_a_cell": "not a cell, says a person",
    "two_cells": "two cells, says a person",
    "suspected_blasts": "may be blasts: a pathologist decides",
    "decided_blasts": "blasts, says a person",
    "review_below": "lowest probability of an ok cell (a type may need more)",
    "comment": "comment",
    "note": "note",
    "not_for_diagnosis": "For research and teaching, not for diagnosis.",
}


@dataclass(frozen=True)
class Language:
    """How a workbook says things. The default is English, with columns and labels as in the CSV."""

    words: Mapping[str, str] = field(default_factory=dict)  # as ENGLISH
    columns: Mapping[str, str] = field(default_factory=dict)  # the CSV's column -> a header; p_LABEL takes "p" and the class
    name: Callable[[str], str] = lambda label: label
    status: Callable[[str], str] = lambda status: status
    translate: Callable[[Message | str], str] = lambda said: said


def write(
    review: Review,
    place: str | os.PathLike | BinaryIO,
    typical: Mapping[str, differential.Range] = differential.TYPICAL,
    language: Language | None = None,
    when: datetime | None = None,
) -> None:
    """Write the .xlsx file, at a path whole or not at all. `when` is the date that it names, by default now.

    Raises OSError where it cannot write, ValueError for more cells than a sheet has rows.
    """
    if not fits(len(review.cells)):
        raise ValueError(f"a sheet of Excel has {MAX_ROWS} rows: too few for {len(review.cells)} cells")
    language = language or Language()
    if not isinstance(place, str | os.PathLike):
        _write_book(place, review, typical, language, when)
        return
    unfinished = f"{os.fspath(place)}.unfinished"
    try:
        _write_book(unfinished, review, typical, language, when)
        os.replace(unfinished, place)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def fits(cells: int) -> bool:
    """Whether a sheet has room for so many cells."""
    return cells < MAX_ROWS


def _write_book(
    place: str | BinaryIO,
    review: Review,
    typical: Mapping[str, differential.Range],
    language: Language,
    when: datetime | None,
) -> None:
    words = language.words or ENGLISH
    found = review.differential(typical)
    colours = [_colour(review, one.label) for one in found.shares]
    try:
        with xlsxwriter.Workbook(place, OPTIONS) as book:
            _write_cells(book, review, language, words)
            rows = _differential_rows(found, words, _class_name(review, language))
            _write_rows(book, words["sheet_differential"], rows, (30, 10, 10, 16, 16, 12), colours)
            _write_rows(book, words["sheet_about"], about(review, words, when), (34, 60))
    except xlsxwriter.exceptions.FileCreateError as error:
        raise error.args[0] if isinstance(error.args[0], OSError) else OSError(str(error)) from None


def _class_name(review: Review, language: Language) -> Callable[[str], str]:
    """Of the differential, whose classes have words in English too."""
    return language.name if language.words else lambda label: review.described(label).english


def _colour(review: Review, label: str) -> str:
    return colour(review.described(label).cell_type)


def about(review: Review, words: Mapping[str, str] = ENGLISH, when: datetime | None = None) -> list[tuple]:
    """(what, value) of everything that a reader needs to judge the table."""
    summary = review.summary()
    when = when or datetime.now(UTC)
    return [
        (words["what"], words["value"]),
        (words["model"], review.model),
        *([(words["compared"], review.second_model)] if review.second_model else []),
        (words["date"], when.strftime("%Y-%m-%d %H:%M")),
        *((words[key], summary[key]) for key in ("pictures", "changed", "confirmed", "unreviewed")),
        *((words[f"held_{why}"], summary[why]) for why in ("review", "unfamiliar", "disagree", "empty", "error")),
        *((words[choice], summary[choice]) for choice in REJECTED),
        *((words[key], len(found)) for key, found in _blasts(review).items() if found),
        *([(words["review_below"], round(review.review_below, 4))] if review.review_below <= 1 else []),  # else none is ok
        (words["comment"], review.comment),
        (words["note"], words["not_for_diagnosis"]),
    ]


def _blasts(review: Review) -> dict[str, Sequence[int]]:
    return {"suspected_blasts": review.suspected_blasts, "decided_blasts": review.decided_blasts}


def _frame(review: Review, language: Language, words: Mapping[str, str]) -> pd.DataFrame:
    """The table of the CSV, with classes and status in the workbook's language."""
    frame = table.to_frame(review, translate=language.translate)
    for column in frame.columns.intersection(CLASS_COLUMNS):
        frame[column] = [language.name(label) if isinstance(label, str) else None for label in frame[column]]
    frame["status"] = frame["status"].map(language.status)
    sets = (cell.prediction.prediction_set for cell in review.cells)
    frame[PREDICTION_SET] = [f" {words['or']} ".join(map(language.name, one)) or None for one in sets]
    return frame


def _header(column: str, language: Language) -> str:
    if not language.columns:
        return column
    return language.columns.get(column) or f"p {language.name(column.removeprefix('p_'))}"


def _write_cells(book: xlsxwriter.Workbook, review: Review, language: Language, words: Mapping[str, str]) -> None:
    """Header fixed, filters on, probabilities as percentages, a small picture before each row if there are any."""
    frame = _frame(review, language, words)
    sheet = book.add_worksheet(words["sheet_cells"])
    percent, middle, bold = (
        book.add_format(look) for look in ({"num_format": "0.0%", "valign": "vcenter"}, {"valign": "vcenter"}, {"bold": True})
    )
    pictured = any(cell.thumbnail for cell in review.cells)
    first = int(pictured)
    shares = table.numbers(frame)
    if pictured:
        sheet.write_string(0, 0, words["picture"], bold)
        sheet.set_column(0, 0, 10)
    for column, name in enumerate(frame.columns, first):
        values, header = frame[name], _header(name, language)
        sheet.write_string(0, column, header, bold)
        longest = 8 if name in shares else min(60, max([0, *values.dropna().astype(str).map(len)]))
        sheet.set_column(column, column, max(longest, len(header)) + 2, percent if name in shares else middle)
        for row, value in enumerate(values, 1):
            if not pd.isna(value):
                sheet.write(row, column, value)
    _colour_classes(book, sheet, review, first + list(frame.columns).index("prediction"), frame["prediction"])
    _insert_pictures(sheet, review)
    sheet.freeze_panes(1, first + 1)
    sheet.autofilter(0, first, len(frame), first + len(frame.columns) - 1)


def _colour_classes(book: xlsxwriter.Workbook, sheet, review: Review, column: int, names: pd.Series) -> None:
    """A line in the class's colour beside its name."""
    looks: dict[str, object] = {}
    for row, (cell, name) in enumerate(zip(review.cells, names, strict=True), 1):
        if (label := cell.prediction.label) is not None:
            shade = _colour(review, label)
            if shade not in looks:
                looks[shade] = book.add_format(_line(shade))
            sheet.write_string(row, column, name, looks[shade])


def _line(shade: str) -> dict:
    return {"left": 5, "left_color": shade, "valign": "vcenter"}


def _insert_pictures(sheet, review: Review) -> None:
    if any(cell.thumbnail for cell in review.cells):
        sheet.set_default_row(ROW_HEIGHT)
        sheet.set_row(0, 18)
    for row, cell in enumerate(review.cells, 1):
        if cell.thumbnail:
            scale = PICTURE_SIDE / max(Image.open(io.BytesIO(cell.thumbnail)).size)
            place = {"image_data": io.BytesIO(cell.thumbnail), "object_position": 1, "x_offset": 2, "y_offset": 1}
            sheet.insert_image(row, 0, "cell.jpg", place | {"x_scale": scale, "y_scale": scale})


def _differential_rows(found: differential.Differential, words: Mapping[str, str], name: Callable[[str], str]) -> list[tuple]:
    rows = [
        (name(one.label), one.count, one.whole, round(one.low, 1), round(one.high, 1), _range(one.typical, words))
        for one in found.shares
    ]
    per_100 = found.erythroblasts_per_100
    return [
        tuple(words[key] for key in ("cell_type", "count", "per_cent", "from", "to", "typical")),
        *rows,
        (words["white"], found.white),
        (words["erythroblasts"], found.erythroblasts),
        (words["per_100"], None if per_100 is None else round(per_100, 1)),
        *(row for one in found.apart for row in _apart(name(one.label), one, words)),
        (words["platelets"], found.platelets),
        *([(words["few"].format(enough=differential.ENOUGH),)] if found.is_small else []),
    ]


def _apart(name: str, one: differential.Apart, words: Mapping[str, str]) -> list[tuple]:
    rate = None if one.per_100 is None else round(one.per_100, 1)
    return [(name, one.count), (words["apart_per_100"].format(name=name), rate)]


def _range(typical: differential.Range | None, words: Mapping[str, str]) -> str:
    return "" if typical is None else words["range"].format(low=f"{typical[0]:g}", high=f"{typical[1]:g}")


def _write_rows(
    book: xlsxwriter.Workbook, name: str, rows: list[tuple], widths: tuple[int, ...], colours: Sequence[str] = ()
) -> None:
    """A sheet of rows, the first of which is a header; a row after it has a line in its colour where there is one."""
    sheet = book.add_worksheet(name)
    bold = book.add_format({"bold": True})
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            line = column == 0 and 0 < row <= len(colours)
            look = [bold] if row == 0 else [book.add_format(_line(colours[row - 1]))] if line else []
            if value is not None:
                sheet.write(row, column, value, *look)
    sheet.freeze_panes(1, 0)
