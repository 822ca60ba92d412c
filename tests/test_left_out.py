"""Limits that hold in laboratories that a model never saw."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from test_checkpoint import skip_figures
from test_sources import fields, jhu, of_three  # noqa: F401 (fixtures)

from cells.classes import LABELS
from cells.model.classifier import Classifier
from train import figures, left_out
from train import run as runs
from train.__main__ import main
from train.left_out import CORRECT, HOME_CORRECT, Answers
from train.network import set_temperature


def answers(laboratory: str, correct: float, certainty: float, farther: float = 1.0, n: int = 4000) -> Answers:
    """Of a model whose logits are calibrated where `certainty` is 1, and too sure where it is above."""
    rng = np.random.default_rng(len(laboratory))
    logits = 8 * rng.normal(size=(n, 8))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) > rng.random((n, 1))).argmax(1)
    sure = np.exp(certainty * logits)
    return Answers(laboratory, LABELS, correct, sure / sure.sum(1, keepdims=True), labels, farther * rng.random(n))


@pytest.fixture(scope="module")
def everywhere() -> tuple[list[Answers], list[Answers]]:
    return [answers("pbc", HOME_CORRECT, 1.0)], [answers("jhu", CORRECT, 2.0, 2.0), answers("chula", CORRECT, 2.0, 1.5)]


def test_what_is_ok_is_right_as_often_as_promised_in_each_laboratory(everywhere):
    own, elsewhere = everywhere
    limits = left_out.fit(own, elsewhere)
    for one in (*own, *elsewhere):
        at = one.at(limits.temperature)
        ok = limits.ok(at)
        assert ok.mean() > 0.1
        assert at.right[ok].mean() >= one.correct - 1 / ok.sum()  # the last one stands on the threshold


def test_the_temperature_calms_a_model_that_is_too_sure(everywhere):
    own, elsewhere = everywhere
    assert left_out.fit_temperature(own) == pytest.approx(1, abs=0.1)
    assert left_out.fit_temperature(elsewhere) == pytest.approx(2, abs=0.2)
    assert 1 < left_out.fit([*own], elsewhere).temperature < 2
    sure = elsewhere[0]
    assert (sure.at(2.0).probabilities.argmax(1) == sure.probabilities.argmax(1)).all()  # no answer changes
    np.testing.assert_allclose(sure.at(2.0).probabilities.sum(1), 1)


def test_almost_all_cells_of_each_own_laboratory_are_familiar_and_farther_ones_decide_nothing(everywhere):
    own, elsewhere = everywhere
    far = dataclasses.replace(own[0], laboratory="chula", distances=1.5 * own[0].distances)
    limits = left_out.fit([*own, far], elsewhere)
    assert limits.farther == pytest.approx(0.99 * 1.5, rel=0.02)
    assert left_out.fit(own, elsewhere).farther == 1
    wrong = dataclasses.replace(
        elsewhere[0], labels=(elsewhere[0].probabilities.argmax(1) + 1) % 8, distances=np.full(4000, 9.0)
    )
    assert left_out.fit([*own, far], [*elsewhere, wrong]) == limits


def test_a_class_that_is_wrong_in_a_new_laboratory_needs_more_than_the_others(everywhere):
    own, (jhu_left_out, _) = everywhere
    said = jhu_left_out.probabilities.argmax(1)
    labels = np.where((said == 3) & (np.arange(4000) % 2 == 0), 0, said)
    limits = left_out.fit(own, [dataclasses.replace(jhu_left_out, labels=labels)])
    assert max(limits.review_below, key=limits.review_below.get) == LABELS[3]
    assert limits.review_below[LABELS[3]] > 2 * limits.review_below[LABELS[5]] - 1


def test_where_nothing_is_right_nothing_is_ok():
    wrong = answers("pbc", HOME_CORRECT, 1.0)
    wrong = dataclasses.replace(wrong, labels=(wrong.probabilities.argmax(1) + 1) % 8)
    assert set(left_out.fit_review_below([wrong]).values()) == {left_out.NEVER}
    right = dataclasses.replace(wrong, labels=wrong.probabilities.argmax(1))
    assert set(left_out.fit_review_below([right]).values()) == {0.0}


def test_cells_of_one_estimate_are_ok_together():
    right = np.array([True] * 10 + [False] * 10)  # the first ten alone would be right
    assert left_out.lowest_estimate(right, np.ones(20), CORRECT) > 1
    assert left_out.lowest_estimate(np.ones(20, bool), np.ones(20), CORRECT) == 1
    assert left_out.lowest_estimate(right, np.linspace(1, 0.05, 20), CORRECT) == pytest.approx(0.55)


def test_figures_of_a_left_out_laboratory_take_nothing_from_it(everywhere):
    own, (jhu_left_out, chula_left_out) = everywhere
    learnt = answers("jhu", CORRECT, 1.0)  # what the model says that has learnt from it
    never_right = dataclasses.replace(learnt, labels=(learnt.probabilities.argmax(1) + 1) % 8)
    alone = left_out.figures(own, [jhu_left_out, chula_left_out])[0]
    assert alone["ok_share"] > 0
    assert left_out.figures([*own, never_right], [jhu_left_out, chula_left_out])[0] == alone
    assert left_out.figures(own, [jhu_left_out, chula_left_out, never_right])[0] == alone
    (home,) = left_out.figures([*own, learnt], [dataclasses.replace(own[0], correct=CORRECT)])
    assert home["ok_share"] > 0


@pytest.fixture(scope="module")
def finished(parquet, jhu, fields, tmp_path_factory) -> tuple[Path, Path, list[str]]:  # noqa: F811
    """(a run of three laboratories, one without jhu, their places)."""
    folder, places = tmp_path_factory.mktemp("finished"), [parquet, f"jhu={jhu}", f"chula={fields}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_all", skip_figures)
        assert runs.train(of_three("epochs=1"), places, None, folder / "all") == 0
        without = of_three("epochs=1", "sources=(('pbc', 0.7), ('chula', 0.3))", "classes=()")
        assert runs.train(without, [parquet, f"chula={fields}"], folder / "all" / "split.csv", folder / "without_jhu") == 0
    return folder / "all", folder / "without_jhu", places


def test_a_run_of_several_laboratories_is_measured_in_each(finished):
    summary = json.loads((finished[0] / "metrics.json").read_text())
    assert summary["sources"] == ["pbc", "jhu", "chula"]
    assert set(summary["test_by_source"]) == {"pbc", "jhu", "chula"}
    predictions = pd.read_csv(finished[0] / "predictions.csv")
    assert sum(one["pictures"] for one in summary["test_by_source"].values()) == len(predictions)
    assert {*LABELS, "blast"} == set(summary["test"]["confusion"])
    blast = summary["blast"]
    assert blast["cells"]["sensitivity"] >= 0.9
    assert blast["cells"]["n_blast"] + blast["cells"]["n_other"] < len(pd.read_csv(finished[0] / "validation.csv"))
    assert Classifier.load(finished[0] / "model").uncertainty.blast_from == pytest.approx(blast["threshold"])


def test_limits_come_from_the_run_that_left_a_laboratory_out(finished, monkeypatch):
    run, without, places = finished
    monkeypatch.setattr(figures, "draw_all", skip_figures)
    line = ["uncertainty", str(run), "--left-out", str(without), "--data", *places]
    before = json.loads((run / "metrics.json").read_text())["temperature"]
    assert main(line) == 0
    summary = json.loads((run / "metrics.json").read_text())
    assert summary["temperature"] == pytest.approx(before * summary["left_out"]["temperature"], rel=1e-3)
    roles = [(row["name"], row["role"]) for row in summary["laboratories"]]
    assert roles == [("pbc", "trained"), ("jhu", "trained"), ("chula", "trained"), ("jhu", "left out")]
    assert summary["laboratories"][-1]["pictures"] == 64  # its neutrophils and immature granulocytes, but those of test
    of_class = summary["left_out"]["review_below"]
    model = Classifier.load(run / "model")
    assert model.uncertainty.review_below == pytest.approx([of_class[label] for label in model.labels])


def test_a_run_that_left_nothing_out_is_refused(finished, capsys):
    run, _, places = finished
    written = {file: file.read_bytes() for file in run.glob("**/*") if file.is_file()}
    assert main(["uncertainty", str(run), "--left-out", str(run / "." / "..") + "/all", "--data", *places]) == 2
    assert "left no laboratory out" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in run.glob("**/*") if file.is_file()} == written


def test_the_weights_say_by_what_they_are_divided(finished):
    folder = finished[1] / "model"
    set_temperature(folder, 2.0)
    set_temperature(folder, 4.0)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert float(file.metadata()["temperature"]) == 4
        assert file.metadata()["format"] == "pt"
    set_temperature(folder, 1.0)
    before = (folder / "model.safetensors").read_bytes()
    set_temperature(folder, 1.0)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_call_that_was_stopped_leaves_no_temperature_to_the_next(finished, monkeypatch):
    _, without, places = finished
    monkeypatch.setattr(figures, "draw_all", skip_figures)
    set_temperature(without / "model", 3.0)  # and metrics.json does not know of it
    assert main(["uncertainty", str(without), "--data", *places[::2]]) == 0
    with safe_open(without / "model" / "model.safetensors", "pt") as file:
        assert float(file.metadata()["temperature"]) == 1


def test_a_laboratory_in_data_that_a_run_never_saw_gets_a_row_of_the_card(finished, monkeypatch):
    _, without, places = finished
    monkeypatch.setattr(figures, "draw_all", skip_figures)
    assert main(["uncertainty", str(without), "--data", *places]) == 0
    rows = json.loads((without / "metrics.json").read_text())["laboratories"]
    assert [(row["name"], row["role"]) for row in rows] == [("pbc", "trained"), ("jhu", "measured"), ("chula", "trained")]
