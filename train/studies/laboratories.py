"""How right models are in each laboratory: python -m train laboratories MODEL... --data ... --split FILE."""

from pathlib import Path

import pandas as pd

from cells import pbc
from cells.model.classifier import Classifier
from train import data, options
from train.laboratories import measure


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("laboratories", "Measure models in laboratories that they learnt from, and in others.")
    options.add_models(parser, "results/laboratories.csv")
    chosen = parser.parse_args(arguments)
    dataset, split = data.load(chosen.data), pbc.read_split(chosen.split)
    rows = []
    for name in chosen.models:
        for row in measure(Classifier.load(name), dataset, split):
            rows.append({"model": Path(name).name} | row)
            print("  ".join(f"{key} {value}" for key, value in _rounded(rows[-1]).items()), flush=True)
    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.6g")
    return 0


def _rounded(row: dict) -> dict:
    return {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
