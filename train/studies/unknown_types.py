"""What models say of cells of a type that they do not know: python -m train unknown_types MODEL... --data ... --split FILE.

Such a cell gets a wrong name. What matters is whether it is called `ok`, and whether it is suspected to be a blast.
"""

from collections import Counter
from collections.abc import Iterator

import datasets
import numpy as np
import pandas as pd

from cells import pbc
from cells.classes import BLAST
from cells.model.classifier import Classifier
from cells.model.uncertainty import OK, UNFAMILIAR
from train import backend, data, options
from train.laboratories import rows_of_models

SHOWN_ANSWERS = 3


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser(
        "unknown_types", "Measure what models say of the labelled cells of --data whose type they do not know."
    )
    options.add_models(parser, "results/unknown_types.csv")
    chosen = parser.parse_args(arguments)
    rows = rows_of_models(chosen, measure)
    if not rows:
        raise pbc.DataError("--data has no labelled cell of a type that the models do not know.")
    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.5g")
    return 0


def measure(classifier: Classifier, dataset: datasets.Dataset, split: dict[str, str]) -> Iterator[dict]:
    """A row per laboratory and type: see figures(). Pictures of the test part are not read. Raises DataError."""
    for laboratory, cell_type in sorted(set(zip(dataset["source"][:], dataset["cell_type"][:], strict=True))):
        if cell_type and cell_type not in classifier.labels:
            rows = data.of_laboratory(dataset, split, laboratory, None, (cell_type,))
            if len(rows):
                yield {"laboratory": laboratory, "cell_type": cell_type} | figures(classifier, rows)


def figures(classifier: Classifier, rows: datasets.Dataset) -> dict[str, object]:
    """Of cells of one type: the shares with a status or suspected to be blasts, the commonest answers with their shares."""
    predictions = backend.predict(classifier, rows)
    statuses, answers = ([getattr(one, key) for one in predictions] for key in ("status", "label"))
    commonest = Counter(answers).most_common(SHOWN_ANSWERS)
    suspected = np.mean([one.suspected_blast for one in predictions]) if BLAST.name in classifier.labels else np.nan
    return {
        "pictures": len(rows),
        "groups": len({group for group in rows["group"][:] if group}),
        **{status: statuses.count(status) / len(statuses) for status in (OK, UNFAMILIAR)},
        "suspected_blast": suspected,
        "answers": "; ".join(f"{name} {count / len(answers):.0%}" for name, count in commonest),
    }
