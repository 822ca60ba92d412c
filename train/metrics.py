"""Predictions -> metrics. Everything derives from one table of predictions, so it can be computed again by anyone.

The table (predictions.csv) has a row per picture: image_id, label, subtype, prediction, p_<label>..., loss, distance (from the
training pictures, above 1 for an unfamiliar one; older runs have none). Its labels are the 8 types or the 13 subtypes, as the
run has it; whoever reads the table finds them in the names of its columns.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from cells.classes import BLAST
from cells.model.uncertainty import Uncertainty

RESAMPLES = 2000
P_BLAST = f"p_{BLAST.name}"
IG = "ig"
CALIBRATION_BINS = 15
SPECIFICITY = 0.95  # at which a sensitivity is given


class CellMetrics(evaluate.Metric):
    """The measures of cells.measures: accuracy, balanced accuracy, Cohen's kappa, error rate, macro-F1, ECE and NLL.

    `predictions` are probability vectors (n, classes), `references` label indices (n,). Each metric comes with
    the limits of its 95 % bootstrap interval, as NAME_low and NAME_high. Works offline: nothing is loaded from the Hub.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description="Metrics of the blood cell study, each with a 95 % bootstrap interval.",
            citation="",
            inputs_description="predictions: probabilities (n, classes); references: label indices (n,)",
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, resamples: int = RESAMPLES, seed: int = 42) -> dict[str, float]:
        probabilities, labels = np.asarray(predictions, dtype=np.float64), np.asarray(references)
        values = measure(probabilities, labels)
        rng = np.random.default_rng(seed)
        draws = (rng.integers(0, len(labels), len(labels)) for _ in range(resamples))
        resampled = pd.DataFrame([measure(probabilities[rows], labels[rows]) for rows in draws])
        for name in list(values):
            values[f"{name}_low"], values[f"{name}_high"] = np.nanpercentile(resampled[name], [2.5, 97.5])
        return {name: float(value) for name, value in values.items()}


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The measures of cells.measures, from probabilities (n, classes) and label indices (n,).

    Balanced accuracy and macro-F1 are means over the classes that occur among the labels.
    """
    predicted = probabilities.argmax(1)
    n_labels = probabilities.shape[1]
    confusion = np.bincount(labels * n_labels + predicted, minlength=n_labels**2).reshape(n_labels, n_labels)
    n, hits = confusion.sum(), confusion.diagonal()
    truths, calls = confusion.sum(1), confusion.sum(0)
    present = truths > 0
    accuracy = hits.sum() / n
    chance = (truths @ calls) / n**2
    return {
        "accuracy": accuracy,
        "balanced_accuracy": (hits[present] / truths[present]).mean(),
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else np.nan,
        "error_rate": 1 - accuracy,
        "macro_f1": (2 * hits[present] / (truths + calls)[present]).mean(),
        "ece": _calibration_error(probabilities.max(1), predicted == labels),
        "nll": -np.log(np.clip(probabilities[np.arange(n), labels], 1e-12, 1)).mean(),
    }


def recall_precision_f1(truth: Sequence[bool], called: Sequence[bool]) -> tuple[float, float, float]:
    """Of one class, from bool (n,) each: which pictures are of it, some at least, and which are called so."""
    truth, called = np.asarray(truth), np.asarray(called)
    hits, calls = (truth & called).sum(), called.sum()
    return hits / truth.sum(), hits / max(calls, 1), 2 * hits / (truth.sum() + calls)


def interval(values: np.ndarray, groups: Sequence | None = None, seed: int = 42) -> tuple[float, float]:
    """The limits of the 95 % bootstrap interval of the mean of (n,).

    With `groups` (n,), such as patients, a resample draws whole groups: pictures of one patient are alike.
    """
    _, units = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    sums, counts = np.bincount(units, values), np.bincount(units)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(sums), len(sums)) for _ in range(RESAMPLES))
    low, high = np.percentile([sums[rows].sum() / counts[rows].sum() for rows in draws], [2.5, 97.5])
    return float(low), float(high)


def _calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017)."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return np.abs(gaps).sum() / len(confidence)


def table(ids, truths, subtypes, probabilities: np.ndarray, labels: Sequence[str]) -> pd.DataFrame:
    """The table of predictions, from parallel sequences; truths are names, `labels` those of the columns of probabilities."""
    truth = np.array([labels.index(name) for name in truths])
    frame = pd.DataFrame({"image_id": ids, "label": truths, "subtype": subtypes})
    frame["prediction"] = [labels[index] for index in probabilities.argmax(1)]
    for index, name in enumerate(labels):
        frame[f"p_{name}"] = probabilities[:, index]
    frame["loss"] = -np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, 1))
    return frame


def labels_of(predictions: pd.DataFrame) -> list[str]:
    """The names behind `p_`, in the order of the columns."""
    return [column.removeprefix("p_") for column in predictions.columns if column.startswith("p_")]


def probabilities_of(predictions: pd.DataFrame) -> np.ndarray:
    """(n, classes) from a table of predictions."""
    return predictions[[f"p_{name}" for name in labels_of(predictions)]].to_numpy()


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Counts (classes, classes): rows are labels, columns predictions, both in the order of the table's columns."""
    labels = labels_of(predictions)
    counts = pd.crosstab(predictions["label"], predictions["prediction"])
    return counts.reindex(index=labels, columns=labels, fill_value=0)


