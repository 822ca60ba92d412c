"""The table and its files: columns, order, and no file name that becomes a formula."""

import numpy as np
import openpyxl
import pandas as pd
import pytest

from cells import table
from cells.classes import LABELS
from cells.classifier import Prediction

HOSTILE = ["=1+1.png", "+cmd.png", "-2.png", "@SUM(A1).png", "\t=1.png", "http://example.org/a.png", "12", "célula ñ 细胞.png"]


@pytest.fixture
def frame() -> pd.DataFrame:
    probabilities = np.array([0.02, 0.6, 0.03, 0.05, 0.05, 0.05, 0.15, 0.05])
    rows = [Prediction(name, probabilities, "ok", "") for name in HOSTILE]
    rows.insert(1, Prediction("broken.png", None, "error", "The file is empty."))
    return table.to_frame(rows, "resnet18@0123abcd")


def test_columns_are_the_documented_ones(frame):
    assert ",".join(frame.columns) == (
        "file,prediction,probability,second,second_probability,status,message,model,p_basophil,p_eosinophil,p_erythroblast,"
        "p_ig,p_lymphocyte,p_monocyte,p_neutrophil,p_platelet"
    )


def test_values_of_a_row(frame):
    row = frame.iloc[0]
    assert (row["prediction"], row["probability"], row["second"], row["second_probability"]) == (
        *("eosinophil", 0.6),
        *("neutrophil", 0.15),
    )
    assert row[[f"p_{label}" for label in LABELS]].sum() == pytest.approx(1)


def test_an_error_has_its_message_and_no_numbers(frame):
    row = frame.iloc[1]
    assert (row["status"], row["message"], row["model"]) == ("error", "The file is empty.", "resnet18@0123abcd")
    assert row[table.numbers(frame)].isna().all()


def test_csv_holds_no_formula_and_loses_nothing(frame, tmp_path):
    table.write(frame, tmp_path / "cells.csv")
    back = pd.read_csv(tmp_path / "cells.csv", dtype={"file": str})
    assert not back["file"].str.startswith(table.FORMULA_STARTS).any()
    assert back["file"].str.removeprefix("'").tolist() == frame["file"].tolist()
    np.testing.assert_allclose(back["probability"], frame["probability"], atol=1e-6)


def test_excel_holds_texts_and_numbers(frame, tmp_path):
    table.write(frame, tmp_path / "cells.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "cells.xlsx")["cells"]
    assert [cell.value for cell in sheet[1]] == table.columns()
    names = [sheet.cell(row, 1) for row in range(2, sheet.max_row + 1)]
    assert [cell.value.replace("_x0009_", "\t") for cell in names] == frame["file"].tolist()
    assert {cell.data_type for cell in names} == {"s"}
    assert not any(cell.hyperlink for cell in names)
    assert sheet.cell(2, 3).value == pytest.approx(0.6)
    assert sheet.cell(3, 3).value is None
    assert sheet.freeze_panes == "B2"


def test_a_name_that_is_no_utf8_is_spelled_out(tmp_path):
    frame = table.to_frame([Prediction("cell\udcff.png", None, "error", "x")], "m@0")
    assert frame["file"][0] == r"cell\xff.png"
    for name in ("cells.csv", "cells.xlsx"):
        table.write(frame, tmp_path / name)


def test_text_is_aligned_and_harmless_to_a_terminal():
    text = table.to_text(table.to_frame([Prediction("a\x1b[31m.png", None, "error", "Bad.")], "m@0"))
    assert "\x1b" not in text
    header, row = text.splitlines()
    assert header.index("status") == row.index("error")


def test_another_ending_is_refused(frame, tmp_path):
    with pytest.raises(ValueError, match=r"\.csv or \.xlsx"):
        table.write(frame, tmp_path / "cells.txt")
