"""Learning from a person's decisions: the cells of a batch in, their answers by a model that learnt from the decided ones out.

The server keeps nothing: the small pictures come with the call, and the model goes with its answer, as a ZIP of its folder.
"""

import base64
import io
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cells.classes import to_json as classes_to_json
from cells.messages import message
from cells.model.prediction import Prediction
from cells.model.uncertainty import OK, REVIEW
from cells.read import limits
from cells.read.images import read_image
from cells.review import REJECTED
from page.handlers import Lane, answered, checked, in_language, loaded, text_of
from page.texts import RefusedError

if TYPE_CHECKING:
    from cells.model.adapt import Adapted

LEARNING = Lane(limits.LEARNING, 4, "busy_learning")  # a call takes every core for half a minute


@answered
async def learn(asked: dict, language: str) -> dict:
    """New answers for `cells`, a list of {id, name, picture, decision, cut}; those with a decision are what is learnt from.

    `model` is NAME@VERSION/BACKEND of their review. The answer has its `report`, and the new model's folder as a ZIP.
    """
    cells = asked.get("cells")
    if not isinstance(cells, list) or not 1 <= len(cells) <= limits.BATCH_CELLS:
        raise RefusedError("bad_request")
    given = [(text_of(checked(one), "id"), text_of(one, "name"), text_of(one, "decision", ""), picture(one)) for one in cells]
    cut = {one["id"] for one in cells if one.get("cut") is True}
    return await LEARNING.run(learnt, text_of(asked, "batch"), text_of(asked, "model"), given, cut, language)


def picture(cell: dict) -> bytes:
    try:
        return base64.b64decode(cell["picture"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise RefusedError("bad_request") from None


def learnt(batch: str, called: str, given: Sequence[tuple[str, str, str, bytes]], cut: set[str], language: str) -> dict:
    """The answer of learn. Raises AdaptError, ImageError and what loaded() raises."""
    from cells.model.adapt import adapt  # PyTorch, which takes seconds

    base = loaded(called)
    decided = [(small, decision) for _, _, decision, small in given if decision and decision not in REJECTED]
    if not all(decision in base.labels for _, decision in decided):
        raise RefusedError("bad_request")
    adapted = adapt(base, [read_image(small) for small, _ in decided], [decision for _, decision in decided])
    predictions = adapted.classifier.predict([small for *_, small in given], [name for _, name, *_ in given])
    rows = [row(id_, prediction, id_ in cut, language) for (id_, *_), prediction in zip(given, predictions, strict=True)]
    return {
        "batch": batch,
        "model": str(adapted.classifier),
        "classes": classes_to_json(adapted.classifier.classes),
        "review_below": adapted.classifier.uncertainty.lowest,
        "cells": rows,
        "report": asdict(adapted.report) | {"total": adapted.report.total},
        "folder": base64.b64encode(zipped(adapted)).decode(),
    }


def row(id_: str, prediction: Prediction, is_cut: bool, language: str) -> dict:
    """What a review says anew of a cell. One that the edge of its field cuts counts only where a person decides, as before."""
    if is_cut and prediction.status == OK:
        prediction = replace(prediction, status=REVIEW, message=message("cell_cut"))
    told = in_language((b"", prediction), id_, language)
    return {key: told[key] for key in ("id", "probabilities", "status", "blast", "message", "prediction_set")}


def zipped(adapted: "Adapted") -> bytes:
    """The model folder, as `python -m cells adapt` writes it."""
    from cells.write import adapted_card

    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(packed, "w") as archive:
        folder = Path(place, f"{adapted.classifier.name}-adapted")
        adapted.save(folder)
        adapted_card.write(folder)
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return packed.getvalue()