def summarise(predictions: pd.DataFrame) -> dict:
    """The metrics with their intervals, recall per class, the confusion matrix and the errors between subtypes."""
    labels = labels_of(predictions)
    references = [labels.index(label) for label in predictions["label"]]
    metric = CellMetrics(keep_in_memory=True)
    measured = metric.compute(predictions=probabilities_of(predictions).tolist(), references=references)
    counts = confusion(predictions)
    right = predictions["label"] == predictions["prediction"]
    kinds = predictions["subtype"].replace("", np.nan)
    of_kind = predictions.assign(subtype=kinds.fillna(predictions["label"]))  # not every laboratory has subtypes
    errors = of_kind[~right].groupby(["subtype", "prediction"]).size().sort_values(ascending=False, kind="stable")
    return {
        "pictures": len(predictions),
        **measured,
        "recall": {label: one["recall"] for label, one in recall(predictions).items()},
        "recall_by_subtype": right.groupby(kinds).mean().to_dict(),
        "confusion": {label: counts.loc[label].tolist() for label in labels},
        "errors_by_subtype": [
            {"subtype": subtype, "prediction": prediction, "count": int(count)}
            for (subtype, prediction), count in errors.items()
        ],
    }


def recall(predictions: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Of each class that is among the labels, in the order of the columns: its number of pictures, its recall."""
    right = (predictions["label"] == predictions["prediction"]).groupby(predictions["label"])
    return {
        label: {"pictures": int(right.size()[label]), "recall": float(right.mean()[label])}
        for label in labels_of(predictions)
        if label in right.groups
    }


def review(predictions: pd.DataFrame, rule: Uncertainty) -> dict[str, float]:
    """The share of pictures that get the status `review`, and the share of the errors among them."""
    return {"below": rule.lowest, **_share_and_caught(predictions, needs_review(predictions, rule))}


def needs_review(predictions: pd.DataFrame, rule: Uncertainty) -> np.ndarray:
    """(n,) of bool: the pictures that get the status `review`."""
    return rule.needs_person(probabilities_of(predictions), labels_of(predictions)) & ~_is_unfamiliar(predictions)


def blasts(predictions: pd.DataFrame, rule: Uncertainty, pictures: pd.DataFrame) -> dict | None:
    """How well suspected blasts are blasts, in the laboratories that have some: per cell, and per patient with one at least.

    Also without the immature granulocytes: in a patient with leukaemia many of these are leukaemic too. `others` are the
    laboratories without a blast: how many of their cells are suspected. Intervals of the cells are over patients. `pictures`
    says source and group of each image_id. None where no blast is suspected, or no picture shows one.
    """
    if rule.blast_from is None or BLAST.name not in set(predictions["label"]):
        return None
    rows = predictions.merge(pictures, on="image_id", how="left").assign(
        truth=lambda rows: rows["label"] == BLAST.name, suspected=lambda rows: rule.suspects_blast(rows[P_BLAST])
    )
    has_blasts = rows["source"].isin(rows.loc[rows["truth"], "source"])
    others, rows = rows[~has_blasts], rows[has_blasts]
    patients = rows.groupby("group")[["truth", "suspected"]].any()
    but_ig = rows[rows["label"] != IG]
    return {
        "threshold": rule.blast_from,
        "cells": _of_cells(rows),
        "cells_but_ig": _of_cells(but_ig),
        "patients": _detected(patients),
        "others": {name: _suspected(of) for name, of in others.groupby("source", sort=False)},
    }


def sensitivity_at(specificity: float, positive: np.ndarray, scores: np.ndarray) -> float:
    """The share of the positive ones of (n,) whose score is above that of so large a share of the others."""
    return float((scores[positive] > np.quantile(scores[~positive], specificity)).mean())


def _suspected(rows: pd.DataFrame) -> dict[str, int]:
    return {"pictures": len(rows), "suspected": int(rows["suspected"].sum())}


def _of_cells(rows: pd.DataFrame) -> dict[str, object]:
    """_detected() with intervals; by the probability of a blast, the area under the curve and the sensitivity at SPECIFICITY.

    The last three are None where all cells are blasts.
    """
    truth, scores = rows["truth"].to_numpy(), rows[P_BLAST].to_numpy()
    found = _detected(rows) | {"sensitivity_interval": _over_patients(rows[truth], rows["suspected"][truth])}
    if truth.all():
        return found | {"specificity_interval": None, "auc": None, "sensitivity_at_95": None}
    return found | {
        "specificity_interval": _over_patients(rows[~truth], ~rows["suspected"][~truth]),
        "auc": float(roc_auc_score(truth, scores)),
        "sensitivity_at_95": sensitivity_at(SPECIFICITY, truth, scores),
    }


def _over_patients(rows: pd.DataFrame, right: pd.Series) -> list[float]:
    return list(interval(right.to_numpy(), rows["group"].to_numpy()))


def _detected(rows: pd.DataFrame) -> dict[str, float | None]:
    truth, suspected = rows["truth"], rows["suspected"]
    return {
        "sensitivity": float(suspected[truth].mean()),
        "specificity": None if truth.all() else float((~suspected[~truth]).mean()),
        "n_blast": int(truth.sum()),
        "n_other": int((~truth).sum()),
    }


def unfamiliar(predictions: pd.DataFrame) -> dict[str, float] | None:
    """The same of the status `unfamiliar`; None where no distance was measured."""
    return _share_and_caught(predictions, _is_unfamiliar(predictions)) if "distance" in predictions else None


def _is_unfamiliar(predictions: pd.DataFrame) -> np.ndarray:
    distances = predictions.get("distance", pd.Series(0.0, predictions.index))
    return ~(distances <= 1).to_numpy()


def _share_and_caught(predictions: pd.DataFrame, chosen: np.ndarray) -> dict[str, float]:
    wrong = (predictions["label"] != predictions["prediction"]).to_numpy()
    return {"share": float(chosen.mean()), "caught": float(chosen[wrong].mean()) if wrong.any() else 1.0}


def prediction_set(predictions: pd.DataFrame, rule: Uncertainty) -> dict[str, float] | None:
    """The share of prediction sets that hold the label, and their mean size; None without a threshold."""
    if rule.candidate_from is None:
        return None
    kept = rule.prediction_sets(probabilities_of(predictions))
    labels = [labels_of(predictions).index(label) for label in predictions["label"]]
    coverage = kept[np.arange(len(kept)), labels].mean()
    return {"from": rule.candidate_from, "coverage": float(coverage), "mean_size": float(kept.sum(1).mean())}
