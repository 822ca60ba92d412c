"""Thresholds that hold where a model has not learnt, from runs that left a laboratory out.

To a run that left a laboratory out, that laboratory is a new one. So the temperature and the thresholds of a model that
learnt from all of them are fitted on what such runs answer there, together with the model's own validation pictures.

In a new laboratory some answers are right far less often than their probability says, and others are not: it depends on the
class. So each class has a threshold of its own: a logistic regression (Platt 1999) on the class that is answered and the
logit of its probability estimates how often that is right, and every class is ok from the same estimate on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from cells import pbc
from cells.model.classifier import Classifier
from train import backend, data
from train.laboratories import FIVE, among, card_row_of, scores

HOME_CORRECT, CORRECT = 0.995, 0.95  # of what is called ok: at home, in any other laboratory
FAMILIAR_SHARE = 0.99  # of the validation cells of each laboratory that the model learnt from
NEVER = 1.1  # a threshold that no probability reaches


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of the pictures of one laboratory whose classes it knows."""

    laboratory: str
    classes: tuple[str, ...]
    correct: float  # how much of what is called ok is to be right
    probabilities: np.ndarray  # (n, classes)
    labels: np.ndarray  # (n,)
    distances: np.ndarray  # (n,), 1 where the same model's own validation pictures begin to be unfamiliar

    def within(self, farther: float) -> "Answers":
        """Those of the pictures that are no farther than that."""
        near = self.distances <= farther
        return replace(self, **{name: getattr(self, name)[near] for name in ("probabilities", "labels", "distances")})

    def at(self, temperature: float) -> "Answers":
        """The same with logits divided by a temperature."""
        return replace(self, probabilities=tempered(self.probabilities, temperature))

    @property
    def right(self) -> np.ndarray:
        """(n,) of bool."""
        return self.probabilities.argmax(1) == self.labels


@dataclass(frozen=True)
class Limits:
    """What is fitted: the temperature of the logits, the probability from which a class is ok, and a factor of the distance."""

    temperature: float
    review_below: dict[str, float]
    farther: float

    def ok(self, answers: Answers) -> np.ndarray:
        """(n,) of bool: which answers, at the temperature already, are called ok."""
        needed = np.array([self.review_below[name] for name in answers.classes])[answers.probabilities.argmax(1)]
        return (answers.probabilities.max(1) >= needed) & (answers.distances <= self.farther)


def answers_of(model: Classifier, rows: datasets.Dataset, laboratory: str, correct: float) -> Answers:
    """The answers to those rows whose type is a class of the model. Raises DataError."""
    index = {label: number for number, label in enumerate(model.labels)}
    kept = [row for row, cell_type in enumerate(rows["cell_type"][:]) if cell_type in index]
    rows = rows.select(kept)
    predictions = backend.predict(model, rows)
    return Answers(
        laboratory,
        model.labels,
        correct,
        np.stack([one.probabilities for one in predictions]),
        np.array([index[cell_type] for cell_type in rows["cell_type"][:]]),
        np.array([one.distance for one in predictions]),
    )


def answers_at_home(
    sources: np.ndarray, classes: Sequence[str], probabilities: np.ndarray, labels: np.ndarray, distances: np.ndarray
) -> list[Answers]:
    """A model's answers to its own validation pictures, by laboratory; `sources` names that of each picture."""
    found = []
    for name in dict.fromkeys(sources.tolist()):
        own, correct = sources == name, HOME_CORRECT if name == data.HOME else CORRECT
        found.append(Answers(name, tuple(classes), correct, probabilities[own], labels[own], distances[own]))
    return found


def answers_left_out(run: Path, dataset: datasets.Dataset, split: dict[str, str], known: Sequence[str]) -> list[Answers]:
    """A run's answers in each laboratory of `known` that it did not learn from. Raises DataError."""
    model = Classifier.load(str(run / "model"))
    found = []
    for name in laboratories_left_out(run, known):
        rows = data.of_laboratory(dataset, split, name, None)
        if not len(rows):
            raise pbc.DataError(f"--data has no picture of {name}, which {run} left out.")
        found.append(answers_of(model, rows, name, CORRECT))
    return found


def laboratories_left_out(run: Path, known: Sequence[str]) -> list[str]:
    """Those of `known` that a run did not learn from. Raises DataError where there is none."""
    found = [name for name in known if name not in data.sources_of(run / "model")]
    if not found:
        raise pbc.DataError(f"{run} left no laboratory out: it learnt from {', '.join(known)}.")
    return found


