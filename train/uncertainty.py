"""A finished network's rule of trust, fitted on its run's own pictures: python -m train trust RUN.

What is familiar comes from training pictures, every threshold from validation pictures.
"""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf

from cells import pbc
from cells.model.classifier import Classifier
from cells.model.folder import UNCERTAINTY_FILE
from cells.model.uncertainty import Familiar, Uncertainty
from cells.read.images import ImageError
from train import data, metrics

# Of validation cells:
UNFAMILIAR_SHARE = 0.01  # called unfamiliar though they are not
REVIEW_SHARE = 0.04  # sent to a person; more would tire the person who looks
COVERAGE = 0.99  # whose type is among the candidates


def fit(run: Path, dataset: datasets.Dataset, parts: list[str]) -> None:
    """Write the rule into RUN/model, then what the whole says of held-out pictures: validation.csv and predictions.csv.

    `dataset` is labelled, `parts` has the part of each row. All through the Classifier that users get. Raises DataError.
    """
    folder = run / "model"
    parts = np.array(parts)
    subsets = {part: dataset.select(np.flatnonzero(parts == part)) for part in pbc.PARTS}
    classifier = Classifier.load(folder)
    _, features = _measure(classifier, subsets["train"])
    familiar = fit_familiar(features, np.array(subsets["train"]["label"][:]))
    probabilities, features = _measure(classifier, subsets["validation"])
    labels = np.array(subsets["validation"]["label"][:])
    fit_thresholds(probabilities, labels, familiar, familiar.distance(features)).save(folder / UNCERTAINTY_FILE)
    classifier = Classifier.load(folder)
    for part, name in (("validation", "validation.csv"), ("test", "predictions.csv")):
        _predict(classifier, subsets[part]).to_csv(run / name, index=False, float_format="%.6g")


def refit(run: Path, dataset: datasets.Dataset) -> None:
    """The same for a finished run, on the pictures of its split. Raises DataError."""
    given = pbc.read_split(run / "split.csv")
    dataset = data.label(dataset, Classifier.load(run / "model").labels)
    ids = dataset["image_id"][:]
    missing = len(given.keys() - set(ids))
    if missing:
        raise pbc.DataError(f"{missing} pictures of {run} are not among the data; give --data what the run was made with.")
    rows = [row for row, image_id in enumerate(ids) if image_id in given]
    fit(run, dataset.select(rows), [given[ids[row]] for row in rows])


def fit_familiar(features: np.ndarray, labels: np.ndarray) -> Familiar:
    """From features (n, width) of training pictures and their labels (n,), which begin at 0 and leave none out.

    The covariance is that within classes, shrunk towards equal variances as far as the number of pictures asks for (Ledoit &
    Wolf 2004). Stored as float16 where that moves no distance by a thousandth; in float32 a distance is computed.
    """
    centre, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    scaled = (features - centre) / scale
    means = np.stack([scaled[labels == label].mean(0) for label in range(labels.max() + 1)])
    covariance, _ = ledoit_wolf(scaled - means[labels], assume_centered=True)
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float16)
    return Familiar(centre, scale, whitening, means @ whitening.astype(np.float32))


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray, familiar: Familiar, distances: np.ndarray) -> Uncertainty:
    """From probabilities (n, classes), labels (n,) and distances (n,) of validation cells."""
    own = np.sort(probabilities[np.arange(len(labels)), labels])
    # The split-conformal quantile: one cell more than there are, so that the promise holds for the next one.
    left_out = int(np.floor((len(labels) + 1) * (1 - COVERAGE))) - 1
    return Uncertainty(
        review_below=float(np.quantile(probabilities.max(1), REVIEW_SHARE)),
        candidate_from=float(own[left_out]) if left_out >= 0 else 0.0,  # so few cells promise nothing: all are candidates
        unfamiliar_above=float(np.quantile(distances, 1 - UNFAMILIAR_SHARE)),
        familiar=familiar,
    )


def _sources(rows: datasets.Dataset) -> list[bytes | str]:
    return [pbc.source_of(one) for one in rows["image"][:]]


def _measure(classifier: Classifier, rows: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    try:
        return classifier.measure(_sources(rows))
    except ImageError as error:
        raise pbc.DataError(f"a picture cannot be read: {error}") from None


def _predict(classifier: Classifier, rows: datasets.Dataset) -> pd.DataFrame:
    predictions = list(classifier.predict(_sources(rows), rows["image_id"][:]))
    truths = [classifier.labels[label] for label in rows["label"][:]]
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    table = metrics.table(rows["image_id"][:], truths, rows["cell_subtype"][:], probabilities, classifier.labels)
    return table.assign(distance=[prediction.distance for prediction in predictions])
