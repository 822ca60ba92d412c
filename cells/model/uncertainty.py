"""How uncertain a prediction is: the status that stands before the answer, and the prediction set, the classes left open.

Thresholds, all chosen on validation pictures (train/uncertainty.py), lie in the model folder as trust.json:

- a picture is `unfamiliar` (out of distribution) whose features lie far from those of every class's training pictures: the
  Mahalanobis distance to the nearest class mean under one shared covariance (Lee et al. 2018), of features at unit length
  (Müller & Hein 2025);
- a cell is to `review` whose highest probability is low, in models of several laboratories for the class that it names;
- a cell is a suspected blast, and to `review`, whose probability of a blast is not low, whatever else is more probable;
- the prediction set are the classes above a probability that the true one reaches in 99 % of the cases (Sadinle et al. 2019).

What the distance needs beside its threshold lies in trust.safetensors.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from cells.classes import BLAST
from cells.messages import Message, message
from cells.model.folder import UNCERTAINTY_ARRAYS, UNCERTAINTY_FILE

OK, REVIEW, UNFAMILIAR, EMPTY, ERROR = STATUSES = "ok", "review", "unfamiliar", "empty", "error"
WITHOUT_ANSWER = (EMPTY, ERROR)  # a field without a white cell, a file that cannot be read

CSV_DECIMALS = 6  # of a probability in a CSV
NEVER_OK = 2.0  # a threshold above any probability


@dataclass(frozen=True, eq=False)
class Familiar:
    """Where the features of training pictures lie: a mean per class, one covariance for all."""

    centre: np.ndarray  # (width,)
    scale: np.ndarray  # (width,)
    whitening: np.ndarray  # (width, width): scaled features times this have the unit matrix as covariance
    means: np.ndarray  # (classes, width), whitened

    def __post_init__(self) -> None:
        width = self.centre.size
        if (self.scale.shape, self.whitening.shape, self.means.shape[1:]) != ((width,), (width, width), (width,)):
            raise ValueError(f"the arrays of {UNCERTAINTY_ARRAYS} do not fit each other")

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(n,) Mahalanobis distances of features (n, width) to the nearest class mean."""
        whitened = (features - self.centre) / self.scale @ self.whitening.astype(np.float32)
        return np.linalg.norm(whitened[:, None] - self.means, axis=2).min(axis=1)


@dataclass(frozen=True)
class Uncertainty:
    """What decides the status of a prediction. The defaults serve folders without a trust.json."""

    review_below: float | tuple[float, ...] = 0.9  # probability; a tuple has one for each class, above 1 for never ok
    candidate_from: float | None = None  # probability; without it the most probable class is alone in the prediction set
    unfamiliar_above: float | None = None  # distance; without it no picture is unfamiliar
    blast_from: float | None = None  # probability of the class `blast`; without it no cell is a suspected blast
    familiar: Familiar | None = None

    @classmethod
    def load(cls, file: Path) -> "Uncertainty":
        """From a trust.json, with the trust.safetensors beside it where it has a threshold for the distance.

        Raises whatever a broken file makes json, safetensors or numpy raise.
        """
        thresholds = {name: _threshold(name, value) for name, value in json.loads(file.read_text()).items()}
        if not all(np.isfinite(value).all() for value in thresholds.values()):
            raise ValueError(f"{UNCERTAINTY_FILE} has a threshold that is no number")
        if "unfamiliar_above" not in thresholds:
            return cls(**thresholds)
        return cls(**thresholds, familiar=Familiar(**load_file(file.with_name(UNCERTAINTY_ARRAYS))))

    def save(self, file: Path) -> None:
        """Write a trust.json and, where there is a distance, the trust.safetensors beside it."""
        names = ("review_below", "candidate_from", "unfamiliar_above", "blast_from")
        thresholds = {name: getattr(self, name) for name in names}
        known = {name: value for name, value in thresholds.items() if value is not None}
        if self.familiar is not None:
            save_file(vars(self.familiar), file.with_name(UNCERTAINTY_ARRAYS))
        file.write_text(json.dumps(known, indent=2) + "\n")

    def distances(self, features: np.ndarray) -> list[float] | list[None]:
        """Of features (n, width): the distance relative to its threshold, so that above 1 is unfamiliar."""
        if self.familiar is None:
            return [None] * len(features)
        return (self.familiar.distance(features) / self.unfamiliar_above).tolist()

    @property
    def lowest(self) -> float:
        """The lowest probability that a cell can be ok with."""
        return float(np.min(self.review_below))

    def ok_from(self, answers: int | np.ndarray) -> np.ndarray:
        """The probability from which a cell with this answer, the index of a class, needs no person; of an array, of each."""
        thresholds = np.asarray(self.review_below)
        return thresholds[answers] if thresholds.ndim else np.full(np.shape(answers), thresholds)

    def suspects_blast(self, probability: float | np.ndarray) -> np.ndarray:
        """Whether a cell with this probability of a blast is a suspected blast; of an array, of each.

        Probabilities are compared with the six decimals of a CSV, so that who reads one counts the same cells.
        """
        if self.blast_from is None:
            return np.zeros(np.shape(probability), bool)
        return np.round(np.asarray(probability, float), CSV_DECIMALS) >= np.round(self.blast_from, CSV_DECIMALS)

    def needs_person(self, probabilities: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """(n,) of bool from probabilities (n, classes): which cells are to `review`, if they are familiar."""
        found = ~(probabilities.max(1) >= self.ok_from(probabilities.argmax(1)))  # also where a probability is no number
        if BLAST.name in labels:
            found |= self.suspects_blast(probabilities[:, list(labels).index(BLAST.name)])
        return found

    def status(
        self, probabilities: np.ndarray, distance: float | None = None, is_suspected_blast: bool = False
    ) -> tuple[str, Message | str]:
        """(status, message) of one probability vector and its relative distance."""
        if distance is not None and not distance <= 1:  # nor where it is no number
            return UNFAMILIAR, message("unfamiliar")
        if is_suspected_blast:
            return REVIEW, message("blast")
        threshold = float(self.ok_from(probabilities.argmax()))
        if threshold > 1:
            return REVIEW, message("review_always")
        if not probabilities.max() >= threshold:  # nor where it is no number
            return REVIEW, message("review", threshold=f"{threshold:.3f}")
        return OK, ""

    def prediction_sets(self, probabilities: np.ndarray) -> np.ndarray:
        """(n, classes) of bool from probabilities (n, classes): the classes that a picture may show, the likeliest always."""
        kept = np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(axis=1)]
        return kept if self.candidate_from is None else kept | (probabilities >= self.candidate_from)


def _threshold(name: str, value: object) -> float | tuple[float, ...]:
    """A value of a trust.json: a number, or for `review_below` also a list of one for each class."""
    return tuple(map(float, value)) if name == "review_below" and isinstance(value, list) else float(value)
