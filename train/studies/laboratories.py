"""How right models are in each laboratory: python -m train laboratories MODEL... --data ... --split FILE."""

import pandas as pd

from train import options
from train.laboratories import measure, rows_of_models


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("laboratories", "Measure models in laboratories that they learnt from, and in others.")
    options.add_models(parser, "results/laboratories.csv")
    chosen = parser.parse_args(arguments)
    pd.DataFrame(rows_of_models(chosen, measure)).to_csv(chosen.out, index=False, float_format="%.6g")
    return 0
