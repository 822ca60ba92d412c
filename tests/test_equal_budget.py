"""The study of networks at an equal budget: finished runs -> three tables -> a part of results/README.md."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from train import recipe
from train.__main__ import main
from train.studies import equal_budget

ROOT = Path(__file__).resolve().parent.parent


def finished(folder: Path, recipe_name: str, collected: str, accuracy: float, *values: str) -> Path:
    """A run folder of a recipe, with the files of a collected run and a test accuracy of its own."""
    shutil.copytree(ROOT / "results" / collected, folder)
    summary = json.loads((folder / "metrics.json").read_text())
    summary |= {"recipe": recipe_name, "command": f"python -m train {recipe_name} epochs=2 seed=1", "mixed_precision": "no"}
    summary["test"]["accuracy"] = accuracy
    (folder / "metrics.json").write_text(json.dumps(summary))
    (folder / "recipe.json").write_text(recipe.load(recipe_name).override(["epochs=2", *values]).to_json())
    return folder


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    """Two seeds of a ResNet and one of a ViT."""
    size = ("image_size=64", "progressive_resizing=()")
    return [
        finished(tmp_path / "resnet18_seed1", "resnet18_scratch", "resnet18_scratch", 0.98, *size),
        finished(tmp_path / "resnet18_seed2", "resnet18_scratch", "resnet18_longer", 0.96, *size),
        finished(tmp_path / "vit_tiny_seed1", "vit_tiny_scratch", "vit_tiny_scratch", 0.95, *size),
    ]


def test_runs_are_collected_by_network_and_the_page_has_mean_spread_and_differences(runs, tmp_path):
    assert main(["equal_budget", *map(str, runs), "--out", str(tmp_path)]) == 0
    of_the_first = pd.read_csv(tmp_path / equal_budget.PREDICTIONS)["resnet18_seed1"].notna()
    assert (
        of_the_first.sum() == (pd.read_csv(runs[0] / "predictions.csv").eval("prediction != label")).sum()
    )  # the wrong answers
    text = equal_budget.section(tmp_path)
    assert f"0.9700 ± {np.std([0.98, 0.96], ddof=1):.4f}" in text
    assert "| `resnet18` | `vit_tiny` | +2." in text
    truth = pd.read_csv(runs[2] / "predictions.csv")
    basophils = truth[truth["label"] == "basophil"]
    recall = (basophils["prediction"] == "basophil").mean()
    (row,) = (line for line in text.splitlines() if line.startswith("| basophil | 217 |") and "/" in line)
    assert row.split("|")[4].strip().startswith(f"{recall:.3f} /")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert "python -m train resnet18_scratch epochs=2 seed=1..2 --split results/split.csv --out runs/equal/resnet18" in text
    assert "seed=1..1 --split results/split.csv --out runs/equal/vit_tiny" in text  # else its name has no seed


def test_a_further_run_adds_its_rows_and_the_earlier_ones_stay(runs, tmp_path):
    for some in (runs[:2], runs[2:]):
        assert main(["equal_budget", *map(str, some), "--out", str(tmp_path)]) == 0
    in_parts = {name: (tmp_path / name).read_text() for name in (equal_budget.RUNS, equal_budget.PREDICTIONS)}
    for name in (*in_parts, equal_budget.HISTORY):
        (tmp_path / name).unlink()
    assert main(["equal_budget", *map(str, runs), "--out", str(tmp_path)]) == 0
    assert {name: (tmp_path / name).read_text() for name in in_parts} == in_parts


def test_the_page_is_the_same_whichever_run_is_collected_first(runs, tmp_path):
    """Else a run would be paired with one of another seed."""
    pages = []
    for number, order in enumerate((runs, runs[::-1])):
        out = tmp_path / str(number)
        out.mkdir()
        assert main(["equal_budget", *map(str, order), "--out", str(out)]) == 0
        pages.append(equal_budget.section(out))
    assert pages[0] == pages[1]
    assert pages[0].index("| `resnet18` |") < pages[0].index("| `vit_tiny` |")  # the better one is the first


def test_another_budget_is_refused_and_nothing_is_overwritten(runs, tmp_path, capsys):
    assert main(["equal_budget", *map(str, runs), "--out", str(tmp_path)]) == 0
    before = (tmp_path / equal_budget.RUNS).read_text()
    longer = finished(tmp_path / "resnet18_seed3", "resnet18_scratch", "resnet18_scratch", 0.99, "image_size=96")
    assert main(["equal_budget", str(longer), "--out", str(tmp_path)]) == 2
    assert "other budgets" in capsys.readouterr().err
    assert (tmp_path / equal_budget.RUNS).read_text() == before


def test_a_run_with_other_test_pictures_is_refused_and_nothing_is_lost(runs, tmp_path, capsys):
    assert main(["equal_budget", *map(str, runs[:2]), "--out", str(tmp_path)]) == 0
    before = (tmp_path / equal_budget.PREDICTIONS).read_text()
    pd.read_csv(runs[2] / "predictions.csv").iloc[1:].to_csv(runs[2] / "predictions.csv", index=False)
    assert main(["equal_budget", str(runs[2]), "--out", str(tmp_path)]) == 2
    assert "other test pictures" in capsys.readouterr().err
    assert (tmp_path / equal_budget.PREDICTIONS).read_text() == before


def test_a_run_without_a_seed_in_its_name_is_one_sentence(runs, tmp_path, capsys):
    other = shutil.copytree(runs[0], tmp_path / "mine")
    assert main(["equal_budget", str(other), "--out", str(tmp_path)]) == 2
    assert "_seedN" in capsys.readouterr().err
