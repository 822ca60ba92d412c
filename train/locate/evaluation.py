"""How well the locator finds white cells: recall and precision by centre, and COCO's own evaluation, for each laboratory."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from cells.locate.find import Box, Locator
from train.locate.fields import Field

NEAR = 5  # pixels: a hit has its centre in a labelled box, or at most so far outside
LOWEST = 0.05  # score of a box that is written down


def measure(model: Path, fields: Sequence[Field], run: Path) -> pd.DataFrame:
    """Write found.csv, a row a labelled or a found box, and metrics.csv, a row a laboratory, into the run folder."""
    locator = Locator.load(model)
    rows = []
    for field in tqdm(fields, mininterval=10):
        found = locator.find(Image.fromarray(field.image), LOWEST)
        rows += rows_of(field, found)
    table = pd.DataFrame(rows)
    table.to_csv(run / "found.csv", index=False, float_format="%.4f")
    sizes = {field.image_id: field.image.shape[1::-1] for field in fields}
    metrics = pd.DataFrame([scores(own, locator.threshold) | coco(own, sizes) for _, own in table.groupby("source")])
    metrics.to_csv(run / "metrics.csv", index=False, float_format="%.4f")
    print(metrics.to_string(index=False))
    return metrics


def rows_of(field: Field, found: Sequence[Box]) -> list[dict]:
    """A row for each labelled box (`score` of the box that hit it, or 0) and for each found box that hit none."""
    common = {"source": field.source, "image_id": field.image_id, "group": field.group}
    free = list(range(len(field.boxes)))
    rows = []
    for box in sorted(found, key=lambda one: -one.score):
        near = [label for label in free if _hits(box, field.boxes[label])]
        label = min(near, key=lambda one: _distance(box, field.boxes[one]), default=None)
        if label is not None:
            free.remove(label)
        rows.append(common | {"labelled": label is not None, "score": box.score} | _corners("", box) | _label(field, label))
    return rows + [common | {"labelled": True, "score": 0.0} | _label(field, label) for label in free]


def _corners(prefix: str, box: Box) -> dict:
    return {f"{prefix}{name}": round(getattr(box, name), 1) for name in ("x0", "y0", "x1", "y1")}


def _label(field: Field, label: int | None) -> dict:
    names = ("label_x0", "label_y0", "label_x1", "label_y1")
    return {} if label is None else dict(zip(names, field.boxes[label].tolist(), strict=True))


def _hits(box: Box, label: np.ndarray) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return bool(label[0] - NEAR <= x <= label[2] + NEAR and label[1] - NEAR <= y <= label[3] + NEAR)


def _distance(box: Box, label: np.ndarray) -> float:
    return float(np.hypot((box.x0 + box.x1 - label[0] - label[2]) / 2, (box.y0 + box.y1 - label[1] - label[3]) / 2))


def scores(table: pd.DataFrame, threshold: float) -> dict:
    """Of one laboratory's rows: fields, labelled cells, recall and precision at the threshold."""
    found = table.score >= threshold
    return {
        "source": table.source.iloc[0],
        "fields": table.image_id.nunique(),
        "cells": int(table.labelled.sum()),
        "recall": (found & table.labelled).sum() / table.labelled.sum(),
        "precision": (found & table.labelled).sum() / max(found.sum(), 1),
    }


def coco(table: pd.DataFrame, sizes: dict[str, tuple[int, int]]) -> dict:
    """COCO's average precision, over intersections of 0.5 to 0.95 and at 0.5, of one laboratory's rows."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {name: number for number, name in enumerate(table.image_id.unique(), 1)}
    labels = table[table.labelled]
    found = table[table.score > 0]
    truth = {
        "info": {},
        "images": [{"id": number, "width": sizes[name][0], "height": sizes[name][1]} for name, number in numbers.items()],
        "categories": [{"id": 1, "name": "white cell"}],
        "annotations": [
            {"id": number, "image_id": numbers[name], "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for number, (name, box) in enumerate(zip(labels.image_id, _sides(labels, "label_"), strict=True), 1)
        ],
    }
    answers = [
        {"image_id": numbers[name], "category_id": 1, "bbox": box, "score": score}
        for name, box, score in zip(found.image_id, _sides(found, ""), found.score, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        labelled = COCO()
        labelled.dataset = truth
        labelled.createIndex()
        evaluation = COCOeval(labelled, labelled.loadRes(answers), "bbox") if answers else None
        if evaluation:
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
    return {"ap": evaluation.stats[0] if evaluation else 0.0, "ap_50": evaluation.stats[1] if evaluation else 0.0}


def _sides(table: pd.DataFrame, prefix: str) -> Iterable[list[float]]:
    """[x, y, width, height] of each row, as COCO has boxes."""
    corners = table[[f"{prefix}{name}" for name in ("x0", "y0", "x1", "y1")]].to_numpy(float)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist()
