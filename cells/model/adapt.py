"""A few labelled cells of one laboratory -> a model for this laboratory.

The second half of the network is fine-tuned on the labelled cells (cells/model/fine_tuning.py). In rounds before, a part of the
cells is held back: the answers to these say whether the new model is better than its base, and they set its temperature and the
probability from which a cell is `ok`. Results: results/adapt.md.
"""

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.special import softmax
from torch import nn

from cells.classes import CellClass, describe
from cells.messages import Error
from cells.model.adapt_report import ENOUGH, RIGHT, Report
from cells.model.classifier import Classifier
from cells.model.fine_tuning import FineTuning
from cells.model.folder import ADAPTED_FILE, CONFIG, NETWORK_FILES, UNCERTAINTY_FILE, WEIGHTS, unusable, write_classes
from cells.model.layers import head_of
from cells.model.temperature import divide, fit_temperature
from cells.model.torch_network import LOCK, TorchNetwork
from cells.model.uncertainty import NEVER_OK, Familiar, Uncertainty
from cells.read import limits

MOST_TYPES = 50
FOLDS = 2
HELD_BACK_STEPS = 0.5  # of the usual ones, so that all rounds together take as long as the last
FAMILIAR = 0.95  # of the labelled cells
LOWEST_TEMPERATURE = 0.5  # few answers do not show that a model may be much surer


class AdaptError(Error):
    """Labelled cells from which nothing can be learnt."""


@dataclass(frozen=True)
class Adapted:
    """The new model, in memory until it is saved."""

    classifier: Classifier
    report: Report

    def save(self, folder: Path) -> None:
        """Write a model folder, which must not exist. Raises OSError."""
        base, network = self.classifier.folder, self.classifier.backend
        folder.mkdir(parents=True)
        for name in NETWORK_FILES:
            if name not in (CONFIG, WEIGHTS) and (base / name).is_file():
                (folder / name).write_bytes((base / name).read_bytes())
        _save_weights(network.network, base / WEIGHTS, folder / WEIGHTS)
        config = with_labels(json.loads((base / CONFIG).read_text()), network.labels)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        self.classifier.uncertainty.save(folder / UNCERTAINTY_FILE)
        write_classes(folder, self.classifier.classes)
        (folder / ADAPTED_FILE).write_text(json.dumps(asdict(self.report), indent=2) + "\n")


def adapt(
    base: Classifier, pictures: Sequence[Image.Image], labels: Sequence[str], say: Callable[[float], None] = lambda share: None
) -> Adapted:
    """A model for the laboratory of these cells. `labels` may be types that the base does not know.

    `pictures` are RGB, one cell each; the same picture counts once. `say` hears which share is done. The same cells in the
    same order give the same model. Raises AdaptError where they are too few, of one type, or do not help; ModelError.
    """
    pictures, labels = _distinct(pictures, labels)
    counts = Counter(labels)
    _check(counts)
    network = _network(base)
    classes = [*network.labels, *(label for label in counts if label not in network.labels)]
    answers = np.array([classes.index(label) for label in labels])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        tuning = FineTuning(network, pictures, classes)
        before, held = _cross_validated(tuning, answers, say)
        _check_gain(before, held, answers)
        tuning.fit(answers, np.arange(len(answers)))
    say(1)
    temperature = fit_temperature(held, answers, LOWEST_TEMPERATURE)
    divide(head_of(network.network), temperature)
    network.labels = classes
    described = (*base.classes, *describe(classes[len(base.classes) :]))
    probabilities = softmax(held / temperature, 1)
    threshold = fit_threshold(probabilities, answers)
    rule = Uncertainty(
        tuple(threshold if counts[one.name] >= ENOUGH else NEVER_OK for one in described),
        blast_from=base.uncertainty.blast_from,
    )
    is_ok, is_right = ~rule.needs_person(probabilities, classes), probabilities.argmax(1) == answers
    if base.uncertainty.familiar is not None:
        rule = _with_familiar(rule, base, tuning.features(), labels, described)
    missing = {label: ENOUGH - count for label, count in counts.items() if count < ENOUGH}
    right, right_before, ok, ok_right = (
        int(of.sum()) for of in (is_right, before.argmax(1) == answers, is_ok, is_right & is_ok)
    )
    report = Report(f"{base.name}@{base.version}", dict(counts), right, right_before, ok, ok_right, missing)
    version = f"{base.version}+{report.total}"  # until it has a folder of its own
    return Adapted(Classifier(base.folder, network, rule, base.name, version, described), report)


def _distinct(pictures: Sequence[Image.Image], labels: Sequence[str]) -> tuple[list[Image.Image], list[str]]:
    """Each picture once. Raises AdaptError where one has two labels."""
    found: dict[bytes, tuple[Image.Image, str]] = {}
    for picture, label in zip(pictures, labels, strict=True):
        digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
        if found.setdefault(digest, (picture, label))[1] != label:
            raise AdaptError("adapt_two_labels", first=found[digest][1], second=label)
    return [picture for picture, _ in found.values()], [label for _, label in found.values()]


