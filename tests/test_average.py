"""The mean of the weights of several runs."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_checkpoint import skip_figures

from cells.measures import commands
from cells.model.classifier import Classifier
from hub import card
from train import figures, run, training_ids
from train.__main__ import main

HEAD = "fc."


@pytest.fixture(scope="module")
def averaged(tiny_recipe, parquet, tmp_path_factory) -> tuple[list[Path], Path]:
    """(two runs that carried on from one, their average)."""
    folder = tmp_path_factory.mktemp("averaged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_all", skip_figures)
        assert run.train(tiny_recipe.override(["epochs=1"]), [parquet], None, folder / "start") == 0
        runs = [folder / "first", folder / "second"]
        for seed, each in enumerate(runs):
            chosen = tiny_recipe.override(["epochs=1", f"seed={seed}", f"pretrained={folder / 'start' / 'model'}"])
            assert run.train(chosen, [parquet], folder / "start" / "split.csv", each) == 0
        assert main(["average", *map(str, runs), "--data", parquet, "--out", str(folder / "mean")]) == 0
    return runs, folder / "mean"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_each_weight_is_the_mean_but_for_the_temperature_of_the_head(averaged):
    runs, mean = averaged
    (first, second), found = map(weights, runs), weights(mean)
    scale = json.loads((mean / "metrics.json").read_text())["temperature"]
    assert found.keys() == first.keys()
    assert not torch.equal(first["layer1.0.conv1.weight"], second["layer1.0.conv1.weight"])
    for name, tensor in found.items():
        expected = (first[name].float() + second[name].float()) / 2 / (scale if name.startswith(HEAD) else 1)
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.float(), expected, atol=1e-3, rtol=2e-3)


def test_it_is_a_finished_run_with_predictions_of_its_own(averaged, parquet):
    runs, mean = averaged
    summary = json.loads((mean / "metrics.json").read_text())
    predictions = pd.read_csv(mean / "predictions.csv")
    assert summary["test"]["pictures"] == len(predictions) == len(pd.read_csv(runs[0] / "predictions.csv"))
    assert summary["command"].startswith("python -m train average ")
    assert len(summary["averaged"]) == 2
    assert pd.read_csv(mean / "history.csv")["run"].tolist() == ["first", "second"]
    assert summary["time"]["seconds"] == round(sum(pd.read_csv(each / "history.csv")["seconds"].sum() for each in runs))
    model = Classifier.load(str(mean / "model"))
    assert model.uncertainty.unfamiliar_above is not None
    assert main(["uncertainty", str(mean), "--data", parquet]) == 0  # as of any run


def test_it_says_which_pictures_it_learnt_from(averaged):
    runs, mean = averaged
    assert training_ids.read(str(mean / "model")) == training_ids.read(str(runs[0] / "model"))


def test_card_and_results_say_that_the_weights_are_a_mean(averaged, tmp_path):
    _, mean = averaged
    assert "mean of those of 2 runs" in card.text_of(mean / "model")
    assert main(["compare", str(mean), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text()
    assert "the weights are the mean of those of `first` and `second`" in page
    assert "train average runs/first runs/second --data chehablab/PBC --out runs/mean" in page


def test_one_run_and_a_folder_that_exists_are_refused(averaged, parquet, tmp_path, capsys):
    runs, mean = averaged
    assert main(["average", str(runs[0]), "--data", parquet, "--out", str(tmp_path / "new")]) == 2
    assert "two runs" in capsys.readouterr().err
    assert main(["average", *map(str, runs), "--data", parquet, "--out", str(mean)]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["metrics.json", "split.csv"])
def test_runs_of_another_kind_or_another_split_are_refused(averaged, parquet, tmp_path, capsys, file):
    runs, _ = averaged
    other = tmp_path / "other"
    other.mkdir()
    for name in ("metrics.json", "split.csv"):
        (other / name).write_bytes((runs[1] / name).read_bytes())
    if file == "metrics.json":
        (other / file).write_text(json.dumps(json.loads((other / file).read_text()) | {"image_size": 64}))
    else:
        lines = (other / file).read_text().splitlines()
        (other / file).write_text("\n".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",test2"]) + "\n")
    assert main(["average", str(runs[0]), str(other), "--data", parquet, "--out", str(tmp_path / "new")]) == 2
    assert "another" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_its_commands_make_the_runs_that_it_averages_first():
    metrics = {
        "command": "python -m train average runs/a runs/b",
        "averaged": {"a": "python -m train vit_tiny", "b": "python -m train vit_tiny seed=1"},
        "sources": ["pbc", "jhu"],
        "device": "CPU, 1 threads",
    }
    data = "--data chehablab/PBC jhu=PLACE"
    assert commands(metrics, "split.csv", "mean") == [
        f"python -m train vit_tiny {data} --split results/split.csv --out runs/a",
        f"python -m train vit_tiny seed=1 {data} --split results/split.csv --out runs/b",
        f"python -m train average runs/a runs/b {data} --out runs/mean",
    ]
