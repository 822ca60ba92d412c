"""A batch of cells under review: what a model said of each, what a person decided, and what counts.

The browser owns a review and changes it; it is sent here as JSON (format 1) to be counted and exported. Everything derives from
the steps of a person.
"""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from cells import classes, differential
from cells.classes import BLAST, LABELS, CellClass, describe
from cells.locate.parts import Place
from cells.messages import Message, message
from cells.model.prediction import Prediction
from cells.model.uncertainty import EMPTY, ERROR, OK, REVIEW, STATUSES, UNFAMILIAR, WITHOUT_ANSWER
from cells.read import limits

FORMAT = 1
THUMBNAIL = 256  # pixels of a small picture's longer side
NOT_A_CELL, TWO_CELLS = "not_a_cell", "two_cells"
REJECTED = (NOT_A_CELL, TWO_CELLS)  # what a person may say of a picture that is not one cell
DISAGREE = "disagree"  # the status of a cell that two models name differently
HELD = (REVIEW, UNFAMILIAR, DISAGREE, EMPTY, ERROR)  # why a cell is not counted before a person decides


@dataclass(frozen=True, eq=False)  # probabilities have no hash
class Cell:
    """A picture and what was said of it. `thumbnail` is a small JPEG, empty where there was no picture to read."""

    prediction: Prediction
    thumbnail: bytes = b""
    second: Prediction | None = None  # of the model that it is compared with
    id: str = ""

    @property
    def suspected_blast(self) -> bool:
        """Whether either model says that it may be a blast."""
        return self.prediction.suspected_blast or (self.second is not None and self.second.suspected_blast)


@dataclass(frozen=True)
class Step:
    """A person gives a cell a class. The steps of one key press share a number."""

    cell: str
    number: int
    decision: str  # a label of the model, or one of REJECTED
    time: str = ""


@dataclass(frozen=True, eq=False)
class Review:
    """A batch and a person's steps through it. It never changes."""

    cells: tuple[Cell, ...] = ()
    model: str = ""  # with its version
    second_model: str = ""
    review_below: float = 0.0  # the probability below which the model asks for a person, whatever the class
    steps: tuple[Step, ...] = ()
    comment: str = ""
    classes: tuple[CellClass, ...] = ()  # of the model; where none are given, what is known of its predictions' labels
    second_classes: tuple[CellClass, ...] = ()

    @cached_property
    def decisions(self) -> dict[int, str]:
        """Place of a cell -> what a person last said of it."""
        places = {cell.id: index for index, cell in enumerate(self.cells)}
        return {places[cell]: decision for cell, decision in holding(self.steps).items()}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The model's labels; without `classes`, an unreadable picture may not tell them."""
        if self.classes:
            return tuple(one.name for one in self.classes)
        readable = (cell.prediction.labels for cell in self.cells if cell.prediction.probabilities is not None)
        return next(readable, self.cells[0].prediction.labels if self.cells else LABELS)

    @cached_property
    def _classes(self) -> dict[str, CellClass]:
        """label -> class, of both models; the first model's word on a class stands."""
        return {one.name: one for one in (*self.second_classes, *(self.classes or describe(self.labels)))}

    def described(self, label: str) -> CellClass:
        """The class of a label of either model."""
        return self._classes.get(label) or describe((label,))[0]

    @cached_property
    def standing(self) -> tuple[str | None, ...]:
        """What stands for each cell: the person's word, otherwise the model's; None for an unreadable one."""
        return tuple(self.decisions.get(index, cell.prediction.label) for index, cell in enumerate(self.cells))

    @cached_property
    def held(self) -> tuple[str | None, ...]:
        """Why each cell is not counted for want of a decision, a word of HELD; None for one that is counted or was decided."""
        return tuple(None if index in self.decisions else self._held(cell) for index, cell in enumerate(self.cells))

    def counted(self) -> list[str]:
        """The labels that enter the differential: a person's word, and the model's where nothing speaks against it."""
        return [self.standing[index] for index in self.counted_cells]

    @cached_property
    def counted_cells(self) -> tuple[int, ...]:
        """The places of their cells."""
        found = enumerate(zip(self.standing, self.held, strict=True))
        return tuple(index for index, (label, why) in found if why is None and self._is_counted(label))

    def _is_counted(self, label: str) -> bool:
        return label not in REJECTED and self.described(label).counted

    def _held(self, cell: Cell) -> str | None:
        if cell.prediction.status != OK:
            return cell.prediction.status
        if cell.suspected_blast:
            return REVIEW
        other = cell.second and self._type(cell.second)
        return DISAGREE if other is not None and other != self._type(cell.prediction) else None

    def _type(self, prediction: Prediction) -> str | None:
        return prediction.label and self.described(prediction.label).cell_type

    @cached_property
    def suspected_blasts(self) -> tuple[int, ...]:
        """The places of cells that may be blasts and of which no person decided."""
        return tuple(index for index, cell in enumerate(self.cells) if cell.suspected_blast and index not in self.decisions)

    @cached_property
    def decided_blasts(self) -> tuple[int, ...]:
        """The places of cells of which a person decided that they are blasts."""
        found = self.decisions.items()
        return tuple(index for index, choice in found if self.described(choice).cell_type == BLAST.name)

    def summary(self) -> dict[str, int]:
        """How many: pictures, changed, confirmed, unreviewed by a person, and not counted, by why."""
        held = Counter(self.held)
        rejected = Counter(choice for choice in self.decisions.values() if choice in REJECTED)
        changed = sum(self.cells[index].prediction.label != choice for index, choice in self.decisions.items())
        return {
            "pictures": len(self.cells),
            "changed": changed,
            "confirmed": len(self.decisions) - changed,
            "unreviewed": len(self.cells) - len(self.decisions),
            **{why: held[why] for why in HELD},
            **{choice: rejected[choice] for choice in REJECTED},
        }

    def differential(self, typical: Mapping[str, differential.Range] = differential.TYPICAL) -> differential.Differential:
        return differential.differential(self.counted(), typical, [self.described(label) for label in self.labels])

    @classmethod
    def from_json(cls, value: object) -> "Review":
        """The review that a browser keeps and a file holds. Raises ValueError where the value is no review of FORMAT."""
        try:
            return _review_from_json(value)
        except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"this is no review: {error!r}") from error


