"""Other answers to the cells of a batch: by a model that learns from the decided ones, by one that learnt before, or by the
model that classified them with the batch-norm statistics of the batch.

The server keeps nothing: the small pictures come with the call, and a model that learnt goes with the answer, as a ZIP of its
folder. The browser sends that ZIP again.
"""

import base64
import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cells.classes import to_json as classes_to_json
from cells.locate.parts import CELL, FRAMED
from cells.messages import message
from cells.model import batch_statistics
from cells.model.classifier import Classifier
from cells.model.prediction import Prediction
from cells.model.uncertainty import OK, REVIEW
from cells.read import limits
from cells.review import REJECTED, checked_thumbnail
from hub import catalog
from page import uploads
from page.handlers import CLASSIFYING, Lane, answered, checked, how_of, in_language, loaded, of_cell, picture_in, text_of
from page.texts import RefusedError

if TYPE_CHECKING:
    from cells.model.adapt import Adapted

LEARNING = Lane(limits.LEARNING, 4, "busy_learning")  # a call takes every core for half a minute


class Given(NamedTuple):
    """A cell of the batch. `is_cut`: the edge of its field cuts it. `how`: CELL or FRAMED, as its small picture is taken."""

    id: str
    name: str
    picture: bytes
    decision: str
    is_cut: bool
    how: str


def given(asked: dict, fewest: int = 1) -> list[Given]:
    """`cells` of a call, a list of {id, name, picture, decision, cut, framed}. Raises RefusedError."""
    cells = asked.get("cells")
    if not isinstance(cells, list) or not fewest <= len(cells) <= limits.BATCH_CELLS:
        raise RefusedError("bad_request")
    return [given_cell(checked(one)) for one in cells]


def given_cell(one: dict) -> Given:
    try:
        picture = checked_thumbnail(picture_in(one))
    except ValueError:
        raise RefusedError("bad_request") from None
    said = text_of(one, "id"), text_of(one, "name"), picture, text_of(one, "decision", "")
    return Given(*said, one.get("cut") is True, how_of(one))


def answers_of(batch: str, classifier: Classifier, cells: Sequence[Given], report: Mapping, language: str) -> dict:
    """What a review says anew of its cells. `report` is what the page says of the model. Raises ImageError."""
    predictions = predicted(classifier, cells)
    return {
        "batch": batch,
        "model": str(classifier),
        "classes": classes_to_json(classifier.classes),
        "review_below": classifier.uncertainty.lowest,
        "cells": [row(cell, prediction, language) for cell, prediction in zip(cells, predictions, strict=True)],
        "report": dict(report),
    }


def predicted(classifier: Classifier, cells: Sequence[Given]) -> list[Prediction]:
    """A prediction of each, in their order."""
    found = {}
    for how in (CELL, FRAMED):
        alike = [cell for cell in cells if cell.how == how]
        predictions = classifier.predict([cell.picture for cell in alike], [cell.name for cell in alike], how=how)
        found |= zip(alike, predictions, strict=True)
    return [found[cell] for cell in cells]


def row(cell: Given, prediction: Prediction, language: str) -> dict:
    """What a review says anew of a cell. One that the edge of its field cuts counts only where a person decides, as before."""
    if cell.is_cut and prediction.status == OK:
        prediction = replace(prediction, status=REVIEW, message=message("cell_cut"))
    told = in_language((b"", prediction), cell.id, language)
    return {key: told[key] for key in ("id", "probabilities", "status", "blast", "message", "prediction_set")}


# --- learning ---


@answered
async def learn(asked: dict, language: str) -> dict:
    """New answers for `cells`, see given(); those with a decision are what is learnt from.

    `model` is NAME@VERSION/BACKEND of their review. The answer has its `report`, and the new model's folder as a ZIP.
    """
    return await LEARNING.run(learnt, text_of(asked, "batch"), text_of(asked, "model"), given(asked), language)


def learnt(batch: str, called: str, cells: Sequence[Given], language: str) -> dict:
    """The answer of learn. Raises AdaptError, ImageError and what loaded() raises."""
    from cells.model.adapt import adapt  # PyTorch, which takes seconds

    base = loaded(called)
    decided = [cell for cell in cells if cell.decision and cell.decision not in REJECTED]
    if not all(cell.decision in base.labels for cell in decided):
        raise RefusedError("bad_request")
    pictures = [of_cell(cell.picture, cell.how) for cell in decided]
    adapted = adapt(base, pictures, [cell.decision for cell in decided])
    report = asdict(adapted.report) | {"kind": "learnt", "total": adapted.report.total}
    answer = answers_of(batch, adapted.classifier, cells, report, language)
    return answer | {"folder": base64.b64encode(zipped(adapted)).decode()}


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


# --- a kept model ---


@answered
async def name_by_kept(asked: dict, language: str) -> dict:
    """New answers for `cells`, see given(), by the model in the ZIP that was uploaded to `path`, which is deleted.

    `model` is NAME@VERSION/BACKEND of their review. Without cells the answer says what the kept model is.
    """
    file = uploads.find(text_of(asked, "path"))
    try:
        called, cells = text_of(asked, "model", ""), given(asked, fewest=0)
        return await CLASSIFYING.run(named_by_kept, text_of(asked, "batch"), called, str(file), cells, language)
    finally:
        uploads.delete([file])


def named_by_kept(batch: str, called: str, file: str, cells: Sequence[Given], language: str) -> dict:
    """The answer of name_by_kept. Raises KeptError, ArchiveError, HubError, ModelError, ImageError."""
    from cells.model.kept import Kept, KeptError  # PyTorch, which takes seconds

    kept, model = Kept.read(file), called.rpartition("@")[0]
    if model and model != kept.base:
        raise KeptError("kept_other_base", base=kept.base, model=model)
    report = {"kind": "kept", "base": kept.base, "made": kept.made.isoformat(), "total": kept.report.total}
    with tempfile.TemporaryDirectory() as folder:
        classifier = kept.load(catalog.load(kept.base), Path(folder))
        answer = answers_of(batch, classifier, cells, report, language)
    if not np.isfinite([cell["probabilities"] for cell in answer["cells"]]).all():
        raise KeptError("kept_broken")
    return answer


# --- statistics of the batch ---


@answered
async def name_by_statistics(asked: dict, language: str) -> dict:
    """New answers for `cells`, see given(), with statistics that are moved towards those of their pictures.

    `model` is NAME@VERSION/BACKEND of their review.
    """
    called = text_of(asked, "model")
    return await CLASSIFYING.run(named_by_statistics, text_of(asked, "batch"), called, given(asked), language)


def named_by_statistics(batch: str, called: str, cells: Sequence[Given], language: str) -> dict:
    """The answer of name_by_statistics. Raises RefusedError, ImageError and what loaded() raises."""
    base = loaded(called)
    pictures = [of_cell(cell.picture, cell.how) for cell in batch_statistics.sample(cells)]
    classifier = batch_statistics.adapted(base, pictures)
    if classifier is base:  # it has no batch-norm layers
        raise RefusedError("bad_request")
    return answers_of(batch, classifier, cells, {"kind": "statistics"}, language)


# What the component may call, by these names.
SERVER_FUNCTIONS = (learn, name_by_kept, name_by_statistics)
