"""A batch of cells under review: what a model said of each, what a person decided, and what counts.

A person's steps are kept in their order and everything derives from them: undoing is dropping the last one, and a page that is
loaded again needs nothing else.
"""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cells import classes, differential
from cells.classes import LABELS, SUBTYPE_LABELS, CellClass, describe
from cells.messages import Message, message
from cells.model.prediction import Prediction
from cells.model.uncertainty import ERROR, OK, REVIEW, STATUSES, UNFAMILIAR

NOT_A_CELL, TWO_CELLS = "not_a_cell", "two_cells"
REJECTED = (NOT_A_CELL, TWO_CELLS)  # what a person may say of a picture that is not one cell
DISAGREE = "disagree"  # what is said of a cell that two models name differently
HELD = (REVIEW, UNFAMILIAR, DISAGREE, ERROR)  # why a cell is not counted before a person decides


@dataclass(frozen=True, eq=False)  # probabilities have no hash
class Cell:
    """A picture and what was said of it. `thumbnail` is a small picture's bytes, empty where there was none to read."""

    prediction: Prediction
    thumbnail: bytes = b""
    second: Prediction | None = None  # of the model that it is compared with


@dataclass(frozen=True, eq=False)
class Review:
    """A batch and a person's steps through it. It never changes; each step makes another."""

    cells: tuple[Cell, ...] = ()
    model: str = ""  # with its version
    second_model: str = ""
    review_below: float = 0.0  # the probability below which the model asks for a person
    steps: tuple[tuple[int, str], ...] = ()  # (a cell, the class that a person gave it)
    classes: tuple[CellClass, ...] = ()  # of the model; where none are given, what is known of its predictions' labels
    second_classes: tuple[CellClass, ...] = ()

    @cached_property
    def decisions(self) -> dict[int, str]:
        """cell -> what a person last said of it."""
        return dict(self.steps)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The model's labels; without `classes`, an unreadable picture does not tell them."""
        given = tuple(one.name for one in self.classes)
        return given or next((cell.prediction.labels for cell in self.cells if cell.prediction.ranking), LABELS)

    @cached_property
    def _classes(self) -> dict[str, CellClass]:
        """label -> class, of both models; the first model's word on a class stands."""
        return {one.name: one for one in (*self.second_classes, *(self.classes or describe(self.labels)))}

    def described(self, label: str) -> CellClass:
        """The class of a label of either model."""
        return self._classes.get(label) or describe((label,))[0]

    @property
    def choices(self) -> tuple[str, ...]:
        """What a person may say of a cell: a label of the model, or that it is not one cell."""
        return tuple(dict.fromkeys((*self.labels, *REJECTED)))

    def decide(self, index: int, choice: str) -> "Review":
        """A person gives a cell a class, or confirms the model's. Raises ValueError for what is no choice."""
        if choice not in self.choices or index not in range(len(self.cells)):
            raise ValueError(f"{choice!r} cannot be said of cell {index}")
        return replace(self, steps=(*self.steps, (index, choice)))

    def undo(self) -> "Review":
        return replace(self, steps=self.steps[:-1])

    def said(self, index: int) -> str | None:
        """What stands for a cell now: the person's word, otherwise the model's; None for an unreadable one."""
        return self.decisions.get(index, self.cells[index].prediction.label)

    def is_changed(self, index: int) -> bool:
        """Whether a person said something else than the model."""
        return self.said(index) != self.cells[index].prediction.label

    def is_open(self, index: int) -> bool:
        """Whether the cell is held back until a person decides: the model doubts it, or two models disagree."""
        doubted = self.cells[index].prediction.status not in (OK, ERROR) or self.disagree(index)
        return index not in self.decisions and doubted

    def counted(self) -> list[str]:
        """The labels that enter the differential: a person's word, and the model's where nothing speaks against it."""
        found = (self.said(index) for index in range(len(self.cells)) if not self.is_open(index))
        return [label for label in found if label not in (None, *REJECTED) and self.described(label).counted]

    def summary(self) -> dict[str, int]:
        """How many: pictures, changed, confirmed, unreviewed by a person, and not counted, by why."""
        held = Counter(map(self._held, range(len(self.cells))))
        rejected = Counter(choice for choice in self.decisions.values() if choice in REJECTED)
        changed = sum(self.is_changed(index) for index in self.decisions)
        return {
            "pictures": len(self.cells),
            "changed": changed,
            "confirmed": len(self.decisions) - changed,
            "unreviewed": len(self.cells) - len(self.decisions),
            **{why: held[why] for why in HELD},
            **{choice: rejected[choice] for choice in REJECTED},
        }

    def _held(self, index: int) -> str | None:
        """Why a cell is not counted, if it is for want of a decision."""
        status = self.cells[index].prediction.status
        if index in self.decisions or not (self.is_open(index) or status == ERROR):
            return None
        return DISAGREE if status == OK else status

    def groups(self) -> dict[str, list[int]]:
        """Cells by what stands for them, in a differential's order, the most doubtful first; then those that are no class.

        Undecided cells are groups of their own where two models disagree (the first), and where a picture is unfamiliar or
        unreadable (named by that status).
        """
        found: dict[str, list[int]] = {}
        for index in sorted(range(len(self.cells)), key=self._doubt):
            found.setdefault(self._group(index), []).append(index)
        return {name: found[name] for name in sorted(found, key=self._place)}

    def _place(self, group: str) -> tuple[int, int, str]:
        """Disagreements, the classes in a differential's order (subtypes stand with their type), what is no class."""
        if group == DISAGREE:
            return 0, 0, group
        last = (*REJECTED, UNFAMILIAR, ERROR)
        return (2, last.index(group), group) if group in last else (1, classes.place(self.described(group)), group)

    def _group(self, index: int) -> str:
        if index in self.decisions:
            return self.said(index)
        status = self.cells[index].prediction.status
        if status in (UNFAMILIAR, ERROR):
            return status
        return DISAGREE if self.disagree(index) else self.said(index)

    def _doubt(self, index: int) -> tuple:
        """Small for a doubtful cell: those to decide, then by probability."""
        return (not self.is_open(index), self.cells[index].prediction.probability or 0.0)

    def disagree(self, index: int) -> bool:
        """Whether the two models give a cell different classes."""
        cell = self.cells[index]
        return cell.second is not None and self._type(cell.second) != self._type(cell.prediction)

    def _type(self, prediction: Prediction) -> str | None:
        return prediction.label and self.described(prediction.label).cell_type

    def differential(self, typical: Mapping[str, differential.Range] = differential.TYPICAL) -> differential.Differential:
        return differential.differential(self.counted(), typical, [self.described(label) for label in self.labels])

    def to_json(self) -> dict:
        """Plain values that a browser can keep, without the steps."""
        return {
            "model": self.model,
            "second_model": self.second_model,
            "review_below": self.review_below,
            "classes": classes.to_json(map(self.described, self.labels)),
            "second_classes": classes.to_json(self.second_classes or describe(self._second_labels())),
            "cells": [
                {
                    "thumbnail": base64.b64encode(cell.thumbnail).decode(),
                    "prediction": _to_json(cell.prediction),
                    "second": cell.second and _to_json(cell.second),
                }
                for cell in self.cells
            ],
        }

    def _second_labels(self) -> tuple[str, ...]:
        seconds = (cell.second for cell in self.cells if cell.second is not None)
        return next((second.labels for second in seconds if second.ranking), ())

    @classmethod
    def from_json(cls, kept: Mapping, steps: Sequence[Sequence] = ()) -> "Review":
        """The review of which a browser kept to_json() and the steps. Raises ValueError where that is not what it holds.

        One that an older version of the page kept tells no classes: they are the 8 types or the 13 subtypes, by their number.
        """
        try:
            known, second_known = (classes.from_json(kept.get(key, ())) for key in ("classes", "second_classes"))
            labels, second_labels = ([one.name for one in some] for some in (known, second_known))
            cells = tuple(
                Cell(
                    _from_json(cell["prediction"], labels),
                    base64.b64decode(cell["thumbnail"], validate=True),
                    None if cell["second"] is None else _from_json(cell["second"], second_labels),
                )
                for cell in kept["cells"]
            )
            words = str(kept["model"]), str(kept["second_model"]), float(kept["review_below"])
            review = cls(cells, *words, classes=known, second_classes=second_known)
            for index, choice in steps:
                review = review.decide(index, choice)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"this is no review: {error!r}") from error
        return review


