"""The study's commands beside training: the comparison of runs, the learning-rate range test, the speed of networks."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from cells.measures import read_metrics
from train import figures
from train.__main__ import main
from train.studies import compare, lr_finder

ROOT = Path(__file__).resolve().parent.parent
RUNS = sorted(path.parent.name for path in (ROOT / "results").glob("*/metrics.json"))


def test_the_results_page_is_what_the_command_writes(tmp_path):
    out = tmp_path / "results"
    shutil.copytree(ROOT / "results", out)
    (out / "README.md").unlink()
    page = (ROOT / "results" / "README.md").read_text()
    order = sorted(RUNS, key=lambda name: page.index(f"\n## {name}\n"))
    assert main(["compare", *(str(out / name) for name in order), "--out", str(out)]) == 0
    assert (out / "README.md").read_text() == page


@pytest.mark.parametrize("name", RUNS)
def test_the_shares_of_the_types_that_go_to_a_person_make_up_that_of_all(name):
    summary = read_metrics(ROOT / "results" / name / "metrics.json")
    predictions = pd.read_csv(ROOT / "results" / name / "predictions.csv")
    rows = [row.strip("| ").split(" | ") for row in compare._types(predictions, summary)]
    sent = sum(int(row[1]) * float(row[-1].strip("%")) / 100 for row in rows)
    assert sent / len(predictions) == pytest.approx(summary["review"]["share"], abs=0.001)


def test_a_page_reads_the_keys_of_older_and_of_newer_runs(tmp_path):
    pages = []
    for folder in ("older", "newer"):
        run = shutil.copytree(ROOT / "results" / "resnet18_scratch", tmp_path / folder / "resnet18_scratch")
        if folder == "newer":
            text = (run / "metrics.json").read_text()
            assert '"kept_epoch"' in text
            text = text.replace('"kept_epoch"', '"best_epoch"').replace('"candidates"', '"prediction_set"')
            (run / "metrics.json").write_text(text)
        assert main(["compare", str(run), "--out", str(run.parent)]) == 0
        pages.append((run.parent / "README.md").read_text())
    assert pages[0] == pages[1]
    assert "epoch 27 of 30" in pages[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [("challenge", "ood_eval"), ("exported", "onnx_check"), ("rates", "lr_finder"), ("trust", "uncertainty")],
)
def test_the_old_names_of_commands_still_work_and_are_not_shown(old, new, capsys):
    with pytest.raises(SystemExit) as ended:
        main([old, "--help"])
    assert ended.value.code == 0
    assert f"usage: python -m train {new} " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out.split("Other commands:")[1]
    assert new in shown
    assert old not in shown


def test_the_theses_rows_stand_before_ours_of_the_same_network():
    summaries = {name: json.loads((ROOT / "results" / name / "metrics.json").read_text()) for name in RUNS}
    rows = compare._table(summaries)
    names = [row.split("|")[1].strip() for row in rows]
    thesis, ours = names.index("ResNet18, thesis"), sum(name.startswith("resnet18_") for name in RUNS)
    assert all(name.startswith("[resnet18_") for name in names[thesis + 1 : thesis + 1 + ours])
    assert "| ViT-Large, thesis | 0.95 | 0.96 | 0.95 | 0.03 | | | 224 px | |" in rows
    assert len(rows) == 4 + len(RUNS)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder, as `train` leaves it, made from a collected one."""
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(ROOT / "results" / RUNS[0], folder)
    (folder / "figures").mkdir()
    for name in ("confusion", *figures.PICTURED):
        Image.new("RGB", (8, 8)).save(folder / "figures" / f"{name}.png")
    (folder / "split.csv").write_text("image_id,split\nBA_1,train\n")
    return folder


def test_no_picture_of_the_dataset_is_collected(run, tmp_path):
    out = tmp_path / "out"
    assert main(["compare", str(run), "--out", str(out)]) == 0
    assert {path.name for path in (out / "mine").iterdir()} == {*compare.KEPT, "confusion.png", "split.csv"}
    page = (out / "README.md").read_text()
    assert "--split results/mine/split.csv" in page
    assert "speed" not in page.split("## mine")[0].split("## Time")[1]  # nothing was measured
    assert Image.open(out / "accuracy_and_time.png").size[0] > 300


