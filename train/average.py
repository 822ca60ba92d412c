"""One model from several finished runs, with the mean of their weights: python -m train average RUN RUN... [--out NEW].

Runs that carried on from the same model lie in one basin of the loss, and the mean of their weights is often better than any of
them, above all on pictures of another laboratory (Wortsman et al. 2022).
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch

from cells import pbc
from cells.measures import read_metrics
from train import data, finalize, network, options, report, training_ids, uncertainty
from train.batches import Pictures
from train.report import RunError

SHARED = ("architecture", "image_size", "sources")  # facts of metrics.json that the runs are to have in common
OF_THE_FIRST = ("best_epoch", "left_out", "laboratories", *report.OF_SEVERAL)  # its facts that do not hold for an average


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("average", "Average the weights of finished runs of one split into a new finished run.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs that carried on from the same model")
    options.add_data(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/average"), metavar="NEW", help="the new run folder (default %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    check(chosen.runs, chosen.out)
    average(chosen.runs, data.load(chosen.data), chosen.out)
    report.show(chosen.out)
    return 0


def check(runs: Sequence[Path], out: Path) -> None:
    """Raises RunError where runs cannot be averaged, or where the new folder is there already."""
    report.check_finished(list(runs))
    if len(runs) < 2:
        raise RunError("an average needs two runs at least.")
    if out.exists():
        raise RunError(f"{out} exists; give another --out, or remove it.")
    first, *others = ({key: read_metrics(run / "metrics.json").get(key) for key in SHARED} for run in runs)
    for run, facts in zip(runs[1:], others, strict=True):
        if different := [key for key in SHARED if facts[key] != first[key]]:
            raise RunError(f"{run} has another {different[0]} than {runs[0]}; an average needs runs of one kind.")
        if pbc.read_split(run / "split.csv") != pbc.read_split(runs[0] / "split.csv"):
            raise RunError(f"{run} has another split than {runs[0]}: the average would be tested on pictures it learnt from.")


def average(runs: Sequence[Path], dataset: datasets.Dataset, run: Path) -> None:
    """Write the run folder of the mean: calibrated weights, and all that a run writes after training. Raises DataError."""
    run.mkdir(parents=True)
    for name in ("recipe.json", "split.csv"):
        shutil.copyfile(runs[0] / name, run / name)
    histories = pd.concat([pd.read_csv(each / "history.csv").assign(run=each.resolve().name) for each in runs])
    histories.assign(epoch=range(1, len(histories) + 1)).to_csv(run / "history.csv", index=False)
    models, folder = [each / "model" for each in runs], run / "model"
    shutil.copytree(models[0], folder, ignore=shutil.ignore_patterns("onnx", "figures", "*.md"))
    training_ids.merge(folder, map(str, models))
    rows, parts = uncertainty.rows_of(run, dataset, pbc.read_split(run / "split.csv"))
    mean, validation = network.average(models), rows.select(np.flatnonzero(np.array(parts) == "validation"))
    pixels = data.decode(validation, network.adapter(mean).input_size)
    temperature = finalize.calibrate(mean, {"validation": Pictures(pixels, torch.tensor(validation["label"][:]))})
    network.export(mean, folder)
    facts = uncertainty.fit(run, rows, parts)
    report.write(run, _facts(runs) | facts | {"temperature": round(temperature, 4)}, dataset)


def _facts(runs: Sequence[Path]) -> dict:
    """Those of the first run, but for what an average has of its own."""
    summaries = {each.resolve().name: read_metrics(each / "metrics.json") for each in runs}
    first = next(iter(summaries.values()))
    facts = {key: value for key, value in first.items() if key not in (*report.DERIVED, *OF_THE_FIRST)}
    return facts | {
        "command": " ".join(["python -m train average", *(f"runs/{name}" for name in summaries)]),
        "batch_norm_recomputed": False,  # the statistics are averaged as well
        "averaged": {name: summary["command"] for name, summary in summaries.items()},
        "date": time.strftime("%Y-%m-%d"),
    }
