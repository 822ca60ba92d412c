"""What a model says of one picture."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cells.classes import LABELS
from cells.locate.parts import Place
from cells.messages import Message


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What the model says of one picture. `probabilities` is (classes,) in the order of `labels`, None for an error
    and for a field without a white cell.

    `prediction_set` are the labels that it leaves open, the most probable first; none for an error. `distance` is that from the
    training pictures, above 1 for an unfamiliar one; None for an error, and where the model's folder has no measure of it.
    `suspected_blast`: it may be a blast, so its status is never `ok`. `place` is where in the field
    `file` the cell is; None where the picture is one of a single cell.
    """

    file: str
    probabilities: np.ndarray | None
    status: str
    message: Message | str  # why the status is not `ok`
    labels: tuple[str, ...] = LABELS
    prediction_set: tuple[str, ...] = ()
    distance: float | None = None
    suspected_blast: bool = False
    place: Place | None = None

    @cached_property
    def ranking(self) -> tuple[tuple[str, float], ...]:
        """(label, probability), the most probable first; empty for an error."""
        if self.probabilities is None:
            return ()
        order = np.argsort(-self.probabilities, kind="stable")
        return tuple((self.labels[index], float(self.probabilities[index])) for index in order)

    @property
    def label(self) -> str | None:
        """The most probable label; None for an error."""
        return self.ranking[0][0] if self.ranking else None

    @property
    def probability(self) -> float | None:
        """Of that label; None for an error."""
        return self.ranking[0][1] if self.ranking else None

    def __eq__(self, other: object) -> bool:
        """Whether everything is the same, to the last bit of a probability."""
        if not isinstance(other, Prediction):
            return NotImplemented
        return self._texts() == other._texts() and np.array_equal(self._numbers(), other._numbers(), equal_nan=True)

    def __hash__(self) -> int:
        return hash(self._texts())

    def __repr__(self) -> str:
        answer = "" if self.label is None else f", {self.label!r}, {self.probability:.4f}"
        told = f", {str(self.message)!r}" if self.message else ""
        return f"Prediction({self.file!r}{answer}, {self.status!r}{told})"

    def _numbers(self) -> np.ndarray:
        """The probabilities and the distance, NaN for what there is not."""
        probabilities = [] if self.probabilities is None else self.probabilities.tolist()
        return np.array([*probabilities, np.nan if self.distance is None else self.distance])

    def _texts(self) -> tuple:
        return self.file, self.status, str(self.message), self.labels, self.prediction_set, self.suspected_blast, self.place
