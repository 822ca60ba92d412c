"""The table and its CSV: columns, order, and no file name that becomes a formula."""

import codecs
import csv

import numpy as np
import pandas as pd
import pytest
from test_review import decide, review_of

from cells.classes import LABELS, SUBTYPE_LABELS
from cells.model.classifier import Prediction
from cells.review import TWO_CELLS, Cell, Review
from cells.write import table

HOSTILE = ["=1+1.png", "+cmd.png", "-2.png", "@SUM(A1).png", "\t=1.png", "http://example.org/a.png", "12", "célula ñ 细胞.png"]
TEXTS = "file,prediction,person,probability,second,second_probability,prediction_set,status,message,model"


def predictions() -> list[Prediction]:
    probabilities = np.array([0.02, 0.6, 0.03, 0.05, 0.05, 0.05, 0.15, 0.05])
    rows = [Prediction(name, probabilities, "ok", "", prediction_set=("eosinophil",)) for name in HOSTILE]
    rows.insert(1, Prediction("broken.png", None, "error", "The file is empty."))
    return rows


@pytest.fixture
def review() -> Review:
    return review_of(*predictions())


@pytest.fixture
def frame(review) -> pd.DataFrame:
    return table.to_frame(review)


@pytest.fixture
def compared(review) -> pd.DataFrame:
    """The same cells, and what another model says of them."""
    other = np.array([0.01, 0.01, 0.01, 0.9, 0.01, 0.02, 0.02, 0.02])
    seconds = [one.ranking and Prediction(one.file, other, "ok", "") for one in predictions()]
    seconds[1] = Prediction("broken.png", None, "error", "The file is empty.")
    cells = (Cell(cell.prediction, b"", second) for cell, second in zip(review.cells, seconds, strict=True))
    return table.to_frame(Review(tuple(cells), "resnet18@0123abcd", "vit@89abcdef"))


def test_columns_are_the_documented_ones(frame):
    assert ",".join(frame.columns) == (
        f"{TEXTS},p_basophil,p_eosinophil,p_erythroblast,p_ig,p_lymphocyte,p_monocyte,p_neutrophil,p_platelet,p_blast,p_smudge"
    )
    assert frame[["p_blast", "p_smudge"]].isna().all(axis=None)
    assert table.to_csv(frame).splitlines()[1].endswith(",0.050000,,")


@pytest.mark.parametrize(
    "labels", [(*LABELS, "blast", "smudge"), ("smudge", *LABELS, "blast"), (*LABELS[:3], "blast", *LABELS[3:])]
)
def test_a_model_that_knows_blasts_has_the_columns_of_every_other_model(frame, labels):
    probabilities = np.linspace(0.01, 0.2, len(labels))
    known = table.to_frame(Review((Cell(Prediction("a.png", probabilities, "ok", "", labels)),), "m@0"))
    assert known.columns.tolist() == frame.columns.tolist()
    assert {label: known[f"p_{label}"][0] for label in labels} == dict(zip(labels, probabilities, strict=True))
    assert known["p_smudge"].isna().all() == ("smudge" not in labels)


def test_columns_of_a_model_of_subtypes_are_its_own():
    probabilities = np.full(13, 1 / 13)
    rows = [
        Prediction("b.png", None, "error", "x", SUBTYPE_LABELS),
        Prediction("a.png", probabilities, "ok", "", SUBTYPE_LABELS),
    ]
    frame = table.to_frame(Review(tuple(map(Cell, rows)), "m@0"))
    assert ",".join(frame.columns) == ",".join([TEXTS, *(f"p_{label}" for label in (*SUBTYPE_LABELS, "blast", "smudge"))])
    assert frame["p_PLATELET"].tolist() == [pytest.approx(np.nan, nan_ok=True), pytest.approx(1 / 13)]


def test_a_second_models_columns_stand_last(frame, compared):
    assert compared.columns.tolist() == [
        *(*frame.columns, "compared_model"),
        *("compared_prediction", "compared_probability"),
    ]
    pd.testing.assert_frame_equal(compared[frame.columns], frame)
    assert compared.iloc[0, -3:].tolist() == ["vit@89abcdef", "ig", 0.9]
    assert compared["compared_model"][1] == "vit@89abcdef"
    assert compared.iloc[1, -2:].isna().all()


def test_values_of_a_row(frame):
    row = frame.iloc[0]
    assert (row["prediction"], row["probability"], row["second"], row["second_probability"]) == (
        *("eosinophil", 0.6),
        *("neutrophil", 0.15),
    )
    assert row[[f"p_{label}" for label in LABELS]].sum() == pytest.approx(1)
    assert (row["p_eosinophil"], row["p_neutrophil"]) == (0.6, 0.15)


