"""The Excel workbook: three sheets, small pictures, and texts that stay texts whatever they begin with."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import openpyxl
import pandas as pd
import pytest
from PIL import Image
from test_review import decide, predict, review_of, unreadable
from test_table import HOSTILE

from cells.classes import LABELS
from cells.read.images import thumbnail
from cells.review import NOT_A_CELL, Cell, Review
from cells.synthetic import draw_cell
from cells.write import excel, table

WHEN = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
CONTROL = ["a\x00b\x01\x1f.png", "line\nbreak\r.png", "\ufffe\uffff.png", "cell\udcff.png", "<b>&\"'.png", "x_x0041_.png"]


def written(review: Review, folder, **options) -> openpyxl.Workbook:
    excel.write(review, folder / "cells.xlsx", when=WHEN, **options)
    return openpyxl.load_workbook(folder / "cells.xlsx")


def rows(book: openpyxl.Workbook, sheet: str) -> list[tuple]:
    """The values of a sheet, each row without the empty end."""
    found = [list(row) for row in book[sheet].iter_rows(values_only=True)]
    for row in found:
        while row and row[-1] is None:
            row.pop()
    return list(map(tuple, found))


def column(book: openpyxl.Workbook, name: str) -> list:
    """The cells of a column of the first sheet, found by its header."""
    sheet = book["cells"]
    place = next(cell.column for cell in sheet[1] if cell.value == name)
    return [sheet.cell(row, place) for row in range(2, sheet.max_row + 1)]


@pytest.fixture
def review() -> Review:
    """100 white cells, 6 erythroblasts, 2 platelets, one to review, one unfamiliar and one unreadable; a person changed two."""
    counts = {"neutrophil": 70, "lymphocyte": 25, "monocyte": 5, "erythroblast": 6, "platelet": 2}
    cells = []
    for label, count in counts.items():
        cells += [Cell(predict(label, 0.875), thumbnail(draw_cell(label), 128))] * count
    cells += [Cell(predict("ig", 0.5, "review")), Cell(predict("ig", status="unfamiliar")), Cell(unreadable())]
    return decide(review_of(*cells, review_below=0.87654321), c0="eosinophil", c107=NOT_A_CELL)


def test_there_are_three_sheets_with_a_fixed_header(review, tmp_path):
    book = written(review, tmp_path)
    assert book.sheetnames == ["cells", "differential", "about"]
    assert book["differential"].freeze_panes == book["about"].freeze_panes == "A2"
    assert all(cell.font.bold for sheet in book for cell in sheet[1] if cell.value)


def test_the_cells_are_those_of_the_table_with_a_picture_before_them(review, tmp_path):
    book = written(review, tmp_path)
    sheet, frame = book["cells"], table.to_frame(review)
    assert [cell.value for cell in sheet[1]] == ["picture", *frame.columns]
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("C2", "B1:U112")
    for name in frame.columns:
        expected = [None if value == "" or pd.isna(value) else value for value in frame[name]]
        assert [cell.value for cell in column(book, name)] == pytest.approx(expected), name


def test_every_readable_cell_has_its_own_picture_beside_it(review, tmp_path):
    placed = {one.anchor._from.row: one for one in written(review, tmp_path)["cells"]._images}
    assert sorted(placed) == [row for row, cell in enumerate(review.cells, 1) if cell.thumbnail]
    for row in (1, 71, 108):
        data = placed[row]._data()
        assert (placed[row].anchor._from.col, data) == (0, review.cells[row - 1].thumbnail)
        assert max(Image.open(io.BytesIO(data)).size) == 128


def test_a_persons_class_stands_beside_the_models(review, tmp_path):
    book = written(review, tmp_path)
    assert (column(book, "prediction")[0].value, column(book, "person")[0].value) == ("neutrophil", "eosinophil")
    assert [column(book, "person")[row].value for row in (1, 107)] == [None, NOT_A_CELL]


def test_probabilities_are_numbers_shown_as_percentages(review, tmp_path):
    book = written(review, tmp_path)
    for name in table.numbers(table.to_frame(review)):
        cells = column(book, name)
        assert {cell.data_type for cell in cells} == {"n"}
        formats = {cell.number_format for cell in cells if cell.value is not None}
        assert formats == (set() if name in ("p_blast", "p_smudge") else {"0.0%"})  # of which this model says nothing
    assert column(book, "probability")[0].value == 0.875


@pytest.mark.parametrize("pictures", [True, False])
def test_hostile_names_are_texts_and_neither_formula_nor_link(pictures, tmp_path):
    small = thumbnail(draw_cell("ig"), 128) if pictures else b""
    names = [*HOSTILE, "{=1+1}", "=cmd|' /C calc'!A0", "internal:about!A1", "mailto:a@example.org"]
    review = Review(tuple(Cell(predict("ig", file=name), small) for name in names), "=model")
    cells = column(book := written(review, tmp_path), "file")
    assert [cell.value.replace("_x0009_", "\t") for cell in cells] == names
    assert {cell.data_type for sheet in book for row in sheet for cell in row} == {"s", "n"}
    assert not any(cell.hyperlink for sheet in book for row in sheet for cell in row)


def test_control_characters_do_not_break_the_file(tmp_path):
    review = Review(tuple(Cell(predict("ig", file=name)) for name in CONTROL), "m@0")
    names = [cell.value for cell in column(written(replace(review, comment="a\x00\x0b\x1f"), tmp_path), "file")]
    assert len(set(names)) == len(CONTROL)
    assert names[3:] == [r"cell\xff.png", "<b>&\"'.png", names[5]]
    assert not any(letter in name for name in names for letter in "\x00\x01\x1f\ufffe\uffff")


def test_without_a_picture_there_is_no_column_for_them(tmp_path):
    review = Review((Cell(predict("ig")), Cell(unreadable())), "m@0")
    sheet = written(review, tmp_path)["cells"]
    assert [cell.value for cell in sheet[1]] == table.to_frame(review).columns.tolist()
    assert (sheet.freeze_panes, sheet.auto_filter.ref, sheet._images) == ("B2", "A1:T3", [])


def test_a_second_model_has_its_columns_and_its_name(tmp_path):
    cells = (Cell(predict("ig"), b"", predict("neutrophil", 0.75)), Cell(unreadable(), b"", unreadable()))
    book = written(Review(cells, "a@0", "b@1"), tmp_path)
    assert [cell.value for cell in column(book, "compared_model")] == ["b@1", "b@1"]
    assert [cell.value for cell in column(book, "compared_prediction")] == ["neutrophil", None]
    first, last = column(book, "compared_probability")
    assert (first.value, first.number_format, last.value) == (0.75, "0.0%", None)
    assert rows(book, "about")[1:3] == [("model", "a@0"), ("compared with", "b@1")]


def test_the_differential_has_counts_limits_and_what_stands_apart(review, tmp_path):
    typical = {"neutrophil": (45.0, 70.5), "basophil": (0.5, 1.0)}
    found = rows(written(review, tmp_path, typical=typical), "differential")
    assert found == [
        ("cell type", "count", "per cent", "95 % from", "95 % to", "typical"),
        ("neutrophil", 69, 69, 59.0, 77.9, "45 to 70.5"),
        ("lymphocyte", 25, 25, 16.9, 34.7),
        ("monocyte", 5, 5, 1.6, 11.3),
        ("eosinophil", 1, 1, 0, 5.4),
        ("basophil", 0, 0, 0, 3.6, "0.5 to 1"),
        ("immature granulocyte", 0, 0, 0, 3.6),
        ("white cells", 100),
        ("erythroblasts", 6),
        ("erythroblasts per 100 white cells", 6),
        ("platelets (no part of the differential)", 1),
    ]


def test_a_small_differential_says_so_and_one_of_nothing_has_no_shares(tmp_path):
    few = rows(written(Review((Cell(predict("ig")),), "m@0"), tmp_path), "differential")
    none = rows(written(Review((Cell(unreadable()),), "m@0"), tmp_path), "differential")
    warning = ("fewer than 100 white cells: the limits are wide",)
    assert few[-1] == none[-1] == warning
    assert [row[0] for row in none[1:]] == [row[0] for row in few[7:]]
    assert none[3] == ("erythroblasts per 100 white cells",)


def test_about_says_what_a_reader_needs_to_judge_the_table(review, tmp_path):
    assert rows(written(replace(review, comment="=1+1, slide 7"), tmp_path), "about") == [
        ("what", "value"),
        ("model", "resnet18@0123abcd"),
        ("date (UTC)", "2026-02-03 04:05"),
        ("pictures", 111),
        ("changed by a person", 2),
        ("confirmed by a person", 0),
        ("not reviewed by a person", 109),
        ("not counted: low confidence", 1),
        ("not counted: unfamiliar", 1),
        ("not counted: two models disagree", 0),
        ("fields without a white cell", 0),
        ("not counted: could not be read", 1),
        ("not a cell, says a person", 1),
        ("two cells, says a person", 0),
        ("lowest probability of an ok cell (a type may need more)", 0.8765),
        ("comment", "=1+1, slide 7"),
        ("note", "For research and teaching, not for diagnosis."),
    ]


@pytest.mark.parametrize("comment", ["=1+1", "{=1+1}", "@SUM(A1)", "http://example.org", "12"])
def test_a_comment_is_a_text_whatever_it_begins_with(comment, tmp_path):
    sheet = written(Review((Cell(predict("ig")),), "m@0", comment=comment), tmp_path)["about"]
    (cell,) = (row[1] for row in sheet if row[0].value == "comment")
    assert (cell.value, cell.data_type, cell.hyperlink) == (comment, "s", None)


def test_more_cells_than_a_sheet_has_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(excel, "MAX_ROWS", 3)
    excel.write(Review((Cell(predict("ig")),) * 2, "m@0"), tmp_path / "cells.xlsx")
    with pytest.raises(ValueError, match="3 rows"):
        excel.write(Review((Cell(predict("ig")),) * 3, "m@0"), tmp_path / "cells.xlsx")


def test_a_workbook_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "cells.xlsx").write_bytes(b"of yesterday")
    monkeypatch.setattr(excel, "about", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        excel.write(Review((Cell(predict("ig")),), "m@0"), tmp_path / "cells.xlsx")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("cells.xlsx", b"of yesterday")]


def test_a_place_that_cannot_be_written_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        excel.write(Review((Cell(predict("ig")),), "m@0"), tmp_path / "nowhere" / "cells.xlsx")


def test_a_picture_fits_its_row_whatever_its_size(tmp_path):
    cells = [Cell(predict("ig"), thumbnail(draw_cell("ig"), side)) for side in (40, 128, 256)]
    heights = [image.anchor.to.row for image in written(review_of(*cells), tmp_path)["cells"]._images]
    assert heights == [1, 2, 3]


SPANISH = excel.Language(
    words=excel.ENGLISH | {"sheet_cells": "células", "white": "leucocitos", "or": "o"},
    columns={column: column.upper() for column in (*table.TEXTS, *table.COMPARED)},
    name=str.upper,
    status=lambda status: f"<{status}>",
    translate=lambda message: f"es: {message}",
)


def test_a_workbook_in_another_language_has_its_words_and_the_same_numbers(review, tmp_path):
    english = rows(written(review, tmp_path), "cells")
    book = written(review, tmp_path, language=SPANISH)
    assert book.sheetnames == ["células", "differential", "about"]
    spanish = [[cell.value for cell in row] for row in book["células"]]
    assert spanish[0] == [
        "picture",
        *map(str.upper, table.TEXTS),
        *(f"p {label.upper()}" for label in (*LABELS, "blast", "smudge")),
    ]
    assert [spanish[1][place] for place in (2, 3, 4, 8)] == ["NEUTROPHIL", "EOSINOPHIL", 0.875, "<ok>"]
    assert spanish[1][-10:] == [*english[1][-8:], None, None]
    assert rows(book, "differential")[1][0] == "NEUTROPHIL"
    assert rows(book, "differential")[7] == ("leucocitos", 100)


def test_it_goes_into_memory_as_well(review):
    buffer = io.BytesIO()
    excel.write(review, buffer)
    assert openpyxl.load_workbook(buffer).sheetnames == ["cells", "differential", "about"]