def _to_json(prediction: Prediction) -> dict:
    return {
        "file": prediction.file,
        "probabilities": None if prediction.probabilities is None else [float(p) for p in prediction.probabilities],
        "status": prediction.status,
        "message": _message_to_json(prediction.message),
        "prediction_set": prediction.prediction_set,
    }


def _message_to_json(said: Message | str) -> dict | str:
    return {"code": said.code, "values": said.values} if isinstance(said, Message) else said


def _message_from_json(kept: Mapping | str) -> Message | str:
    """A browser may hold a plain sentence, which an older version of the page stored."""
    if isinstance(kept, str):
        return kept
    return message(str(kept["code"]), **{str(key): str(value) for key, value in kept["values"].items()})


def _from_json(kept: Mapping, labels: Sequence[str]) -> Prediction:
    """A prediction of a model of these labels; without any, of the 8 types or the 13 subtypes."""
    values = kept["probabilities"]
    probabilities = None if values is None else np.array([float(value) for value in values])
    labels = tuple(labels) or (LABELS if values is None or len(values) == len(LABELS) else SUBTYPE_LABELS)
    whole = values is None or (len(values) == len(labels) and all(0 <= value < 1.001 for value in probabilities))
    if not whole or kept["status"] not in STATUSES or (values is None) != (kept["status"] == ERROR):
        raise ValueError("this is no prediction")
    left_open = kept["prediction_set" if "prediction_set" in kept else "candidates"]  # the older name
    left_open = tuple(label for label in left_open if label in labels)
    return Prediction(str(kept["file"]), probabilities, kept["status"], _message_from_json(kept["message"]), labels, left_open)
