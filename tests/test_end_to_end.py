"""From drawn cells to an Excel file: train four steps, stop, resume, evaluate, load, classify."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import openpyxl
import pandas as pd
import pytest
import timm
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_checkpoint import MEASURED, ROOT, skip_figures

from cells.__main__ import main as cells_main
from cells.classes import LABELS
from cells.model.classifier import Classifier
from cells.model.folder import may_quantize
from cells.model.onnx_network import OnnxNetwork
from cells.read.images import read_image
from train import checkpoint, figures, recipe, report, training_ids
from train.__main__ import main
from train.network import build, export
from train.recipe import RecipeError
from train.run import RunError, train

MODEL = [f"model/{name}" for name in ("model.safetensors", "trust.json", "quantized.json", "calibration.json")]


@pytest.fixture(scope="module")
def runs(tiny_recipe, parquet, tmp_path_factory) -> tuple[Path, Path]:
    """(an unbroken run, a run stopped after four of its six steps and then resumed)."""
    unbroken, resumed = tmp_path_factory.mktemp("unbroken"), tmp_path_factory.mktemp("resumed")
    assert train(tiny_recipe, [parquet], None, unbroken) == 0
    assert train(tiny_recipe, [parquet], None, resumed, lambda step: step == 4) == 130
    assert checkpoint.read(resumed / "checkpoints" / checkpoint.LAST)[1]["step"] == 4
    assert not (resumed / "metrics.json").exists()
    assert train(tiny_recipe, [parquet], None, resumed) == 0
    return unbroken, resumed


def test_a_resumed_run_equals_an_unbroken_one(runs):
    unbroken, resumed = runs
    for name in ("predictions.csv", "validation.csv", "split.csv", "recipe.json", *MODEL):
        assert (unbroken / name).read_bytes() == (resumed / name).read_bytes(), name
    ours, theirs = (pd.read_csv(run / "history.csv").drop(columns=MEASURED) for run in runs)
    pd.testing.assert_frame_equal(ours, theirs)


@pytest.fixture
def _no_figures(monkeypatch):
    monkeypatch.setattr(figures, "draw_all", skip_figures)


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("last_step", [3, 6])
def test_a_run_stopped_at_the_end_of_an_epoch_loses_nothing(runs, tiny_recipe, parquet, tmp_path, last_step):
    assert train(tiny_recipe, [parquet], None, tmp_path, lambda step: step == last_step) == 130
    assert train(tiny_recipe, [parquet], None, tmp_path) == 0
    assert (tmp_path / "predictions.csv").read_bytes() == (runs[0] / "predictions.csv").read_bytes()
    assert len(pd.read_csv(tmp_path / "history.csv")) == tiny_recipe.epochs


def test_a_run_leaves_what_is_promised(runs, pbc_rows):
    run = runs[1]
    assert {path.name for path in run.iterdir()} == {
        *("recipe.json", "split.csv", "history.csv", "predictions.csv", "validation.csv", "metrics.json"),
        *("checkpoints", "figures", "model"),
    }
    assert {path.stem for path in (run / "figures").iterdir()} == {
        *("class_counts", "samples", "training", "confusion", "confusion_normalised", "most_confused", "top_losses"),
        *("random_predictions", "reliability", "recall_by_subtype"),
    }
    summary = json.loads((run / "metrics.json").read_text())
    predictions, split = pd.read_csv(run / "predictions.csv"), pd.read_csv(run / "split.csv")
    assert sorted(predictions["image_id"]) == sorted(split["image_id"][split["split"] == "test"])
    assert sum(summary["pictures"].values()) == len(pbc_rows["image_id"])
    assert summary["sources"] == ["pbc"]
    assert summary["test"]["accuracy"] == pytest.approx((predictions["label"] == predictions["prediction"]).mean())
    assert summary["test"]["accuracy_low"] <= summary["test"]["accuracy"] <= summary["test"]["accuracy_high"]


def test_the_model_answers_as_it_was_scored_and_its_thresholds_are_of_these_answers(runs, parquet):
    run = runs[0]
    metrics, record = (json.loads((run / "model" / f"{name}.json").read_text()) for name in ("metrics", "quantized"))
    assert metrics["backend"] == ("int8" if may_quantize(run / "model") else "fp32")
    tables = {name: pd.read_csv(run / f"{name}.csv").set_index("image_id") for name in ("validation", "predictions")}
    assert (record["part"], record["pictures"]) == ("validation", len(tables["validation"]))
    model = Classifier.load(run / "model")
    assert isinstance(model.backend, OnnxNetwork)
    rows = pd.read_parquet(parquet).set_index("image_id")
    for table in tables.values():
        answers = model.probabilities([read_image(rows.loc[one, "image"]["bytes"]) for one in table.index])
        np.testing.assert_allclose(answers, table.filter(like="p_"), rtol=1e-4, atol=1e-6)
    sure = tables["validation"].filter(like="p_").max(axis=1)
    assert model.uncertainty.review_below == pytest.approx(sure.quantile(0.04), rel=1e-4)


def test_the_same_line_on_a_finished_run_reports_it(runs, tiny_recipe, parquet, capsys):
    before = (runs[0] / "metrics.json").read_bytes()
    assert train(tiny_recipe, [parquet], None, runs[0]) == 0
    assert "is complete" in capsys.readouterr().out
    assert (runs[0] / "metrics.json").read_bytes() == before


def test_a_report_derives_metrics_and_figures_again(runs, parquet, tmp_path, capsys):
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    shutil.rmtree(run / "figures")
    (run / "model" / "metrics.json").unlink()
    facts = {key: value for key, value in json.loads((run / "metrics.json").read_text()).items() if key not in report.DERIVED}
    (run / "metrics.json").write_text(json.dumps(facts))
    assert main(["report", str(run), "--data", parquet]) == 0
    assert "balanced_accuracy" in capsys.readouterr().out
    files = ["metrics.json", "model/metrics.json", *(f"figures/{path.name}" for path in (runs[0] / "figures").iterdir())]
    for name in files:
        assert (run / name).read_bytes() == (runs[0] / name).read_bytes(), name
    assert {path.name for path in (run / "figures").iterdir()} == {path.name for path in (runs[0] / "figures").iterdir()}


@pytest.mark.usefixtures("_no_figures")
def test_the_rule_of_uncertainty_is_fitted_again_without_training(runs, parquet, tmp_path, capsys):
    run = shutil.copytree(runs[0], tmp_path / "run")
    for name in ("model/trust.json", "model/trust.safetensors", "predictions.csv", "validation.csv"):
        (run / name).unlink()
    assert main(["uncertainty", str(run), "--data", parquet]) == 0
    assert "balanced_accuracy" in capsys.readouterr().out
    for name in ("model/trust.json", "model/trust.safetensors", "predictions.csv", "validation.csv", "metrics.json"):
        assert (run / name).read_bytes() == (runs[0] / name).read_bytes(), name
    (run / "split.csv").write_text((run / "split.csv").read_text() + "BA_999,test\n")
    assert main(["uncertainty", str(run), "--data", parquet]) == 2
    assert "1 pictures of" in capsys.readouterr().err


def test_a_run_from_before_the_distance_is_reported_without_it(runs, parquet, tmp_path):
    run = shutil.copytree(runs[0], tmp_path / "run")
    for name in ("predictions.csv", "validation.csv"):
        pd.read_csv(run / name).drop(columns="distance").to_csv(run / name, index=False)
    (run / "model" / "trust.json").write_text('{"review_below": 0.9}\n')
    assert main(["report", str(run), "--data", parquet]) == 0
    summary = json.loads((run / "metrics.json").read_text())
    assert (summary["unfamiliar"], summary["prediction_set"]) == (None, None)
    assert summary["review"]["below"] == 0.9
    page = tmp_path / "page"
    assert main(["compare", str(run), "--out", str(page)]) == 0
    assert "unfamiliar" not in (page / "README.md").read_text()


def test_the_model_folder_classifies_into_excel(runs, cell_files, tmp_path):
    folder, out = runs[1] / "model", tmp_path / "cells.xlsx"
    assert cells_main(["classify", *cell_files, "--model", str(folder), "--out", str(out)]) == 0
    rows = list(openpyxl.load_workbook(out)["cells"].values)
    assert [row[0] for row in rows[1:]] == cell_files
    model = rows[0].index("model")
    assert all(row[1] in LABELS and row[model] == str(Classifier.load(folder)) for row in rows[1:])


def test_a_run_folder_of_another_recipe_or_other_pictures_is_refused(runs, tiny_recipe, parquet, tmp_path):
    with pytest.raises(RunError, match=r"lr=0\.05 there, 0\.01 here"):
        train(tiny_recipe.override(["lr=0.01"]), [parquet], None, runs[0])
    (tmp_path / "recipe.json").write_text(tiny_recipe.to_json())
    (tmp_path / "split.csv").write_text((runs[0] / "split.csv").read_text() + "BA_999,test\n")
    with pytest.raises(RunError, match="other pictures"):
        train(tiny_recipe, [parquet], None, tmp_path)


def test_a_split_file_decides_and_leaves_the_others_out(runs, tiny_recipe, parquet, tmp_path, capsys):
    rows = pd.read_csv(runs[0] / "split.csv").iloc[1:]
    rows.to_csv(tmp_path / "given.csv", index=False)
    assert train(tiny_recipe, [parquet], tmp_path / "given.csv", tmp_path / "run", lambda step: True) == 130
    assert "1 others left out" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "run" / "split.csv").equals(rows.reset_index(drop=True))


@pytest.mark.usefixtures("_no_figures")
def test_training_learns_to_tell_drawn_cells_apart(tiny_recipe, parquet, tmp_path):
    values = ["architecture=resnet18", "image_size=64", "epochs=12", "optimizer=adamw", "lr=0.002", "ema_decay=0.5"]
    longer = tiny_recipe.override(values)
    assert train(longer, [parquet], None, tmp_path) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["test"]["balanced_accuracy"] > 0.6


def test_weights_that_have_seen_the_test_pictures_are_refused(runs, tiny_recipe, parquet, tmp_path, capsys):
    """As a start and as a teacher, with the count; the split that they were trained with is accepted."""
    folder, own = runs[0] / "model", runs[0] / "split.csv"
    known = (folder / training_ids.FILE).read_text().split()
    split = pd.read_csv(own)
    assert len(known) == (split["split"] == "train").sum()
    other = split.assign(split=split["split"].replace({"test": "train", "train": "test"}))
    other.loc[other.index[other["split"] == "test"][:80], "split"] = "train"
    other.to_csv(tmp_path / "other.csv", index=False)
    seen = int(((other["split"] != "train") & (split["split"] == "train")).sum())
    for key in ("pretrained", "teacher"):
        chosen = tiny_recipe.override([f"{key}={folder}", "batch_size=16"])
        with pytest.raises(RecipeError, match=f"{key}=.* was trained on {seen} of the") as caught:
            train(chosen, [parquet], tmp_path / "other.csv", tmp_path / key)
        assert "\n" not in str(caught.value)
        assert train(chosen, [parquet], own, tmp_path / f"{key}_own", lambda step: True) == 130
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / training_ids.FILE).unlink()
    capsys.readouterr()
    assert train(tiny_recipe.override([f"pretrained={bare}"]), [parquet], None, tmp_path / "bare_run", lambda step: True) == 130
    assert "does not say which pictures it was trained on" in capsys.readouterr().out


def test_what_a_start_has_seen_is_handed_on(tmp_path, tiny_recipe):
    training_ids.write(tmp_path, ["BA_1", "BA_2"], tiny_recipe)
    second = tmp_path / "second"
    second.mkdir()
    training_ids.write(second, ["EO_3"], tiny_recipe.override([f"pretrained={tmp_path}"]))
    assert training_ids.read(str(second)) == training_ids.hashed(["BA_1", "BA_2", "EO_3"])


def test_wrong_calls_are_one_line_and_status_2(parquet, pbc_rows, runs, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("image_id,split\nBA_0,train\nEO_99,test\n")
    split = pd.read_csv(runs[0] / "split.csv")
    split.loc[split["image_id"].str.startswith("PLATELET"), "split"] = "test"
    split.to_csv(tmp_path / "platelets.csv", index=False)
    rows = [row for row, name in enumerate(pbc_rows["cell_subtype"]) if name != "MO"]
    fewer = datasets.Dataset.from_dict({key: [values[row] for row in rows] for key, values in pbc_rows.items()})
    fewer.cast_column("image", datasets.Image()).to_parquet(tmp_path / "fewer.parquet")
    for arguments, words in (
        (["resnet999"], "there is no recipe"),
        (["resnet18_scratch", "epoch=1"], "no 'epoch'"),
        (["resnet18_scratch", "--data", "nothing.parquet"], "no such file"),
        (["resnet18_scratch"], "chehablab/PBC cannot be read"),  # the default, and the Hub out of reach
        (["resnet18_scratch", "architecture=resnet999", "--data", parquet], "no such network"),
        (["resnet18", "pretrained=/nowhere", "--data", parquet], "cannot be loaded"),
        (["resnet18_scratch", "batch_size=5000", "--data", parquet], "fewer than batch_size=5000"),
        (["resnet18_scratch", "--data", parquet, "--split", str(tmp_path / "other.csv")], "every part needs pictures"),
        (["resnet18_scratch", "--data", parquet, "--split", str(tmp_path / "platelets.csv")], "training picture of platelet;"),
        (["resnet18_scratch", "--data", str(tmp_path / "fewer.parquet")], "no picture of monocyte;"),
        (["resnet18_scratch", "num_classes=13", "--data", str(tmp_path / "fewer.parquet")], "no picture of MO;"),
        (["vit_large_scratch", "--data", parquet], "meant for a GPU and there is none; gpu=False"),
        (["resnet18_scratch", "teacher=/nowhere", "--data", parquet], "teacher=/nowhere cannot be loaded"),
        (["report", str(tmp_path), "--data", parquet], "no finished run"),
    ):
        assert main([*arguments, *([] if arguments[0] == "report" else ["--out", str(tmp_path / "run")])]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_tracker_that_is_not_installed_is_one_line(parquet, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    line = ["resnet18_scratch", "--data", parquet, "--out", str(tmp_path / "run")]
    assert main([*line, "--track", "tensorboard"]) == 2
    assert capsys.readouterr().err == "error: --track tensorboard: it is not installed; pip install tensorboard adds it.\n"
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_epochs(tiny_recipe, parquet, tmp_path):
    assert train(tiny_recipe, [parquet], None, tmp_path, lambda step: step == 5, "tensorboard") == 130
    events = EventAccumulator(str(tmp_path / "blood-cells")).Reload()
    history = pd.read_csv(tmp_path / "history.csv")
    (logged,) = events.Scalars("validation_loss")
    assert (logged.step, logged.value) == (1, pytest.approx(history["validation_loss"][0], rel=1e-3))


def test_the_list_shows_every_recipe(capsys):
    assert main(["--list"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in recipe.names())


def test_ctrl_c_saves_and_the_same_line_carries_on(parquet, tmp_path):
    overrides = ["image_size=32", "progressive_resizing=()", "batch_size=16", "epochs=1000"]
    command = [sys.executable, "-m", "train", "resnet18_scratch", *overrides, "--data", parquet, "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    deadline = time.monotonic() + 300
    while not (tmp_path / "history.csv").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same line carries on" in output
    assert checkpoint.read(tmp_path / "checkpoints" / checkpoint.LAST)[1]["step"] > 0


def test_a_pretrained_network_keeps_its_body_and_gets_our_head(tmp_path):
    torch.manual_seed(1)
    other = timm.create_model("resnet18", num_classes=1000)
    timm.models.save_for_hf(other, tmp_path / "imagenet", safe_serialization=True)
    config = json.loads((tmp_path / "imagenet" / "config.json").read_text())
    config["model_args"].pop("num_classes", None)
    (tmp_path / "imagenet" / "config.json").write_text(json.dumps(config))
    ours = recipe.load("resnet18").override([f"pretrained={tmp_path / 'imagenet'}"])
    network = build(ours)
    assert torch.equal(network.timm_model.conv1.weight, other.conv1.weight)
    assert network.timm_model.fc.weight.shape == (8, 512)
    export(network, tmp_path / "model")
    assert list(Classifier.load(tmp_path / "model").network.config.id2label.values()) == list(LABELS)
