"""What a network has learnt apart from its head: python -m train probe MODEL... --split FILE.

A k-NN and a logistic regression are fitted on what the head is given (Caron et al. 2021 judge features so). Their one setting
is chosen on the validation part; the test part is scored once.
"""

from collections.abc import Iterator

import datasets
import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from cells.model.classifier import Classifier
from train import data, laboratories, options
from train.evaluation import head_inputs
from train.network import adapter

PARTS = ("train", "validation", "test")
K = (1, 5, 20, 50)
C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ITERATIONS = 1000


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("probe", "Fit a k-NN and a linear probe on the features of models.")
    options.add_models(parser, "results/probe.csv")
    chosen = parser.parse_args(arguments)
    dataset = data.load(chosen.data)
    parts = {part: data.part(dataset, chosen.split, part) for part in PARTS}
    rows = []
    for name in chosen.models:
        for row in measure(laboratories.load(name), parts):
            rows.append(row)
            print("  ".join(f"{key} {value:.5g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
            pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.5g")
    return 0


def measure(model: Classifier, parts: dict[str, datasets.Dataset]) -> Iterator[dict]:
    """A row for each probe of one model. Raises DataError, ModelError."""
    labelled = {part: data.label(rows, model.labels) for part, rows in parts.items()}
    size = adapter(model.network).input_size
    features = {part: head_inputs(model.network, data.decode(rows, size)) for part, rows in labelled.items()}
    labels = {part: np.array(rows["label"][:]) for part, rows in labelled.items()}
    for probe, candidates in probes().items():
        fitted = {setting: one.fit(features["train"], labels["train"]) for setting, one in candidates.items()}
        on_validation = {setting: _score(one, features, labels, "validation") for setting, one in fitted.items()}
        best = max(on_validation, key=lambda setting: on_validation[setting]["validation_balanced_accuracy"])
        yield {
            "model": model.name,
            "probe": probe,
            "setting": best,
            "features": features["train"].shape[1],
            **on_validation[best],
            **_score(fitted[best], features, labels, "test"),
        }


def probes() -> dict[str, dict[str, ClassifierMixin]]:
    """The candidates of each probe, by their setting."""
    return {
        "k-NN": {f"k={k}": make_pipeline(Normalizer(), KNeighborsClassifier(k, weights="distance")) for k in K},
        "linear": {f"C={c:g}": make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=ITERATIONS)) for c in C},
    }


def _score(probe: ClassifierMixin, features: dict[str, np.ndarray], labels: dict[str, np.ndarray], part: str) -> dict:
    predicted = probe.predict(features[part])
    return {
        f"{part}_pictures": len(predicted),
        f"{part}_accuracy": float((predicted == labels[part]).mean()),
        f"{part}_balanced_accuracy": float(balanced_accuracy_score(labels[part], predicted)),
    }
