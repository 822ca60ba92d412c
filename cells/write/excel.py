"""A review -> an Excel workbook of three sheets: cells, differential, about. Every text in it stays a text."""

import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import xlsxwriter

from cells import differential
from cells.review import Review
from cells.write import table

MAX_ROWS = 1_048_576  # of a sheet, its header among them
ROW_HEIGHT = 50  # points, of a row with a picture
OPTIONS = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "nan_inf_to_errors": False}


def write(
    review: Review,
    path: str | os.PathLike,
    comment: str = "",
    typical: Mapping[str, differential.Range] = differential.TYPICAL,
    when: datetime | None = None,
) -> None:
    """Write the .xlsx file, whole or not at all. `when` is the date that it names, by default now.

    Raises OSError where it cannot write, ValueError for more cells than a sheet has rows.
    """
    if not fits(len(review.cells)):
        raise ValueError(f"a sheet of Excel has {MAX_ROWS} rows: too few for {len(review.cells)} cells")
    unfinished = f"{os.fspath(path)}.unfinished"
    try:
        with xlsxwriter.Workbook(unfinished, OPTIONS) as book:
            _write_cells(book, review)
            _write_rows(book, "differential", _differential_rows(review, typical), (26, 10, 10, 16, 16, 10))
            _write_rows(book, "about", about(review, comment, when), (34, 60))
        os.replace(unfinished, path)
    except xlsxwriter.exceptions.FileCreateError as error:
        raise error.args[0] if isinstance(error.args[0], OSError) else OSError(str(error)) from None
    finally:
        Path(unfinished).unlink(missing_ok=True)


def fits(cells: int) -> bool:
    """Whether a sheet has room for so many cells."""
    return cells < MAX_ROWS


def about(review: Review, comment: str = "", when: datetime | None = None) -> list[tuple]:
    """(what, value) of everything that a reader needs to judge the table."""
    summary = review.summary()
    when = when or datetime.now(UTC)
    return [
        ("what", "value"),
        ("model", review.model),
        *([("compared with", review.second_model)] if review.second_model else []),
        ("date (UTC)", when.strftime("%Y-%m-%d %H:%M")),
        ("pictures", summary["pictures"]),
        ("changed by a person", summary["changed"]),
        ("confirmed by a person", summary["confirmed"]),
        ("not reviewed by a person", summary["unreviewed"]),
        ("not counted: low confidence", summary["review"]),
        ("not counted: unfamiliar", summary["unfamiliar"]),
        ("not counted: two models disagree", summary["disagree"]),
        ("not counted: could not be read", summary["error"]),
        ("not a cell, says a person", summary["not_a_cell"]),
        ("two cells, says a person", summary["two_cells"]),
        ("review below a probability of", round(review.review_below, 4)),
        ("comment", comment),
        ("note", "For research and teaching, not for diagnosis."),
    ]


def _write_cells(book: xlsxwriter.Workbook, review: Review) -> None:
    """Header fixed, filters on, probabilities as percentages, a thumbnail before each row if there are any."""
    frame = table.to_frame(review)
    sheet = book.add_worksheet("cells")
    percent, middle, bold = (
        book.add_format(look) for look in ({"num_format": "0.0%", "valign": "vcenter"}, {"valign": "vcenter"}, {"bold": True})
    )
    pictured = any(cell.thumbnail for cell in review.cells)
    first = int(pictured)
    shares = table.numbers(frame)
    if pictured:
        sheet.write_string(0, 0, "picture", bold)
        sheet.set_column(0, 0, 10)
    for column, name in enumerate(frame.columns, first):
        values = frame[name]
        sheet.write_string(0, column, name, bold)
        longest = 8 if name in shares else min(60, max([0, *values.dropna().astype(str).map(len)]))
        sheet.set_column(column, column, max(longest, len(name)) + 2, percent if name in shares else middle)
        for row, value in enumerate(values, 1):
            if not pd.isna(value):
                sheet.write(row, column, value)
    for row, cell in enumerate(review.cells, 1):
        if pictured:
            sheet.set_row(row, ROW_HEIGHT)
        if cell.thumbnail:
            place = {"image_data": io.BytesIO(cell.thumbnail), "object_position": 1, "x_offset": 2, "y_offset": 1}
            sheet.insert_image(row, 0, "thumbnail.jpg", place | {"x_scale": 0.5, "y_scale": 0.5})
    sheet.freeze_panes(1, first + 1)
    sheet.autofilter(0, first, len(frame), first + len(frame.columns) - 1)


def _differential_rows(review: Review, typical: Mapping[str, differential.Range]) -> list[tuple]:
    found = review.differential(typical)
    header = ("cell type", "count", "per cent", "95 % from", "95 % to", "typical")
    rows = [
        (_name(review, one.label), one.count, one.whole, round(one.low, 1), round(one.high, 1), _range(one.typical))
        for one in found.shares
    ]
    per_100 = found.erythroblasts_per_100
    return [
        header,
        *rows,
        ("white cells", found.white),
        ("erythroblasts", found.erythroblasts),
        ("erythroblasts per 100 white cells", None if per_100 is None else round(per_100, 1)),
        *(row for one in found.apart for row in _apart(_name(review, one.label), one)),
        ("platelets (no part of the differential)", found.platelets),
        *([(f"fewer than {differential.ENOUGH} white cells: the limits are wide",)] if found.is_small else []),
    ]


def _apart(name: str, one: differential.Apart) -> list[tuple]:
    return [(name, one.count), (f"{name} per 100 white cells", None if one.per_100 is None else round(one.per_100, 1))]


def _name(review: Review, label: str) -> str:
    return review.described(label).english


def _range(typical: differential.Range | None) -> str:
    return "" if typical is None else f"{typical[0]:g} to {typical[1]:g}"


def _write_rows(book: xlsxwriter.Workbook, name: str, rows: list[tuple], widths: tuple[int, ...]) -> None:
    sheet = book.add_worksheet(name)
    bold = book.add_format({"bold": True})
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width)
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if value is not None:
                sheet.write(row, column, value, *([bold] if row == 0 else []))
    sheet.freeze_panes(1, 0)
