"""What a metrics.json says: its measures in words, a measure with its interval, its laboratories, the command of the run."""

import json
from collections.abc import Mapping
from pathlib import Path

HOME, HUB_ID = "pbc", "chehablab/PBC"  # the laboratory of the study: its name as a source, its dataset on the Hub

MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "Cohen's kappa",
    "error_rate": "error rate",
    "macro_f1": "macro-F1",
    "ece": "expected calibration error",
    "nll": "negative log likelihood",
}

RENAMED = {"kept_epoch": "best_epoch", "candidates": "prediction_set"}  # keys of older files


def read_metrics(file: Path) -> dict:
    """A metrics.json, by today's keys. Raises OSError, ValueError."""
    return {RENAMED.get(key, key): value for key, value in json.loads(file.read_text()).items()}


def interval(measured: dict, key: str) -> str:
    """A measure with the limits of its interval, of the `test` or `validation` of a metrics.json."""
    return f"{measured[key]:.4f} ({measured[f'{key}_low']:.4f} to {measured[f'{key}_high']:.4f})"


def trained_on(metrics: Mapping) -> list[str]:
    """The laboratories whose pictures a model learnt from, by their names in train/sources; an older file is of PBC."""
    return list(metrics.get("sources") or metrics.get("test_by_source") or [HOME])


def places(metrics: Mapping) -> str:
    """What --data takes for these laboratories: PBC by its Hub id, SOURCE=PLACE for another."""
    return " ".join(HUB_ID if name == HOME else f"{name}=PLACE" for name in trained_on(metrics))


def split_name(metrics: Mapping) -> str:
    """The file in results/ that divides the pictures of these laboratories."""
    return "split.csv" if trained_on(metrics) == [HOME] else "split_laboratories.csv"


def commands(metrics: Mapping, split: str, name: str = "") -> list[str]:
    """The lines that make the run runs/NAME again on a machine of its kind; `split` is the file of its split in results/.

    The last one makes the run itself; before it, those of the runs whose weights it averages.
    """
    precision = metrics.get("mixed_precision", "no")
    asked_for = precision != "no" and metrics["device"].startswith("CPU")  # a GPU takes it by itself
    before, data = f"ACCELERATE_MIXED_PRECISION={precision} " * asked_for, f"--data {places(metrics)}"
    divided, out = f"--split results/{split}", f" --out runs/{name}" if name else ""
    if "averaged" not in metrics:
        return [f"{before}{metrics['command']} {data} {divided}{out}"]
    averaged = [f"{before}{line} {data} {divided} --out runs/{each}" for each, line in metrics["averaged"].items()]
    return [*averaged, f"{metrics['command']} {data}{out}"]  # it has the split of its runs
