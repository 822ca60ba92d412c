"""A cell that may be a blast: never ok, said in every output, and gone from the count once a person decided."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook
from test_review import SMALL, decide, predict, review_of, to_json

from cells.__main__ import main
from cells.classes import LABELS
from cells.locate.parts import CELL
from cells.messages import message
from cells.model.classifier import Classifier
from cells.model.folder import ModelError
from cells.model.uncertainty import Uncertainty
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import excel, table
from hub import catalog
from page import handlers, views
from page.texts import LANGUAGES, texts, translate

TEN = (*LABELS, "blast", "smudge")


@pytest.fixture(scope="module")
def folder(tiny_recipe, write_random, tmp_path_factory):
    """A model folder of ten classes with random weights and without a threshold of blasts."""
    folder = write_random(dataclasses.replace(tiny_recipe, classes=TEN), tmp_path_factory.mktemp("models") / "ten")
    Uncertainty(review_below=0.0).save(folder / "trust.json")
    return folder


@pytest.fixture
def suspicious(folder, tmp_path):
    """suspicious(blast_from) -> a model folder with that threshold."""

    def copy(blast_from: float):
        made = shutil.copytree(folder, tmp_path / f"from{blast_from}")
        Uncertainty(review_below=0.0, blast_from=blast_from).save(made / "trust.json")
        return made

    return copy


def suspected(label: str, status: str = "review", **words):
    return predict(label, 0.6, status, labels=TEN, suspected_blast=True, **words)


@pytest.fixture
def review() -> Review:
    """A neutrophil; three that may be blasts: a lymphocyte, a blast, an unfamiliar one; and a monocyte."""
    return review_of(
        predict("neutrophil", labels=TEN),
        suspected("lymphocyte", message=message("blast")),
        suspected("blast", message=message("blast")),
        suspected("ig", "unfamiliar", message=message("unfamiliar")),
        predict("monocyte", labels=TEN),
    )


# --- the model ---


def test_a_cell_from_the_threshold_on_is_suspected_and_to_review_whatever_is_more_probable(suspicious, folder):
    cell = draw_cell("neutrophil")
    (plain,) = Classifier.load(folder).predict(cell)
    assert (plain.status, plain.suspected_blast) == ("ok", False)
    p = float(plain.probabilities[TEN.index("blast")])
    assert p < plain.probability
    (found,) = Classifier.load(suspicious(p)).predict(cell)
    assert (found.suspected_blast, found.status, found.message.code) == (True, "review", "blast")
    assert found.message == "May be a blast: a pathologist decides."
    assert (found.label, found.probability) == (plain.label, plain.probability)
    (spared,) = Classifier.load(suspicious(p + 1e-4)).predict(cell)
    assert (spared.suspected_blast, spared.status) == (False, "ok")
    assert Classifier.load(suspicious(p + 2e-4)).version != Classifier.load(folder).version


def test_an_unfamiliar_cell_stays_unfamiliar_and_a_doubtful_one_says_blast():
    rule = Uncertainty(review_below=0.9, blast_from=0.1)
    doubtful = np.full(10, 0.1)
    assert rule.status(doubtful, 1.1, True)[0] == "unfamiliar"
    assert rule.status(doubtful, 0.9, True)[0] == "review"
    assert rule.status(doubtful, 0.9, True)[1].code == "blast"
    assert rule.status(doubtful, 0.9, False)[1].code == "review"


def test_an_unreadable_picture_is_no_suspected_blast(suspicious):
    (broken,) = Classifier.load(suspicious(0.0)).predict([b""], ["broken.png"])
    assert (broken.status, broken.suspected_blast) == ("error", False)


def test_the_threshold_is_kept_in_trust_json_and_absent_in_older_ones(tmp_path):
    Uncertainty(blast_from=0.25).save(tmp_path / "trust.json")
    assert json.loads((tmp_path / "trust.json").read_text()) == {"review_below": 0.9, "blast_from": 0.25}
    assert Uncertainty.load(tmp_path / "trust.json").blast_from == 0.25
    (tmp_path / "trust.json").write_text('{"review_below": 0.5}')
    assert Uncertainty.load(tmp_path / "trust.json").blast_from is None
    assert not Uncertainty().suspects_blast(1.0)


def test_a_threshold_of_blasts_for_a_model_that_knows_none_is_refused(model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    Uncertainty(blast_from=0.25).save(copy / "trust.json")
    with pytest.raises(ModelError, match=r"trust\.json belongs to another network"):
        Classifier.load(copy)


def test_two_predictions_of_which_one_is_suspected_differ():
    one = predict("ig", labels=TEN)
    assert dataclasses.replace(one, suspected_blast=True) != one


# --- the review ---


def test_suspected_cells_are_held_until_a_person_decides_and_then_follow_the_decision(review):
    assert (review.suspected_blasts, review.decided_blasts) == ((1, 2, 3), ())
    assert review.counted() == ["neutrophil", "monocyte"]
    decided = decide(review, c1="lymphocyte", c2="blast", c4="blast")
    assert decided.suspected_blasts == (3,)
    assert sorted(decided.decided_blasts) == [2, 4]
    assert decided.counted() == ["neutrophil", "lymphocyte", "blast", "blast"]
    assert [one.count for one in decided.differential().shares if one.label == "blast"] == [2]


def test_what_the_second_model_takes_for_a_blast_is_held_too():
    cell = Cell(predict("lymphocyte"), b"", suspected("lymphocyte"))
    review = review_of(cell, second_model="ten@0")
    assert (review.suspected_blasts, review.held) == ((0,), ("review",))
    back = Review.from_json(to_json(decide(review, c0="blast")))  # which the first model does not know
    assert (back.decided_blasts, back.counted()) == ((0,), ["blast"])
    assert [(one.label, one.count) for one in back.differential().shares][-1] == ("blast", 1)
    with pytest.raises(ValueError, match="decides what cannot be decided"):
        Review.from_json(to_json(decide(review_of(predict("lymphocyte")), c0="blast")))


def test_a_browser_keeps_which_cells_are_suspected_and_an_older_review_suspects_none(review):
    review = dataclasses.replace(
        review, cells=(*review.cells, Cell(predict("ig", labels=TEN), b"", suspected("ig"), "5")), second_model="b@1"
    )
    value = to_json(review)
    assert [cell["blast"] for cell in value["cells"]] == [False, True, True, True, False, False]
    back = Review.from_json(value)
    assert (back.suspected_blasts, back.held) == (review.suspected_blasts, review.held)
    assert back.suspected_blasts == (1, 2, 3, 5)
    for cell in value["cells"]:
        del cell["blast"]
    del value["cells"][5]["second"]["blast"]
    assert Review.from_json(value).suspected_blasts == ()


@pytest.mark.parametrize("value", [None, 1, "yes", []])
def test_a_broken_word_on_blasts_is_refused(review, value):
    kept = to_json(review)
    kept["cells"][0]["blast"] = value
    with pytest.raises(ValueError, match="true or false"):
        Review.from_json(kept)


def test_the_server_says_which_cells_may_be_blasts(suspicious, folder, monkeypatch):
    known = {"ten": Classifier.load(suspicious(0.0)), "other": Classifier.load(folder)}
    monkeypatch.setattr(catalog, "load", known.get)
    (cell,) = handlers.classified("b", ["ten"], [{"id": "1", "drawn": "ig"}], "es", CELL)["cells"]
    assert (cell["blast"], cell["status"], cell["second"]) == (True, "review", None)
    assert cell["message"] == {"code": "blast", "values": {}, "text": "Puede ser un blasto: lo decide un patólogo."}
    (cell,) = handlers.classified("b", ["other", "ten"], [{"id": "1", "drawn": "ig"}], "en", CELL)["cells"]
    assert (cell["blast"], cell["status"], cell["message"], cell["second"]["blast"]) == (False, "ok", None, True)


# --- what a person reads ---


@pytest.mark.parametrize(
    ("language", "open_words", "decided_words"),
    [
        ("en", ("1 cell may be a blast: a path", "3 cells may be blasts: a path"), ("1 cell was dec", "2 cells were dec")),
        ("es", ("1 célula puede ser un", "3 células pueden ser blastos"), ("que 1 célula es", "que 2 células son")),
    ],
)
def test_the_report_begins_with_the_blasts_in_the_right_number(review, language, open_words, decided_words):
    review = dataclasses.replace(review, cells=tuple(dataclasses.replace(cell, thumbnail=SMALL) for cell in review.cells))
    first = views.report(review, {}, language)
    assert open_words[1] in first
    assert first.index(open_words[1]) < first.index(texts(language)["by_model"])
    assert decided_words[0] not in first
    second = views.report(decide(review, c1="ig", c2="blast"), {}, language)
    assert all(words in second for words in (open_words[0], decided_words[0]))
    third = views.report(decide(review, c1="blast", c2="blast", c3="not_a_cell"), {}, language)
    assert decided_words[1] in third
    assert not any(words in third for words in open_words)
    assert 'class="blasts"' not in views.report(review_of(predict("ig", labels=TEN)), {}, language)
    assert not any("leuk" in shown.lower() or "leucemia" in shown.lower() for shown in (first, second, third))


def test_the_workbook_says_how_many_cells_may_be_blasts(review, tmp_path):
    excel.write(decide(review, c1="blast"), tmp_path / "cells.xlsx")
    book = load_workbook(tmp_path / "cells.xlsx")
    about = {row[0]: row[1] for row in book["about"].iter_rows(values_only=True)}
    assert about["may be blasts: a pathologist decides"] == 2
    assert about["blasts, says a person"] == 1
    assert [cell.value for cell in book["cells"][1]][-2:] == ["p_blast", "p_smudge"]
    plain = review_of(predict("ig"))
    assert "blast" not in str(excel.about(plain))
    for language in LANGUAGES:
        excel.write(plain, tmp_path / "plain.xlsx", {}, views.excel_language(plain, language))
        sheet = load_workbook(tmp_path / "plain.xlsx").worksheets[0]
        assert [sheet.cell(2, sheet.max_column - back).value for back in (1, 0)] == [None, None]


def test_a_table_says_why_in_the_language_of_the_page(review):
    assert table.to_frame(review)["message"][1:4].tolist() == [message("blast"), message("blast"), message("unfamiliar")]
    spanish = table.to_frame(review, translate=lambda said: translate(said, "es"))
    assert spanish["message"][1] == "Puede ser un blasto: lo decide un patólogo."


@pytest.mark.parametrize("out", ["cells.csv", "cells.xlsx", None])
def test_the_command_line_says_how_many_cells_may_be_blasts(suspicious, folder, cell_files, tmp_path, capsys, out):
    probabilities = [one.probabilities[TEN.index("blast")] for one in Classifier.load(folder).predict(cell_files)]
    to = ["--out", str(tmp_path / out)] if out else []
    for count, words in ((1, "1 cell may be a blast: a pathologist decides."), (3, "3 cells may be blasts: a pathologist")):
        model = suspicious(float(np.sort(probabilities)[-count]))
        assert main(["classify", *cell_files, "--model", str(model), *to]) == 0
        assert capsys.readouterr().err.startswith(words)
    assert main(["classify", *cell_files, "--model", str(folder), *to]) == 0
    assert "blast" not in capsys.readouterr().err


def test_an_interrupted_call_counts_the_blasts_of_before(suspicious, cell_files, tmp_path, capsys):
    line = ["classify", *cell_files, "--model", str(suspicious(0.0)), "--batch-size", "1", "--out", str(tmp_path / "out.csv")]
    assert main(line) == 0
    whole = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "out.csv").unlink()
    (tmp_path / "out.csv.part").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert main(line) == 0
    assert (tmp_path / "out.csv").read_bytes() == whole
    assert pd.read_csv(tmp_path / "out.csv")["status"].tolist() == ["review"] * 3
    assert capsys.readouterr().err.splitlines() == ["3 cells may be blasts: a pathologist decides."] * 2
