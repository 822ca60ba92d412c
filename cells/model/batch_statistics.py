"""Which classifier answers for a batch: where most of its pictures are unfamiliar, one with the batch's own statistics.

Another camera or another stain shifts the values within a network. Batch-norm statistics of the batch itself undo a part of
that (cells/model/adapted_network.py); where the pictures are familiar they cost accuracy. Results: results/README.md.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from safetensors import safe_open

from cells.locate.parts import CELL, FIELD, reader
from cells.model.classifier import Classifier
from cells.model.folder import WEIGHTS, unusable
from cells.model.onnx_network import OnnxNetwork
from cells.model.threads import pool
from cells.model.uncertainty import NEVER_OK, UNFAMILIAR, WITHOUT_ANSWER
from cells.read.images import ImageError, Source, read_image

SAMPLE = 256  # pictures, and cells, at most that the statistics come from
FEWEST = 50  # cells of the sample
WEIGHT = 0.4  # of the batch's statistics against the running ones; python -m train batch_statistics measures others


def for_batch(classifier: Classifier, sources: Sequence[Source], how: str = CELL) -> Classifier:
    """`classifier` itself, or one with the statistics of the batch, which calls no cell `ok`.

    The latter where a sample has at least FEWEST cells, more than half of these are unfamiliar, and the network has batch-norm
    layers; its str() ends in `+batch`. `sources` are the whole batch, taken as `how` says (cells/locate/parts.py). The
    same list in the same order gives the same answers. Raises ModelError, LocatorError.
    """
    chosen = sample(sources)
    if how != FIELD and len(chosen) < FEWEST:  # as a rule of a cell each: none is classified twice for nothing
        return classifier
    if not is_unlike([prediction.status for prediction in classifier.predict(chosen, how=how)]):
        return classifier
    return adapted(classifier, chosen, how=how)


def sample(batch: Sequence) -> list:
    """At most SAMPLE of a batch, evenly from all."""
    size = min(len(batch), SAMPLE)
    return [batch[place * len(batch) // size] for place in range(size)]


def some(cells: Iterable) -> list:
    """At most SAMPLE of cells that are not held all at once, each as likely (Vitter 1985), the same ones each time."""
    generator, kept = np.random.default_rng(0), []
    for count, cell in enumerate(cells):
        if count < SAMPLE:
            kept.append(cell)
        elif (place := int(generator.integers(count + 1))) < SAMPLE:
            kept[place] = cell
    return kept


def is_unlike(statuses: Sequence[str]) -> bool:
    """Whether a sample with these statuses has FEWEST cells, more than half of them unfamiliar."""
    readable = sum(status not in WITHOUT_ANSWER for status in statuses)
    return readable >= FEWEST and statuses.count(UNFAMILIAR) > readable / 2


def has_statistics(classifier: Classifier) -> bool:
    """Whether its network has batch-norm layers, as its file of weights tells without PyTorch. Raises ModelError."""
    try:
        with safe_open(classifier.folder / WEIGHTS, "numpy") as weights:
            return any(name.endswith("running_mean") for name in weights.keys())  # noqa: SIM118, it is no dict
    except Exception as error:  # its files may have changed since the classifier was loaded
        raise unusable(classifier.name, error) from error


def adapted(classifier: Classifier, sources: Sequence[Source], weight: float = WEIGHT, how: str = CELL) -> Classifier:
    """A classifier with statistics that are moved by `weight` towards those of SAMPLE cells at most of these pictures.

    `classifier` itself where the network has no batch-norm layers. Raises ModelError.
    """
    from cells.model.adapted_network import AdaptedNetwork  # seconds, which the exported network saves

    try:
        network = AdaptedNetwork(classifier.folder)
    except Exception as error:  # its files may have changed since the classifier was loaded
        raise unusable(classifier.name, error) from error
    if not network.can_adapt:
        return classifier

    parts = reader(how)

    def submit(source: Source) -> list[np.ndarray]:
        try:
            return [network.submit(image) for image, _ in parts(read_image(source))]
        except ImageError:
            return []

    cells = some(chain.from_iterable(pool().map(submit, sources)))
    network.adapt(cells, weight)
    if isinstance(classifier.backend, OnnxNetwork):
        network.serve_exported(cells[0])
    # The thresholds were fitted to answers with the running statistics.
    rule = dataclasses.replace(classifier.uncertainty, review_below=NEVER_OK)
    return Classifier(classifier.folder, network, rule, classifier.name, classifier.version, classifier.classes)