def holding(steps: Sequence[Step]) -> dict[str, str]:
    """Cell -> the decision of the step with the highest number; of two with one number, the later in the list."""
    return {step.cell: step.decision for step in sorted(steps, key=lambda step: step.number)}


# --- JSON ---


def cell_to_json(cell: Cell) -> dict:
    """Plain values of a cell as the browser keeps it; a message's `text` is English."""
    one = cell.prediction
    return {
        "id": cell.id,
        "name": one.file,
        "probabilities": _plain(one.probabilities),
        "status": one.status,
        "blast": one.suspected_blast,
        "message": _message_to_json(one.message),
        "prediction_set": list(one.prediction_set),
        "second": cell.second and _second_to_json(cell.second),
        "place": one.place and _place_to_json(one.place),
        "picture": base64.b64encode(cell.thumbnail).decode(),
    }


def _place_to_json(place: Place) -> dict:
    facts = {"number": place.number, "of": place.of, "box": list(place.box), "found": place.found, "cut": place.is_cut}
    return facts | {"size": list(place.size)}


def _second_to_json(one: Prediction) -> dict:
    return {"probabilities": _plain(one.probabilities), "status": one.status, "blast": one.suspected_blast}


def _plain(probabilities: np.ndarray | None) -> list[float] | None:
    return None if probabilities is None else [float(one) for one in probabilities]


def _message_to_json(said: Message | str) -> dict | None:
    if not said:
        return None
    if not isinstance(said, Message):
        return {"code": "text", "values": {"text": said}, "text": said}
    return {"code": said.code, "values": {key: str(value) for key, value in said.values.items()}, "text": str(said)}


def _message_from_json(value: Mapping | None) -> Message | str:
    if value is None:
        return ""
    values = {str(key): str(one) for key, one in value["values"].items()}
    try:
        return message(value["code"], **values)
    except (KeyError, TypeError):  # of another version of the page
        return str(value["text"])


