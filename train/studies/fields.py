"""What the locator does for answers: python -m train fields MODEL --data ... --split FILE.

For single cells of each laboratory (validation pictures of those that the model learnt from, all but the test part of others):
how many are taken as a field by `auto`, how many are cut anew, and how right the model is on the pictures as they are and as
they are framed. For chula's validation slides: how many labelled cells are found in the whole fields, and how right the model
names them, among five types.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from PIL import Image

from cells import pbc
from cells.locate import find, parts
from cells.locate.find import Locator
from cells.model.classifier import Classifier
from cells.read.images import read_image
from train import backend, data, laboratories, options
from train.laboratories import FIVE, among, figures
from train.locate import evaluation, fields
from train.sources import chula

KEPT = ("accuracy", "balanced_accuracy", "ok_share", "ok_right", "five_pictures", "five_accuracy", "five_balanced", "blast_auc")


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("fields", "Measure what finding cells does for the answers.")
    options.add_models(parser, "results/fields.csv")
    chosen = parser.parse_args(arguments)
    dataset, split, locator = data.load(chosen.data), pbc.read_split(chosen.split), find.embedded()
    rows = []
    for name in chosen.models:
        classifier = laboratories.load(name)
        trained = set(data.sources_of(classifier.folder))
        for laboratory in dict.fromkeys(dataset["source"][:]):
            own = data.of_laboratory(dataset, split, laboratory, "validation" if laboratory in trained else None)
            if len(own):
                rows.append({"model": classifier.name, "laboratory": laboratory} | single_cells(classifier, own, locator))
                print(rows[-1], flush=True)
        if "chula" in data.by_source(chosen.data):
            whole = list(_validation_fields(data.by_source(chosen.data)["chula"], chosen.split))
            rows.append(
                {"model": classifier.name, "laboratory": "chula, whole fields"} | whole_fields(classifier, whole, locator)
            )
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.6g")
    return 0


def single_cells(classifier: Classifier, rows: datasets.Dataset, locator: Locator) -> dict[str, float]:
    """Of labelled pictures of single cells."""
    images = [read_image(pbc.source_of(image)) for image in rows.cast_column("image", datasets.Image(decode=False))["image"]]
    found = [locator.find(image) for image in images]
    are_cells = [parts.is_cell(image.size, boxes) for image, boxes in zip(images, found, strict=True)]
    framed = [parts.framed(image, boxes) for image, boxes in zip(images, found, strict=True)]
    as_is, anew = backend.predict(classifier, rows), list(classifier.predict(framed))
    return {
        "pictures": len(rows),
        "as_fields": 1 - np.mean(are_cells),
        "cut_anew": np.mean([one is not image for one, image in zip(framed, images, strict=True)]),
        **_kept(figures(as_is, rows), ""),
        **_kept(figures(anew, rows), "framed_"),
    }


def _kept(measured: dict[str, float], prefix: str) -> dict[str, float]:
    return {f"{prefix}{name}": measured.get(name, np.nan) for name in KEPT}


def _validation_fields(places: Sequence[str], split: Path) -> Iterator[tuple[fields.Field, list[str]]]:
    """(field with the boxes that chula's authors labelled, the type of each)."""
    known = fields.parts(split)
    for row in chula.fields(places).cast_column("image", datasets.Image(decode=False)):
        field = fields.field("chula", row)
        if fields.part_of(field, known, 0) == "validation" and len(field.boxes):
            yield field, row["cell_types"]


def whole_fields(classifier: Classifier, whole: Sequence[tuple[fields.Field, list[str]]], locator: Locator) -> dict[str, float]:
    """Of fields with labelled cells: recall, and the accuracy of five types on the cells found."""
    crops, truths = [], []
    for field, types in whole:
        hits = evaluation.rows_of(field, locator.find(Image.fromarray(field.image)))
        named = {tuple(box): name for box, name in zip(field.boxes.tolist(), types, strict=True)}
        for row in hits:
            if row["labelled"] and row["score"] > 0:
                crops.append(Image.fromarray(parts.crop(field.image, [row[name] for name in ("x0", "y0", "x1", "y1")])))
                truths.append(named[tuple(row[f"label_{name}"] for name in ("x0", "y0", "x1", "y1"))])
    probabilities = np.stack([one.probabilities for one in classifier.predict(crops)])
    recall = len(crops) / sum(len(types) for _, types in whole)
    return {"pictures": len(whole), "recall": recall} | among(FIVE, np.array(truths), probabilities, list(classifier.labels))
