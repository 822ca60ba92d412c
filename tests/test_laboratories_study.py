"""The study of laboratories: what is measured where, and the figures of it."""

import json
import shutil

import datasets
import numpy as np
import pytest

from cells.classes import LABELS
from cells.model.prediction import Prediction
from cells.model.uncertainty import OK, REVIEW
from train import data, laboratories

TEN = (*LABELS, "blast", "smudge")


def predicted(label: str, probability: float, status: str = OK, labels: tuple[str, ...] = TEN) -> Prediction:
    probabilities = np.full(len(labels), (1 - probability) / (len(labels) - 1))
    probabilities[labels.index(label)] = probability
    return Prediction("cell", probabilities, status, "", labels)


def rows_of(*types: str) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"cell_type": list(types)})


def test_figures_of_one_laboratory():
    rows = rows_of("neutrophil", "neutrophil", "basophil", "ig", "blast", "blast")
    found = laboratories.figures(
        [
            predicted("neutrophil", 0.9),
            predicted("smudge", 0.6, REVIEW),
            predicted("neutrophil", 0.9),
            predicted("ig", 0.9),
            predicted("blast", 0.9, REVIEW),
            predicted("lymphocyte", 0.9),
        ],
        rows,
    )
    assert (found["pictures"], found["accuracy"]) == (6, pytest.approx(3 / 6))
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 0 + 1 + 1 / 2) / 4)
    assert (found["ok_share"], found["ok_right"]) == (pytest.approx(4 / 6), pytest.approx(2 / 4))
    assert (found["blasts"], found["blasts_ok"]) == (2, 0.5)
    assert found["five_pictures"] == 3  # the second is a tie among the five; the first of them is a basophil
    assert found["five_accuracy"] == pytest.approx(1 / 3)
    assert 0 < found["blast_auc"] <= 1


def test_the_interval_is_over_patients_where_they_are_known():
    """Of two patients one is named rightly throughout: the cells of a patient are no independent evidence."""
    types, answers = ["ig"] * 40, [predicted("ig", 0.9)] * 20 + [predicted("monocyte", 0.9)] * 20
    rows = rows_of(*types)
    patients = rows.add_column("group", ["one"] * 20 + ["two"] * 20)
    found = laboratories.limits(answers, patients)
    assert found == {"accuracy_low": 0, "accuracy_high": 1, "groups": 2}
    single = laboratories.limits(answers, rows.add_column("group", [""] * 40))
    assert 0.3 < single["accuracy_low"] < 0.5 < single["accuracy_high"] < 0.7
    assert single["groups"] == 0


def test_blasts_count_for_a_model_that_does_not_know_them():
    answers = [predicted("ig", 0.9, OK, LABELS), predicted("lymphocyte", 0.99, OK, LABELS)]
    found = laboratories.figures(answers, rows_of("ig", "blast"))
    assert (found["pictures"], found["accuracy"], found["blasts_ok"]) == (1, 1.0, 1.0)
    assert "blast_auc" not in found


def test_a_laboratory_is_measured_where_the_model_has_not_learnt():
    columns = {
        "image_id": ["a", "b", "c", "jhu:d", "jhu:e", "jhu:f"],
        "source": ["pbc"] * 3 + ["jhu"] * 3,
        "cell_type": ["ig", "ig", "ig", "ig", "blast", "plasma cell"],
    }
    dataset, split = datasets.Dataset.from_dict(columns), {"a": "train", "b": "validation", "c": "test", "jhu:d": "train"}
    ids = lambda *call: data.of_laboratory(dataset, split, *call)["image_id"][:]  # noqa: E731
    assert ids("pbc", "validation") == ["b"]
    assert ids("pbc", None) == ["a", "b"]
    assert ids("jhu", None) == ["jhu:d", "jhu:e"]  # plasma cells are of no class


def test_a_model_of_a_run_has_the_name_of_the_run(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "four_a" / "model")
    places = (model_folder, tmp_path / "four_a", tmp_path / "four_a" / "model")
    assert [laboratories.load(str(place)).name for place in places] == ["tiny", "four_a", "four_a"]


def test_sources_are_those_of_the_run(tmp_path):
    assert data.sources_of(tmp_path) == ["pbc"]
    (tmp_path / "metrics.json").write_text(json.dumps({"sources": {"pbc": 0.6, "chula": 0.4}}))
    assert data.sources_of(tmp_path) == ["pbc", "chula"]
    (tmp_path / "metrics.json").write_text(json.dumps({"test_by_source": {"pbc": {}, "jhu": {}}}))  # of an older run
    assert data.sources_of(tmp_path) == ["pbc", "jhu"]
    (tmp_path / "metrics.json").write_text(json.dumps({"sources": []}))
    assert data.sources_of(tmp_path) == ["pbc"]