def _review_from_json(value: Mapping) -> Review:
    if value["format"] != FORMAT:
        raise ValueError("this is a review of another format")
    labels, second_labels = _labels(value["labels"]), _labels(value["second_labels"])
    if len(value["cells"]) > limits.REVIEW_CELLS or len(value["steps"]) > limits.REVIEW_STEPS:
        raise ValueError("this review has too many cells or steps")
    cells = tuple(_cell_from_json(one, labels, second_labels) for one in value["cells"])
    ids = {cell.id for cell in cells}
    if len(ids) != len(cells) or (cells and not labels):
        raise ValueError("the cells of a review have ids of their own, and its model has labels")
    choices = {*labels, *({BLAST.name} & {*second_labels}), *REJECTED}
    steps = tuple(_step_from_json(one) for one in value["steps"])
    if not all(step.cell in ids and step.decision in choices for step in steps):
        raise ValueError("a step is about a cell of another batch, or decides what cannot be decided")
    words = (_text(value[key]) for key in ("model", "second_model"))
    known = (_classes(value.get(key), of) for key, of in (("classes", labels), ("second_classes", second_labels)))
    return Review(cells, *words, float(value["review_below"]), steps, _text(value["comment"]), *known)


def _classes(value: Sequence[Mapping] | None, labels: tuple[str, ...]) -> tuple[CellClass, ...]:
    """The classes of a model's labels; an older review has none, and of known labels `describe` knows them."""
    found = classes.from_json(value) if value not in (None, []) else describe(labels)
    if tuple(one.name for one in found) != labels:
        raise ValueError("the classes of a review are those of its labels")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _labels(value: Sequence) -> tuple[str, ...]:
    labels = tuple(map(_text, value))
    if len(set(labels)) != len(labels) or len(labels) > limits.LABELS:
        raise ValueError("a label stands there twice, or there are too many")
    return labels


def _cell_from_json(value: Mapping, labels: tuple[str, ...], second_labels: tuple[str, ...]) -> Cell:
    name = _text(value["name"])
    said = _message_from_json(value["message"])
    prediction_set = tuple(label for label in value["prediction_set"] if label in labels)
    place = _place(value.get("place"))
    told = {"prediction_set": prediction_set, "suspected_blast": _is_suspected(value), "place": place}
    prediction = Prediction(name, _probabilities(value, labels), value["status"], said, labels, **told)
    second = value["second"]
    if second is not None:
        told = {"suspected_blast": _is_suspected(second), "place": place}
        second = Prediction(name, _probabilities(second, second_labels), second["status"], "", second_labels, **told)
    return Cell(prediction, checked_thumbnail(base64.b64decode(value["picture"], validate=True)), second, _text(value["id"]))


def _place(value: Mapping | None) -> Place | None:
    """Where a cell of a field is; None for the picture of a single cell, as of every cell of an older review."""
    if value is None:
        return None
    number, of, box, size = value["number"], value["of"], tuple(map(float, value["box"])), tuple(map(int, value["size"]))
    is_box = len(box) == 4 and box[0] < box[2] and box[1] < box[3]
    if not (isinstance(number, int) and isinstance(of, int) and number > 0 and is_box and len(size) == 2):
        raise ValueError("a cell of a field has a number and a box")
    return Place(number, of, box, float(value["found"]), value["cut"] is True, size)


def _is_suspected(value: Mapping) -> bool:
    """Whether a prediction was a suspected blast; an older review does not say so."""
    found = value.get("blast", False)
    if not isinstance(found, bool):
        raise ValueError("a cell may be a blast or not: true or false")
    return found


def checked_thumbnail(data: bytes) -> bytes:
    """A small JPEG, or nothing. Raises ValueError for anything else."""
    try:
        if data and max(Image.open(io.BytesIO(data), formats=("JPEG",)).size) > THUMBNAIL:
            raise ValueError("a picture of a review is a small one")
    except OSError as error:
        raise ValueError("a picture of a review is a JPEG") from error
    return data


def _probabilities(value: Mapping, labels: tuple[str, ...]) -> np.ndarray | None:
    """The probabilities of a prediction, checked together with its status."""
    status, given = value["status"], value["probabilities"]
    if status not in STATUSES or (given is None) != (status in WITHOUT_ANSWER):
        raise ValueError("this is no prediction")
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != len(labels):
        raise ValueError("a prediction has a probability for each label")
    probabilities = np.array([float(one) for one in given])
    if not ((probabilities >= 0) & (probabilities < 1.001)).all():
        raise ValueError("a probability lies between 0 and 1")
    return probabilities


def _step_from_json(value: Mapping) -> Step:
    number = value["number"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError("a step has a running number")
    return Step(_text(value["cell"]), number, _text(value["decision"]), _text(value.get("time", "")))