def fit(own: Sequence[Answers], left_out: Sequence[Answers]) -> Limits:
    """From the answers of a model to its validation pictures, and of other runs in laboratories that they left out.

    FAMILIAR_SHARE of each own laboratory's cells are familiar, and only familiar cells decide the rest: the temperature is
    that of the mean over laboratories, and what is ok is right as often as promised in every one.
    """
    farther = max([1.0, *(float(np.quantile(one.distances, FAMILIAR_SHARE)) for one in own)])
    near = [one for each in (*own, *left_out) if len((one := each.within(farther)).labels)]
    temperature = fit_temperature(near)
    return Limits(temperature, fit_review_below([one.at(temperature) for one in near]), farther)


def fit_temperature(everywhere: Sequence[Answers]) -> float:
    """That which makes the mean over laboratories of the negative log likelihood smallest (Guo et al. 2017)."""

    def loss(temperature: float) -> float:
        own = [_likelihood(one.at(temperature)) for one in everywhere]
        return -float(np.mean(own))

    return float(minimize_scalar(loss, bounds=(0.2, 5), method="bounded").x)


def _likelihood(answers: Answers) -> float:
    of_truth = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    return float(np.log(np.clip(of_truth, 1e-12, 1)).mean())


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities (n, classes) of logits divided by a temperature."""
    powers = np.clip(probabilities, 1e-12, 1) ** (1 / temperature)
    return powers / powers.sum(1, keepdims=True)


def fit_review_below(everywhere: Sequence[Answers]) -> dict[str, float]:
    """For each class the lowest probability with which it is ok, so that every laboratory gets what it was promised."""
    classes = list(dict.fromkeys(name for one in everywhere for name in one.classes))
    right = np.concatenate([one.right for one in everywhere])
    if right.all() or not right.any():
        return dict.fromkeys(classes, 0.0 if right.all() else NEVER)
    said = [_said(one, classes) for one in everywhere]
    weights = np.concatenate([np.full(len(one.labels), len(right) / len(everywhere) / len(one.labels)) for one in everywhere])
    fitted = LogisticRegression(max_iter=1000).fit(np.concatenate(said), right, weights)
    estimates = [fitted.predict_proba(one)[:, 1] for one in said]
    needed = max(lowest_estimate(one.right, estimate, one.correct) for one, estimate in zip(everywhere, estimates, strict=True))
    *of_class, slope = fitted.coef_[0]
    if needed > 1 or slope <= 0:
        return dict.fromkeys(classes, NEVER)
    return {
        name: float(expit((logit(needed) - fitted.intercept_[0] - add) / slope))
        for name, add in zip(classes, of_class, strict=True)
    }


def _said(answers: Answers, classes: Sequence[str]) -> np.ndarray:
    """(n, classes + 1): which class was answered, as zeros and a one, and the logit of its probability."""
    columns = np.array([classes.index(name) for name in answers.classes])[answers.probabilities.argmax(1)]
    return np.column_stack([np.eye(len(classes))[columns], logit(answers.probabilities.max(1).clip(1e-6, 1 - 1e-6))])


def lowest_estimate(right: np.ndarray, estimates: np.ndarray, correct: float) -> float:
    """The lowest estimate (n,) from which a share of `correct` of the answers is right (n,); above 1 where none is."""
    order = np.argsort(-estimates, kind="stable")
    share = right[order].cumsum() / np.arange(1, len(order) + 1)
    is_last = np.append(np.diff(estimates[order]) < 0, True)[: len(order)]  # cells of one estimate are ok together
    last = np.flatnonzero((share >= correct) & is_last)
    return float(estimates[order[last[-1]]]) if len(last) else NEVER


def figures(own: Sequence[Answers], left_out: Sequence[Answers]) -> list[dict]:
    """A row of the card for each left-out laboratory; what is ok there is decided by limits that were fitted without it."""
    rows = []
    for one in left_out:
        limits = fit(*([other for other in some if other.laboratory != one.laboratory] for some in (own, left_out)))
        answers = one.at(limits.temperature)
        truths = np.array(answers.classes)[answers.labels]
        five = among(FIVE, truths, answers.probabilities, list(answers.classes))
        measured = scores(answers.probabilities, answers.labels, limits.ok(answers)) | five
        rows.append(card_row_of(one.laboratory, "left out", "all", measured))
    return rows
