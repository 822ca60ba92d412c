"""What a few labelled cells of a laboratory are worth: python -m train adapt MODEL... --data ... --split FILE.

For each laboratory that a model never saw: of half of its slides or patients, drawn anew each time, N cells a
type are labelled; the answers to the five types of the other half are measured, by the model as it is and fine-tuned on these
cells. The last rows have every tenth label wrong.
"""

from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from cells import pbc
from cells.model.fine_tuning import FineTuning
from cells.model.folder import locate
from cells.model.torch_network import TorchNetwork
from cells.read.images import read_image
from train import data, options
from train.laboratories import FIVE

LABELS = (1, 3, 5, 10, 20)  # cells of a type
WRONG = 10  # labels, of which one is wrong
MOST = 60  # cells of a type that are measured: a study of minutes, not of hours


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("adapt", "Measure what a few labelled cells of a laboratory are worth.")
    options.add_models(parser, "results/adapt.csv")
    parser.add_argument("--draws", type=int, default=10, metavar="N", help="default %(default)s")
    chosen = parser.parse_args(arguments)
    dataset, split = data.load(chosen.data), pbc.read_split(chosen.split)
    rows = []
    for folder, cells in never_seen(chosen.models, dataset, split):
        rows += measure(folder, cells, chosen.draws)
    frame = pd.DataFrame(rows)
    frame.to_csv(chosen.out, index=False, float_format="%.4f")
    print(frame.groupby(["laboratory", "labels", "wrong"])[["before", "after"]].agg(["mean", "min"]).to_string())
    return 0


def never_seen(models: Sequence[str], dataset: datasets.Dataset, split: dict[str, str]) -> list[tuple[Path, datasets.Dataset]]:
    """(the folder of a model, the cells of a laboratory that it did not learn from), for each two.

    Raises DataError where two models did not see one laboratory, since a row does not name its model, and where a laboratory
    has no groups, of which one half is labelled.
    """
    found: dict[str, tuple[Path, datasets.Dataset]] = {}  # all of them before the first is measured, which takes long
    for folder in (Path(locate(name)[0]) for name in models):
        trained = set(data.sources_of(folder))
        for laboratory in dict.fromkeys(dataset["source"][:]):
            if laboratory in trained:
                continue
            if laboratory in found:
                raise pbc.DataError(f"{laboratory} was seen by none of two models; give each laboratory one model.")
            cells = data.of_laboratory(dataset, split, laboratory, None)
            if len(set(cells["group"][:])) < 2:
                raise pbc.DataError(f"{laboratory} does not say which cells are of one patient or slide.")
            found[laboratory] = folder, cells
    return list(found.values())


def measure(folder: Path, cells: datasets.Dataset, draws: int) -> list[dict]:
    """A row for each draw of labelled cells of a laboratory."""
    types, groups = np.array(cells["cell_type"][:]), np.array(cells["group"][:])
    network = TorchNetwork(folder)
    answers = np.array([network.labels.index(one) if one in FIVE else -1 for one in types])
    rows = []
    for number, is_wrong in tqdm([*((number, False) for number in LABELS), (WRONG, True)], mininterval=10):
        for draw in range(draws):
            generator = np.random.default_rng(draw)
            labelled, measured = drawn(answers, groups, number, generator)
            given = with_wrong(answers[labelled], generator) if is_wrong else answers[labelled]
            before, after = answered(folder, cells, labelled, given, measured)
            accuracies = (balanced(found, answers[measured]) for found in (before, after))
            common = {"laboratory": cells["source"][0], "labels": number, "wrong": is_wrong, "draw": draw}
            rows.append(common | {"cells": len(measured)} | dict(zip(("before", "after"), accuracies, strict=True)))
    return rows


def drawn(
    answers: np.ndarray, groups: np.ndarray, number: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(rows that are labelled, rows that are measured), of different groups. `answers` below 0 are of no type."""
    names = generator.permutation(np.unique(groups))
    is_labelled = np.isin(groups, names[: len(names) // 2])

    def some(of: np.ndarray, most: int) -> np.ndarray:
        return np.concatenate([generator.permutation(np.flatnonzero(of & (answers == one)))[:most] for one in _types(answers)])

    return some(is_labelled, number), some(~is_labelled, MOST)


def with_wrong(answers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every tenth answer is another type's."""
    found = answers.copy()
    for row in generator.permutation(len(answers))[: len(answers) // WRONG]:
        found[row] = generator.choice([one for one in _types(answers) if one != answers[row]])
    return found


def answered(
    folder: Path, cells: datasets.Dataset, labelled: np.ndarray, given: np.ndarray, measured: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The indices (n,) of the classes of the measured rows, before and after fine-tuning on the labelled ones."""
    network = TorchNetwork(folder)
    pixels = [network.submit(picture) for picture in pictures(cells, measured)]
    before = logits(network, pixels)
    torch.manual_seed(0)
    tuning = FineTuning(network, pictures(cells, labelled), network.labels)
    tuning.fit(given, np.arange(len(given)))
    return before.argmax(1), logits(network, pixels).argmax(1)


def logits(network: TorchNetwork, pixels: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([network.collect(pixels[start : start + 64])[0] for start in range(0, len(pixels), 64)])


def pictures(cells: datasets.Dataset, rows: np.ndarray) -> list[Image.Image]:
    undecoded = cells.select(rows).cast_column("image", datasets.Image(decode=False))
    return [read_image(pbc.source_of(one)) for one in undecoded["image"]]


def balanced(found: np.ndarray, answers: np.ndarray) -> float:
    """The mean over types of the share that is right."""
    return float(np.mean([(found[answers == one] == one).mean() for one in np.unique(answers)]))


def _types(answers: np.ndarray) -> list[int]:
    return [one for one in np.unique(answers).tolist() if one >= 0]