def test_a_figure_that_several_runs_share_is_kept_once(run, tmp_path):
    shutil.copytree(run, run.with_name("same"))
    assert main(["compare", str(run), str(run.with_name("same")), "--out", str(tmp_path / "out")]) == 0
    assert [path.parent.name for path in (tmp_path / "out").glob("*/confusion.png")] == ["mine"]


def test_measured_speeds_and_notes_are_on_the_page(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    command = ["speed", "vit_tiny_scratch", "--size", "32", "--batch", "4", "--steps", "2"]
    assert main([*command, "--out", str(out / "speed.csv")]) == 0
    (out / "speed.md").write_text("What it means.")
    assert main(["compare", str(run), "--out", str(out)]) == 0
    measured = pd.read_csv(out / "speed.csv").iloc[0]
    assert measured["slowest"] <= measured["images_per_second"] <= measured["fastest"]
    assert 0 < measured["data_share"] < 1
    assert measured["peak_memory_mb"] > 100
    page = (out / "README.md").read_text()
    assert f"| vit_tiny, patches of 16 | 5.5 million | {measured['images_per_second']:.2f} |" in page
    assert "What it means." in page
    assert f"python -m train {' '.join(command)}" in page


def test_figures_of_laboratories_are_on_the_page(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    row = {"model": "resnet18", "laboratory": "seoul", "trained": False, "pictures": 417, "accuracy": 0.5}
    row |= {"balanced_accuracy": 0.4, "five_accuracy": None, "ece": 0.12, "ok_share": 0.25, "ok_right": 0.75}
    row |= {"accuracy_low": 0.25, "accuracy_high": 0.75}
    pd.DataFrame([row | {"groups": 0}, row | {"laboratory": "jhu", "groups": 70}]).to_csv(out / "laboratories.csv", index=False)
    measured = json.loads((run / "metrics.json").read_text())
    left_out = {"name": "jhu", "role": "left out", "split": "all", "pictures": 10000, "accuracy": 0.8, "five_types": 0.9}
    (run / "metrics.json").write_text(json.dumps(measured | {"laboratories": [left_out]}))
    assert main(["compare", str(run), "--out", str(out)]) == 0
    page = (out / "README.md").read_text()
    assert "| `resnet18` | seoul | never seen | 417 | 0.5000 (0.2500 to 0.7500) | 0.4000 |  | 0.1200 | 25.0% | 75.0% |" in page
    assert "| 0.5000 (0.2500 to 0.7500, 70 groups) |" in page
    assert "| `mine` | jhu | left out | 10,000 | 0.8000 |  | 0.9000 |  |  |  |" in page


def test_figures_of_the_batchs_statistics_are_on_the_page(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    row = {"model": "tiny", "laboratory": "chula", "trained": False, "pictures": 1509, "unfamiliar_share": 0.875, "used": True}
    rows = [row | {"weight": weight, "five_accuracy": weight, "accuracy": 0.25} for weight in (0.0, 0.5)]
    pd.DataFrame(rows).to_csv(out / "batch_statistics.csv", index=False)
    (out / "batch_statistics.md").write_text("What it means.")
    assert main(["compare", str(run), "--out", str(out)]) == 0
    page = (out / "README.md").read_text()
    assert "| used | 0 | 0.5 |" in page
    assert "| `tiny` | chula | never seen | 1,509 | 87.5% | yes | 0.0000 (0.2500) | 0.5000 (0.2500) |" in page
    assert "What it means." in page


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 2
    assert "is no finished run" in capsys.readouterr().err


def test_range_test_leaves_its_curve(parquet, tmp_path, capsys):
    values = ["image_size=32", "growth=()", "batch_size=16"]
    command = ["lr_finder", "resnet18_scratch", *values, "--data", parquet, "--steps", "12", "--out", str(tmp_path)]
    assert main(command) == 0
    curve = pd.read_csv(tmp_path / "rates.csv")
    assert curve["rate"].is_monotonic_increasing
    assert curve["rate"].iloc[0] == pytest.approx(lr_finder.LOWEST)
    assert Image.open(tmp_path / "rates.png").size[0] > 300
    assert "falls fastest at" in capsys.readouterr().out


def test_steepest_lies_where_the_loss_falls_fastest():
    rate = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    curve = pd.DataFrame({"rate": rate, "smoothed": [2.0, 1.9, 1.2, 0.8, 3, 1]})
    assert lr_finder.steepest(curve) == 1e-3
