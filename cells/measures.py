"""The measures of a model, by their keys in metrics.json: their words, and how one is written with its interval."""

MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "Cohen's kappa",
    "error_rate": "error rate",
    "macro_f1": "macro-F1",
    "ece": "expected calibration error",
    "nll": "negative log likelihood",
}


def interval(measured: dict, key: str) -> str:
    """A measure with the limits of its interval, of the `test` or `validation` of a metrics.json."""
    return f"{measured[key]:.4f} ({measured[f'{key}_low']:.4f} to {measured[f'{key}_high']:.4f})"