def _check(counts: Mapping[str, int]) -> None:
    total, (fewest, most) = sum(counts.values()), limits.LABELLED
    if total < fewest or len(counts) < 2:
        raise AdaptError("adapt_too_few", fewest=fewest, cells=total, types=len(counts))
    if total > most or len(counts) > MOST_TYPES:
        raise AdaptError("adapt_too_many", most=most, types=MOST_TYPES)


def _network(base: Classifier) -> TorchNetwork:
    """A network of its own. Raises ModelError."""
    try:
        with LOCK:
            return TorchNetwork(base.folder)
    except Exception as error:  # its files may have changed since the classifier was loaded
        raise unusable(base.name, error) from error


def _cross_validated(tuning: FineTuning, answers: np.ndarray, say: Callable[[float], None]) -> tuple[np.ndarray, np.ndarray]:
    """(logits of the base, logits of networks that did not see the cell), each (n, classes)."""
    before = tuning.logits(np.arange(len(answers)))
    held, folds = np.empty_like(before), folds_of(answers)
    for fold in range(FOLDS):
        tuning.fit(answers, np.flatnonzero(folds != fold), HELD_BACK_STEPS)
        own = np.flatnonzero(folds == fold)
        held[own] = tuning.logits(own)
        say((fold + 1) / (FOLDS + 2))
    return before, held


def folds_of(answers: np.ndarray) -> np.ndarray:
    """(n,) the part in which a cell is held back: in turns within each type, and over the types."""
    order = np.argsort(answers, kind="stable")
    folds = np.empty(len(answers), int)
    folds[order] = np.arange(len(answers)) % FOLDS
    return folds


def _check_gain(before: np.ndarray, held: np.ndarray, answers: np.ndarray) -> None:
    """Raises AdaptError where the types are named worse than before, in their mean."""

    def balanced(logits: np.ndarray) -> float:
        is_right = logits.argmax(1) == answers
        return float(np.mean([is_right[answers == one].mean() for one in np.unique(answers)]))

    if balanced(held) < balanced(before):
        right, right_before = ((logits.argmax(1) == answers).sum() for logits in (held, before))
        raise AdaptError("adapt_no_gain", right=right, before=right_before, total=len(answers))


def fit_threshold(probabilities: np.ndarray, answers: np.ndarray) -> float:
    """The lowest probability from which RIGHT of the answers are right.

    One answer is counted as wrong beside those that are: a few right ones promise nothing. NEVER_OK where none will do.
    """
    order = np.argsort(-probabilities.max(1), kind="stable")
    is_right = (probabilities.argmax(1) == answers)[order]
    shares = np.cumsum(is_right) / (np.arange(len(order)) + 2)
    enough = np.flatnonzero(shares >= RIGHT)
    if not len(enough):
        return NEVER_OK
    return float(probabilities.max(1)[order][enough[-1]])


def _with_familiar(
    rule: Uncertainty, base: Classifier, features: np.ndarray, labels: Sequence[str], classes: Sequence[CellClass]
) -> Uncertainty:
    """The rule with what is familiar in this laboratory: the base's class means, moved to where its cells lie.

    All means are moved alike, since a few cells of a class do not say where its own lies. A new class has that of its cells.
    """
    before = base.uncertainty.familiar
    whitened = (features - before.centre) / before.scale @ before.whitening.astype(np.float32)
    of_label, names = dict(zip(base.labels, before.means, strict=True)), np.array(labels)
    known = [label for label in dict.fromkeys(labels) if label in of_label]
    shifts = [whitened[names == label].mean(0) - of_label[label] for label in known]
    shift = np.mean(shifts, 0) if shifts else np.zeros(features.shape[1])
    means = [of_label[one.name] + shift if one.name in of_label else whitened[names == one.name].mean(0) for one in classes]
    familiar = Familiar(before.centre, before.scale, before.whitening, np.stack(means).astype(np.float32))
    farthest = float(np.quantile(familiar.distance(features), FAMILIAR))
    return replace(rule, familiar=familiar, unfamiliar_above=max(base.uncertainty.unfamiliar_above, farthest))


def with_labels(config: dict, labels: Sequence[str]) -> dict:
    """A config.json for other labels, in timm's layout or in that of transformers."""
    if "pretrained_cfg" in config:
        preprocessing = config["pretrained_cfg"] | {"num_classes": len(labels)}
        return config | {"num_classes": len(labels), "label_names": list(labels), "pretrained_cfg": preprocessing}
    names = {str(index): label for index, label in enumerate(labels)}
    return config | {"id2label": names, "label2id": {label: int(index) for index, label in names.items()}}


def _save_weights(network: nn.Module, base: Path, file: Path) -> None:
    """The weights by the names that they have in the base's file, and in its precision."""
    with safe_open(base, "pt") as before:
        kind, metadata = before.get_tensor(next(iter(before.keys()))).dtype, before.metadata()
    network = copy.deepcopy(network).to(kind)
    if not hasattr(network, "timm_model"):  # transformers names the weights of a file in its own way
        network.save_pretrained(file.parent)
        return
    weights = {name: value.contiguous() for name, value in network.timm_model.state_dict().items()}
    save_file(weights, file, metadata)
