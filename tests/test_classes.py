"""Any set of classes: the model folder says which, in which order, which are white and counted; all else follows it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from openpyxl import load_workbook
from test_review import decide, to_json

from cells.classes import KNOWN, LABELS, SUBTYPE_LABELS, CellClass, describe
from cells.colours import OTHER
from cells.model.classifier import Classifier
from cells.model.folder import CLASSES_FILE, ModelError, read_classes, write_classes
from cells.model.prediction import Prediction
from cells.model.saliency import heatmap
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import excel, table
from hub import catalog
from page import views
from page.texts import LANGUAGES, name
from train.network import build, export

TEN = ("smudge", *LABELS, "blast")  # in an order of its own
SEZARY = CellClass("sezary", "Sézary cell", "célula de Sézary", white=True)
DEBRIS = CellClass("debris", "debris", "restos", counted=False)


@pytest.fixture(scope="module")
def folder(tiny_recipe, tmp_path_factory):
    """A model folder of ten labels with random weights."""
    folder = tmp_path_factory.mktemp("models") / "ten"
    torch.manual_seed(0)
    network = build(tiny_recipe)
    network.timm_model.reset_classifier(len(TEN))
    export(network, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"label_names": list(TEN), "num_classes": len(TEN)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def classifier(folder) -> Classifier:
    return Classifier.load(folder)


def said(label: str, labels=TEN, status: str = "ok") -> Prediction:
    probabilities = np.full(len(labels), 0.01)
    probabilities[labels.index(label)] = 0.9
    return Prediction(f"{label}.png", probabilities, status, "", labels)


def review_of(*labels: str, classes=(), names=TEN) -> Review:
    cells = (Cell(said(label, names), id=str(place)) for place, label in enumerate(labels))
    return Review(tuple(cells), "ten@0/torch", classes=classes)


def test_a_folder_of_ten_labels_classifies_in_its_own_order(classifier):
    assert classifier.labels == TEN
    assert classifier.classes == describe(TEN)
    prediction = next(classifier.predict(draw_cell("blast")))
    assert prediction.labels == TEN
    assert prediction.probabilities.shape == (10,)
    assert heatmap(classifier, draw_cell("blast"), "blast").shape == (1, 1)


def test_every_export_of_ten_labels_has_a_column_for_each(classifier, cell_files, tmp_path):
    frame = classifier.table([*cell_files, "missing.png"])
    assert [column for column in frame if column.startswith("p_")] == [f"p_{label}" for label in (*LABELS, "blast", "smudge")]
    table.write_csv(frame, tmp_path / "cells.csv")
    back = pd.read_csv(tmp_path / "cells.csv")
    prediction = next(classifier.predict(cell_files[0]))
    assert back["p_blast"][0] == pytest.approx(prediction.probabilities[TEN.index("blast")], abs=1e-6)
    assert back["model"].tolist() == [str(classifier)] * 4
    np.testing.assert_allclose(back[[f"p_{label}" for label in TEN]][:3].sum(axis=1), 1, atol=1e-4)
    unreadable = classifier.table(["missing.png"])
    assert unreadable.columns.tolist() == frame.columns.tolist()


def test_classes_json_decides_the_order_and_the_words(folder, classifier, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    write_classes(copy, describe(TEN[::-1]))
    turned = Classifier.load(copy)
    assert turned.labels == TEN[::-1]
    assert turned.version != classifier.version
    cell = [draw_cell("ig")]
    np.testing.assert_allclose(turned.probabilities(cell)[:, ::-1], classifier.probabilities(cell), atol=1e-6)
    (copy / CLASSES_FILE).write_text(json.dumps([{"name": label} for label in TEN]))
    assert Classifier.load(copy).classes == describe(TEN)


def test_the_known_sets_keep_their_order_and_words():
    for labels in (LABELS, SUBTYPE_LABELS):
        assert tuple(one.name for one in describe(labels)) == labels
        assert all(one.cell_type in LABELS for one in describe(labels))
    assert [one.name for one in describe(TEN) if one.white] == [
        *("basophil", "eosinophil", "ig", "lymphocyte", "monocyte", "neutrophil", "blast")
    ]
    assert describe(["sezary"]) == (CellClass("sezary", "sezary", "sezary"),)


def test_classes_come_back_as_they_were_written(tmp_path):
    classes = (SEZARY, DEBRIS, *describe(LABELS))
    assert read_classes(tmp_path, LABELS) == describe(LABELS)
    write_classes(tmp_path, classes)
    assert read_classes(tmp_path, [one.name for one in classes][::-1]) == classes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *[(content, "no list of classes") for content in ("{", "5", "[5]", '[{"english": "x"}]', '[{"name": ""}]')],
        *[
            (f'[{{"name": "ig", {rest}}}]', "no list of classes")
            for rest in ('"white": 1', '"colour": "red"', '"english": null')
        ],
        ('[{"name": "ig"}, {"name": "ig"}]', "no list of classes"),
        ('[{"name": "ig"}]', "other classes than its network"),
    ],
)
def test_a_broken_classes_json_is_one_sentence(folder, tmp_path, content, words):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / CLASSES_FILE).write_text(content)
    with pytest.raises(ModelError, match=words) as caught:
        Classifier.load(copy)
    assert "cannot be loaded" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_nobody_knows_are_taken_from_a_folder_that_describes_them(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    labels = [f"class {number}" for number in range(len(TEN))]
    config = json.loads((copy / "config.json").read_text()) | {"label_names": labels}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"other labels \(class 0.*classes\.json"):
        Classifier.load(copy)
    write_classes(copy, describe(labels))
    assert Classifier.load(copy).labels == tuple(labels)


def test_a_blast_is_a_white_cell_and_a_smudge_cell_stands_beside():
    found = review_of("neutrophil", "neutrophil", "blast", "smudge", "platelet", "erythroblast").differential()
    assert [one.label for one in found.shares] == [
        "neutrophil",
        "lymphocyte",
        "monocyte",
        "eosinophil",
        "basophil",
        "ig",
        "blast",
    ]
    assert (found.white, found.erythroblasts, found.platelets) == (3, 1, 1)
    assert [(one.label, one.count, one.per_100) for one in found.apart] == [("smudge", 1, pytest.approx(100 / 3))]
    only = review_of("smudge").differential()
    assert (only.shares, [(one.count, one.per_100) for one in only.apart]) == ((), [(1, None)])


def test_a_model_without_blasts_has_no_row_for_them():
    found = review_of("neutrophil", names=LABELS).differential()
    assert "blast" not in [one.label for one in found.shares]
    assert found.apart == ()


def test_a_class_of_the_folders_own_is_counted_as_it_says():
    classes = (
        DEBRIS,
        SEZARY,
        *describe(LABELS),
        CellClass("giant", "giant platelet", "plaqueta gigante", cell_type="platelet"),
    )
    names = tuple(one.name for one in classes)
    review = review_of("sezary", "debris", "ig", "giant", "neutrophil", classes=classes, names=names)
    assert review.counted() == ["sezary", "ig", "giant", "neutrophil"]
    found = review.differential()
    assert [one.label for one in found.shares][-2:] == ["ig", "sezary"]
    assert (found.white, found.platelets, found.apart) == (3, 1, ())
    assert [one.name for one in views.in_order(classes)][-4:] == ["erythroblast", "debris", "platelet", "giant"]


def test_a_review_comes_back_from_a_browser_with_its_classes():
    classes = (SEZARY, DEBRIS, *describe(LABELS))
    names = tuple(one.name for one in classes)
    cells = (Cell(said(label, names), b"", said("blast"), label) for label in ("sezary", "debris", "ig"))
    review = decide(Review(tuple(cells), "a@0/int8", "b@1/fp32", classes=classes), cig="sezary")
    back = Review.from_json(to_json(review))
    assert back.classes == classes
    assert (back.labels, back.held, back.counted()) == (review.labels, review.held, review.counted())
    assert back.counted() == ["sezary"]
    assert back.cells[0].second.labels == TEN
    assert [cell.prediction for cell in back.cells] == [cell.prediction for cell in review.cells]


@pytest.mark.parametrize("labels", [LABELS, SUBTYPE_LABELS, TEN])
def test_a_review_without_classes_still_comes_back(labels):
    value = to_json(review_of(labels[3], names=labels))
    del value["classes"], value["second_classes"]
    back = Review.from_json(value)
    assert (back.labels, back.classes, back.standing) == (labels, describe(labels), (labels[3],))


@pytest.mark.parametrize("value", [5, [5], [{}], [{"name": "ig"}], [{"name": "ig"}] * 10, [{"name": ["ig"]}] * 10])
@pytest.mark.parametrize("key", ["classes", "second_classes"])
def test_broken_classes_of_a_kept_review_are_refused(key, value):
    kept = to_json(review_of("ig")) | {key: value}
    with pytest.raises(ValueError, match=r".+"):
        Review.from_json(kept)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_and_the_workbook_show_ten_labels_and_classes_of_the_folders_own(language, tmp_path):
    classes = (SEZARY, DEBRIS, *describe(TEN))
    names = tuple(one.name for one in classes)
    review = review_of("sezary", "debris", "blast", "smudge", "ig", classes=classes, names=names)
    review = decide(review, c4="not_a_cell")
    own = {"en": SEZARY.english, "es": SEZARY.spanish}[language]
    shown = views.report(review, {}, language)
    assert all(word in shown for word in (own, name("blast", language), name("smudge", language), name("not_a_cell", language)))
    assert DEBRIS.english not in shown
    excel.write(review, tmp_path / "cells.xlsx", {}, views.excel_language(review, language))
    cells = load_workbook(tmp_path / "cells.xlsx").worksheets[0]
    assert cells.cell(2, 2).value == own


def test_the_workbench_describes_the_classes_of_the_models():
    copied = {one["label"]: one for one in views.settings("es", [], False, (SEZARY, DEBRIS, *describe(TEN)))["classes"]}
    assert copied.keys() == {*KNOWN, "sezary", "debris"}
    expected = {"label": "sezary", "name": "célula de Sézary", "type": "sezary", "colour": OTHER, "white": True}
    assert copied["sezary"] == expected
    assert list(copied).index("blast") < list(copied).index("sezary") < list(copied).index("erythroblast")


def test_an_offered_model_is_described_as_far_as_it_is_on_this_disk(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "hub_models", lambda: {"ten": "user/ten"})
    monkeypatch.setattr(catalog, "_folder", lambda repo_id, revision: str(folder))
    assert catalog.described("ten") == describe(TEN)
    monkeypatch.setattr(catalog, "_folder", lambda repo_id, revision: None)
    assert catalog.described("ten") == ()
    (tmp_path / "config.json").write_text("[]")
    monkeypatch.setattr(catalog, "_folder", lambda repo_id, revision: str(tmp_path))
    assert catalog.described("ten") == ()


def test_the_workbook_has_rows_for_blasts_and_smudge_cells(tmp_path):
    excel.write(review_of("blast", "smudge", "neutrophil"), tmp_path / "cells.xlsx")
    rows = {row[0]: row[1] for row in load_workbook(tmp_path / "cells.xlsx")["differential"].iter_rows(values_only=True)}
    assert (rows["blast"], rows["smudge cell"], rows["smudge cell per 100 white cells"]) == (1, 1, 50)


def test_each_known_class_has_words_in_both_languages():
    assert all(one.english and one.spanish for one in KNOWN.values())
