"""What a metrics.json says: its measures in words, a measure with its interval, the command of the run."""

import json
from pathlib import Path

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


def command(metrics: dict) -> str:
    """The line that makes the run again on a machine of its kind, but for its data."""
    precision = metrics.get("mixed_precision", "no")
    asked_for = precision != "no" and metrics["device"].startswith("CPU")  # a GPU takes it by itself
    return f"ACCELERATE_MIXED_PRECISION={precision} {metrics['command']}" if asked_for else metrics["command"]
