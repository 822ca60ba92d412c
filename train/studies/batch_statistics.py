"""What the statistics of a laboratory's own pictures change: python -m train batch_statistics MODEL_OR_RUN... --split FILE."""

import os
from collections.abc import Iterator
from pathlib import Path

import datasets
import pandas as pd

from cells import pbc
from cells.model.batch_statistics import WEIGHT, adapted, is_unlike, sample
from cells.model.classifier import Classifier
from train import backend, data, laboratories, options

WEIGHTS = (0.0, 0.2, WEIGHT, 0.7)  # at 0 the model answers as it is loaded
KEY = ["model", "laboratory"]


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser(
        "batch_statistics",
        "Measure models with batch-norm statistics that are moved towards those of each laboratory's pictures, whether "
        "the command line would move them or not. Rows of other models and laboratories in FILE stay.",
    )
    options.add_models(parser, "results/batch_statistics.csv")
    chosen = parser.parse_args(arguments)
    dataset, split = data.load(chosen.data), pbc.read_split(chosen.split)
    for name in chosen.models:
        for rows in measure(laboratories.load(name), dataset, split):
            for row in rows:
                words = (
                    f"unfamiliar {row['unfamiliar_share']:6.1%}  weight {row['weight']}  five types {row['five_accuracy']:.4f}"
                )
                print(f"{row['model']:20s} {row['laboratory']:8s} {words}", flush=True)
            _write(pd.DataFrame(rows), chosen.out)
    return 0


def measure(classifier: Classifier, dataset: datasets.Dataset, split: dict[str, str]) -> Iterator[list[dict]]:
    """For each laboratory of the dataset a row for each of WEIGHTS, of the pictures that laboratories.parts() names.

    `used`: whether for_batch() would move the statistics. Raises DataError.
    """
    for name, is_trained, rows in laboratories.parts(classifier, dataset, split):
        predictions = backend.predict(classifier, rows)
        statuses = [prediction.status for prediction in predictions]
        as_loaded = laboratories.figures(predictions, rows)
        chosen = sample(backend.sources(rows))
        moved = {weight: adapted(classifier, chosen, weight) for weight in WEIGHTS if weight}
        known = {
            "model": classifier.name,
            "laboratory": name,
            "trained": is_trained,
            **{key: as_loaded[key] for key in ("pictures", "unfamiliar_share")},
            "used": is_unlike(sample(statuses)) and moved[WEIGHT] is not classifier,
        }
        found = []
        for weight in WEIGHTS:
            figures = laboratories.figures(backend.predict(moved[weight], rows), rows) if weight else as_loaded
            kept = ("accuracy", "balanced_accuracy", "five_pictures", "five_accuracy", "five_balanced")
            found.append(known | {"weight": weight} | {key: figures.get(key) for key in kept})
        yield found


def _write(rows: pd.DataFrame, file: Path) -> None:
    """Put the rows of one laboratory into the file, in the place of earlier ones, by a whole file."""
    if file.exists():
        earlier = pd.read_csv(file, dtype={"model": str}, keep_default_na=False)
        rows = pd.concat([earlier[~(earlier[KEY] == rows.iloc[0][KEY]).all(axis=1)], rows])
    unfinished = file.with_name(f"{file.name}.part")
    rows.to_csv(unfinished, index=False, float_format="%.6g")
    os.replace(unfinished, file)
