"""How right a model is in one laboratory: the figures of laboratories.csv and of a card's table.

A laboratory that a model has learnt from is measured on the validation part of the split, any other on all of its pictures
but those of the test part, which is never read.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
from sklearn.metrics import roc_auc_score

from cells import pbc
from cells.classes import BLAST, SMUDGE
from cells.model.classifier import Classifier
from cells.model.prediction import Prediction
from cells.model.uncertainty import OK, UNFAMILIAR
from train import backend, data, metrics

FIVE = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")  # the types that every laboratory tells apart
ABNORMAL = (BLAST.name, SMUDGE.name)

Measured = Callable[[Classifier, datasets.Dataset, dict[str, str]], Iterator[dict]]


def load(model_or_run: str) -> Classifier:
    """A model; of a run folder, or of its `model`, that model with the name of the run. Raises ModelError."""
    place = Path(model_or_run)
    run = place.parent if place.name == "model" else place
    return Classifier.load(run / "model", run.name) if (run / "model").is_dir() else Classifier.load(model_or_run)


def rows_of_models(chosen: Namespace, measured: Measured) -> list[dict]:
    """What is measured of each of the `models` of a call, on its `data` and `split`; a row is printed as it comes."""
    dataset, split = data.load(chosen.data), pbc.read_split(chosen.split)
    rows = []
    for name in chosen.models:
        classifier = load(name)
        for row in measured(classifier, dataset, split):
            rows.append({"model": classifier.name} | row)
            print("  ".join(f"{key} {value}" for key, value in _rounded(rows[-1]).items()), flush=True)
    return rows


def _rounded(row: dict) -> dict:
    return {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}


def measure(classifier: Classifier, dataset: datasets.Dataset, split: dict[str, str]) -> Iterator[dict]:
    """A row for each laboratory of the dataset: see figures() and limits(). Raises DataError."""
    for name, is_trained, rows in parts(classifier, dataset, split):
        predictions = backend.predict(classifier, rows)
        yield {"laboratory": name, "trained": is_trained} | figures(predictions, rows) | limits(predictions, rows)


def parts(
    classifier: Classifier, dataset: datasets.Dataset, split: dict[str, str]
) -> Iterator[tuple[str, bool, datasets.Dataset]]:
    """(laboratory, whether the model has learnt from it, the pictures on which the model is measured). Raises DataError."""
    if not set(FIVE) <= set(classifier.labels):
        raise pbc.DataError(f"{classifier.folder} does not name the cell types; laboratories are compared by them.")
    trained = set(data.sources_of(classifier.folder))
    for name in dict.fromkeys(dataset["source"][:]):
        rows = data.of_laboratory(dataset, split, name, None if name not in trained else "validation")
        if len(rows):
            yield name, name in trained, rows


def figures(predictions: Sequence[Prediction], rows: datasets.Dataset) -> dict[str, float]:
    """Of predictions of labelled rows.

    `accuracy`, `balanced_accuracy`, `ece`, `ok_right` are of the pictures whose class the model knows; `five_...` are among the
    five types alone, whatever else the model might have answered. `blasts_ok`: the share of the blasts that are called `ok`.
    """
    labels = list(predictions[0].labels)
    truths = np.array(rows["cell_type"][:])
    probabilities = np.stack([one.probabilities for one in predictions])
    statuses = np.array([one.status for one in predictions])
    known = np.isin(truths, labels)
    indices = np.array([labels.index(truth) if truth in labels else -1 for truth in truths])
    ok = statuses == OK
    found = scores(probabilities[known], indices[known], ok[known])
    found["unfamiliar_share"] = (statuses[known] == UNFAMILIAR).mean()
    return found | among(FIVE, truths, probabilities, labels) | _abnormal(truths, probabilities, labels, ok)


def limits(predictions: Sequence[Prediction], rows: datasets.Dataset) -> dict[str, float]:
    """The 95 % bootstrap interval of `accuracy`, over the `groups` (patients, slides) where they are known, else pictures."""
    answers = zip(predictions, rows["cell_type"][:], rows["group"][:], strict=True)
    known = [(one.label == truth, group) for one, truth, group in answers if truth in one.labels]
    right, groups = zip(*known, strict=True)
    grouped = all(groups) and len(set(groups)) < len(groups)
    low, high = metrics.interval(np.array(right), groups if grouped else None)
    return {"accuracy_low": low, "accuracy_high": high, "groups": len(set(groups)) if grouped else 0}


def scores(probabilities: np.ndarray, labels: np.ndarray, ok: np.ndarray) -> dict[str, float]:
    """Of probabilities (n, classes), label indices (n,), and which of the n are called ok."""
    measured = metrics.measure(probabilities, labels)
    right = probabilities.argmax(1) == labels
    return {
        "pictures": len(labels),
        **{key: measured[key] for key in ("accuracy", "balanced_accuracy", "ece")},
        "ok_share": ok.mean(),
        "ok_right": right[ok].mean() if ok.any() else np.nan,
    }


def among(types: Sequence[str], truths: np.ndarray, probabilities: np.ndarray, labels: list[str]) -> dict[str, float]:
    """Where only these types may be answered."""
    kept = np.isin(truths, types)
    if not kept.any():
        return {}
    columns = [labels.index(name) for name in types]
    measured = metrics.measure(probabilities[kept][:, columns], np.array([types.index(truth) for truth in truths[kept]]))
    return {
        "five_pictures": int(kept.sum()),
        "five_accuracy": measured["accuracy"],
        "five_balanced": measured["balanced_accuracy"],
    }


def _abnormal(truths: np.ndarray, probabilities: np.ndarray, labels: list[str], ok: np.ndarray) -> dict[str, float]:
    """Of a laboratory with blasts: how many are called ok; of a model that knows them: how well it tells them from the rest."""
    found = {}
    blasts = truths == BLAST.name
    if blasts.any():
        found |= {"blasts": int(blasts.sum()), "blasts_ok": ok[blasts].mean()}
    for name in ABNORMAL:
        positive = truths == name
        if name in labels and positive.any() and not positive.all():
            scores = probabilities[:, labels.index(name)]
            found[f"{name}_auc"] = roc_auc_score(positive, scores)
            found[f"{name}_sensitivity_at_95"] = metrics.sensitivity_at(metrics.SPECIFICITY, positive, scores)
    return found


def card_row(measured: dict) -> dict:
    """A row of measure() as the card's table has it (docs/training.md)."""
    role, split = ("trained", "validation") if measured["trained"] else ("measured", "all")
    return card_row_of(measured["laboratory"], role, split, measured)


def card_row_of(name: str, role: str, split: str, measured: dict) -> dict:
    """A row of the card's table, from scores() and among()."""
    names = {"five_types": "five_accuracy", "ok_correct": "ok_right"}
    keys = ("accuracy", "balanced_accuracy", "five_types", "ece", "ok_share", "ok_correct")
    found = {key: measured.get(names.get(key, key)) for key in keys}
    return {"name": name, "role": role, "split": split, "pictures": measured["pictures"]} | {
        key: None if value is None or np.isnan(value) else float(value) for key, value in found.items()
    }