def test_an_error_has_its_message_and_no_numbers(frame):
    row = frame.iloc[1]
    assert (row["status"], row["message"], row["model"]) == ("error", "The file is empty.", "resnet18@0123abcd")
    assert row[[*table.numbers(frame), "prediction", "second", "prediction_set"]].isna().all()


def test_rows_are_in_the_order_of_the_cells(frame):
    assert frame["file"].tolist() == [HOSTILE[0], "broken.png", *HOSTILE[1:]]


def test_a_persons_word_stands_beside_the_models(review):
    frame = table.to_frame(decide(decide(review, c0="ig", c1=TWO_CELLS, c2="ig"), c2="eosinophil"))
    assert frame["person"][:3].tolist() == ["ig", "two_cells", "eosinophil"]
    assert frame["person"][3:].isna().all()
    assert frame["prediction"][:3].fillna("").tolist() == ["eosinophil", "", "eosinophil"]


def test_the_prediction_set_is_in_words():
    probabilities = np.full(8, 1 / 8)
    sets = [("neutrophil", "ig"), ("ig",), ()]
    cells = (Cell(Prediction("a.png", probabilities, "ok", "", prediction_set=each)) for each in sets)
    assert table.to_frame(Review(tuple(cells), "m@0"))["prediction_set"].fillna("").tolist() == ["neutrophil or ig", "ig", ""]


def test_csv_holds_no_formula_and_loses_nothing(compared, tmp_path):
    table.write_csv(compared, tmp_path / "cells.csv")
    back = pd.read_csv(tmp_path / "cells.csv", dtype={"file": str})
    assert back.columns.tolist() == compared.columns.tolist()
    assert not back["file"].str.startswith(table.FORMULA_STARTS).any()
    assert back["file"].str.removeprefix("'").tolist() == compared["file"].tolist()
    for column in table.numbers(compared):
        np.testing.assert_allclose(back[column], compared[column], atol=1e-6)


def test_excel_of_any_language_reads_the_accents_of_a_csv(frame, tmp_path):
    """It takes a CSV for UTF-8 by the byte order mark; pandas and csv read it with and without."""
    table.write_csv(frame, tmp_path / "cells.csv")
    written = (tmp_path / "cells.csv").read_bytes()
    assert written.startswith(codecs.BOM_UTF8 + b"file,prediction,")
    (tmp_path / "plain.csv").write_bytes(written.removeprefix(codecs.BOM_UTF8))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "cells.csv"), pd.read_csv(tmp_path / "plain.csv"))
    assert "célula ñ 细胞.png" in pd.read_csv(tmp_path / "cells.csv")["file"].tolist()


def test_csv_holds_no_formula_in_any_column(tmp_path):
    cells = (Cell(Prediction("a.png", None, "error", "=message")),)
    table.write_csv(table.to_frame(Review(cells, "=model", "=second")), tmp_path / "cells.csv")
    assert ",=" not in (tmp_path / "cells.csv").read_text()


@pytest.mark.parametrize(("name", "written"), [
    ("\n=1.png", "'\n=1.png"), ("\uff1d1.png", "'\uff1d1.png"), ("a;=1+1;.png", "a;'=1+1;.png"), (";@a;-b.png", ";'@a;'-b.png"),
    ("a=1;b+c.png", "a=1;b+c.png"), ("a,=1.png", "a,=1.png"),
])  # fmt: skip
def test_neither_a_line_nor_a_wide_sign_nor_a_semicolon_begins_a_formula(name, written, tmp_path):
    table.write_csv(table.to_frame(Review((Cell(Prediction(name, None, "error", "x")),), "m@0")), tmp_path / "cells.csv")
    with open(tmp_path / "cells.csv", newline="") as file:
        assert list(csv.reader(file))[1][0] == written
    assert table.unescaped(written) == name


def test_a_name_that_is_no_utf8_is_spelled_out(tmp_path):
    frame = table.to_frame(Review((Cell(Prediction("cell\udcff.png", None, "error", "x")),), "m@0"))
    assert frame["file"][0] == r"cell\xff.png"
    table.write_csv(frame, tmp_path / "cells.csv")
    assert r"cell\xff.png" in (tmp_path / "cells.csv").read_text(encoding="utf-8")


def test_text_is_aligned_and_harmless_to_a_terminal():
    review = Review((Cell(Prediction("a\x1b[31m.png", None, "error", "Bad.")),), "m@0")
    text = table.to_text(table.to_frame(review))
    assert "\x1b" not in text
    header, row = text.splitlines()
    assert header.index("status") == row.index("error")


def test_only_the_message_is_in_another_language(review):
    frame, plain = table.to_frame(review, translate=lambda message: f"es: {message}"), table.to_frame(review)
    assert frame["message"][1] == "es: The file is empty."
    pd.testing.assert_frame_equal(frame.drop(columns="message"), plain.drop(columns="message"))
