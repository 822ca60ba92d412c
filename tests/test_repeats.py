"""Several runs of one recipe: seeds, and the folds of a cross-validation."""

import json

import numpy as np
import pandas as pd
import pytest
from test_checkpoint import skip_export, skip_figures

from cells import pbc
from train import backend, data, figures, split
from train.__main__ import main
from train.recipe import RecipeError
from train.repeats import seeds_of


@pytest.fixture(autouse=True)
def _without_what_takes_longer_than_the_training(monkeypatch):
    monkeypatch.setattr(figures, "draw_all", skip_figures)
    monkeypatch.setattr(backend, "choose", skip_export)


TINY = ["resnet18_scratch", "image_size=32", "progressive_resizing=()", "epochs=1", "batch_size=32", "ema_decay=0"]


def test_a_range_of_seeds_is_a_run_each_and_their_spread_is_printed(parquet, tmp_path, capsys):
    assert main([*TINY, "seed=1..2", "--data", parquet, "--out", str(tmp_path / "run")]) == 0
    recipes = [json.loads((tmp_path / f"run_seed{seed}" / "recipe.json").read_text()) for seed in (1, 2)]
    assert [one["seed"] for one in recipes] == [1, 2]
    tests = [json.loads((tmp_path / f"run_seed{seed}" / "metrics.json").read_text())["test"] for seed in (1, 2)]
    mean = np.mean([one["accuracy"] for one in tests])
    assert f"accuracy           {mean:.4f}" in capsys.readouterr().out


def test_the_assignments_beside_a_range_of_seeds_stay():
    assert seeds_of(["epochs=5", "seed=3..5"]) == ([3, 4, 5], ["epochs=5"])
    assert seeds_of(["seed=3"]) == ([], ["seed=3"])
    with pytest.raises(RecipeError, match="2 or more"):
        seeds_of(["seed=2..1"])


def test_cross_validation_tests_each_picture_once_and_keeps_groups_together(parquet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(split, "VALIDATION_FOLDS", 5)  # half of so few cells have no tenth
    out = tmp_path / "run"
    assert main([*TINY, "--folds", "2", "--data", parquet, "--out", str(out)]) == 0
    pooled = pd.read_csv(tmp_path / "run_folds" / "predictions.csv")
    assert sorted(pooled["image_id"]) == sorted(data.load([parquet])["image_id"])
    for fold in (1, 2):
        parts = pbc.read_split(tmp_path / f"run_fold{fold}" / "split.csv")
        assert set(pooled.loc[pooled["fold"] == fold, "image_id"]) == {key for key, part in parts.items() if part == "test"}
    accuracy = (pooled["label"] == pooled["prediction"]).mean()
    assert json.loads((tmp_path / "run_folds" / "metrics.json").read_text())["test"]["accuracy"] == pytest.approx(accuracy)
    capsys.readouterr()
    assert main([*TINY, "--folds", "2", "--data", parquet, "--out", str(out)]) == 0
    assert f"{out}_fold2 is complete" in capsys.readouterr().out
    assert main([*TINY, "--folds", "3", "--data", parquet, "--out", str(out)]) == 2  # else a picture would be tested twice
    assert f"{out}_fold1 is complete, with another split" in capsys.readouterr().err


def test_a_group_is_in_one_part_of_each_fold(parquet):
    dataset = data.load([parquet])
    groups = np.arange(len(dataset)) // 3
    for parts in split.folds(dataset, groups, 5):
        assert pd.DataFrame({"group": groups, "part": parts}).groupby("group")["part"].nunique().max() == 1
    assert split.folds(dataset, groups, 5)[0] == split.split(dataset, groups)


@pytest.mark.parametrize("other", [["--split", "some.csv"], ["seed=1..2"]])
def test_folds_take_one_seed_and_no_split(other, capsys):
    with pytest.raises(SystemExit):
        main([*TINY, "--folds", "2", *other])
    assert "one seed" in capsys.readouterr().err
