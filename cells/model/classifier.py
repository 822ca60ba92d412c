"""Model folder -> Classifier -> predictions, in input order.

classifier = Classifier.load("models/resnet18")
for prediction in classifier.predict(["a.jpg", "b.jpg"]):
    print(prediction.file, prediction.label, prediction.probability, prediction.status)
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cells.classes import BLAST, CellClass, describe, in_order
from cells.locate.parts import CELL, Parts, Place, reader
from cells.messages import message
from cells.model import onnx_network, uncertainty
from cells.model.device import has_gpu
from cells.model.export import ExportError, export
from cells.model.folder import (
    CLASSES_FILE,
    UNCERTAINTY_ARRAYS,
    UNCERTAINTY_FILE,
    ModelError,
    check_labels,
    is_embedded,
    locate,
    read_classes,
    unusable,
)
from cells.model.folder import version as version_of
from cells.model.onnx_network import OnnxNetwork
from cells.model.prediction import Prediction
from cells.model.threads import pool
from cells.model.uncertainty import Uncertainty
from cells.read.images import ImageError, Source, read_image, thumbnail

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel

    from cells.model.layers import TransformersLayers
    from cells.model.torch_network import TorchNetwork

BATCH_SIZE = 8
AS_IT_IS = reader(CELL)  # every picture shows one cell
_locks: dict[Path, threading.Lock] = {}  # of the folders of embedded models: whoever comes second finds what the first exported
log = logging.getLogger(__name__)


class Classifier:
    """A network with its own preprocessing, its classes and its rule of uncertainty."""

    def __init__(
        self,
        folder: Path,
        backend: "OnnxNetwork | TorchNetwork",
        rule: Uncertainty,
        name: str,
        version: str,
        classes: Sequence[CellClass] = (),
    ) -> None:
        """`classes` are in the order in which it is to give probabilities; without them they are those of its labels."""
        self.folder = folder
        self.backend = backend
        self.uncertainty = rule
        self.name = name
        self.version = version  # the first digits of the SHA-256 of its files: it cannot name another model
        self.classes = tuple(classes) or describe(in_order(backend.labels))
        self.labels = tuple(one.name for one in self.classes)
        # The network may have its outputs in another order.
        self._outputs = [backend.labels.index(label) for label in self.labels]
        self._blast = self.labels.index(BLAST.name) if BLAST.name in self.labels else None
        self._lock = threading.Lock()

    def __str__(self) -> str:
        """NAME@VERSION/BACKEND: also what answered, since 8 bits and 32 bits answer differently."""
        return f"{self.name}@{self.version}/{self.backend.name}"

    @classmethod
    def load(cls, source: str | os.PathLike, name: str | None = None) -> "Classifier":
        """From the name of an embedded model, a model folder or a Hub id (with `@REVISION`, a branch, tag or commit of it).

        `name` is what the results call it; without one it is the folder's or the id. Weights in pickle form are never read.
        On a CPU the exported network answers where there is one (an embedded model's is made when it is first loaded),
        otherwise PyTorch. Raises ModelError.
        """
        place, revision = locate(source)
        called = name or source
        try:
            folder = Path(place) if Path(place).is_dir() else _fetch(place, revision)
            version = version_of(folder)
            rule = Uncertainty.load(folder / UNCERTAINTY_FILE) if (folder / UNCERTAINTY_FILE).is_file() else Uncertainty()
            backend = load_backend(folder, may_export=is_embedded(folder))
            check_labels(backend.labels, called, (folder / CLASSES_FILE).is_file())
            classes = read_classes(folder, in_order(backend.labels))
        except Exception as error:  # from JSON, safetensors, timm, the Hub: whatever a broken folder makes them raise
            raise unusable(called, error) from error
        own_name = folder.resolve().name if Path(place).is_dir() else os.fspath(source)
        classifier = cls(folder, backend, rule, name or own_name, version, classes)
        classifier._check_uncertainty(called)
        return classifier

    @property
    def network(self) -> "PreTrainedModel":
        """The network in PyTorch, for what needs gradients or layers. Loaded when it is first asked for. Raises ModelError."""
        return self._torch.network

    @property
    def layers(self) -> "TransformersLayers":
        """What saliency asks of that network. Raises ModelError."""
        return self._torch.layers

    @property
    def _torch(self) -> "TorchNetwork":
        with self._lock:
            return self._loaded_torch

    @cached_property
    def _loaded_torch(self) -> "TorchNetwork":
        if not isinstance(self.backend, OnnxNetwork):
            return self.backend
        try:
            return _torch_network(self.folder)
        except Exception as error:  # its files may have changed since the exported network was loaded
            raise unusable(self.name, error) from error

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """(3, s, s): what the network takes of one picture, by the folder's own preprocessing."""
        return self._torch.preprocess(image)

    def predict(
        self,
        sources: Source | Iterable[Source],
        files: str | Iterable[str] | None = None,
        batch_size: int = BATCH_SIZE,
        how: str = CELL,
    ) -> Iterator[Prediction]:
        """Yield a prediction per cell, in order, as batches are done; an unreadable source has the status `error`.

        `how` sources are taken (cells/locate/parts.py): each as the picture of one `cell`; as a `field`, whose white cells are
        found; or `auto`, as what it shows. A field without a white cell has one prediction with the status `empty`.

        `sources` is one source, or any number of them, also from a generator. `files` are the names to report; without them a
        source's own path is, and `picture N` for the N-th where it has none. Raises ValueError where their number is another.
        """
        return (prediction for _, prediction in classify_all([self], sources, files, batch_size, parts=reader(how)))

    def table(
        self,
        sources: Source | Iterable[Source],
        files: str | Iterable[str] | None = None,
        batch_size: int = BATCH_SIZE,
        how: str = CELL,
    ) -> "pd.DataFrame":
        """The predictions as a table, with the columns of the CSV; see predict()."""
        from cells.review import Cell, Review  # pandas takes a second to import
        from cells.write import table

        cells = tuple(map(Cell, self.predict(sources, files, batch_size, how)))
        return table.to_frame(Review(cells, str(self), classes=self.classes))

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, classes) in the order of `labels`, of RGB pictures of any size."""
        return self.measure(images)[0]

    def measure(self, sources: Iterable[Source], batch_size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities (n, classes), features (n, width)), on which the rule of uncertainty is fitted. Raises ImageError."""
        batches = [
            self._collect(batch) for batch in _ahead(lambda one: self.backend.submit(read_image(one)), sources, batch_size)
        ]
        probabilities, features = zip(*batches, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    def _collect(self, submitted: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities (n, classes), features (n, width)) of pictures that the network has submitted."""
        logits, features = self.backend.collect(submitted)
        powers = np.exp(logits[:, self._outputs] - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True), features

    def _answers(self, submitted: Sequence) -> Iterator[tuple[np.ndarray, tuple[str, ...], float | None]]:
        """(probabilities, prediction set, distance) of each picture."""
        if not submitted:
            return iter(())
        probabilities, features = self._collect(submitted)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        kept = self.uncertainty.prediction_sets(probabilities)
        sets = (tuple(self.labels[i] for i in ranks if row[i]) for ranks, row in zip(order, kept, strict=True))
        return zip(probabilities, sets, self.uncertainty.distances(features), strict=True)

    def _prediction(
        self, file: str, place: Place | None, row: np.ndarray, prediction_set: tuple[str, ...], distance: float | None
    ) -> Prediction:
        is_suspected = self._blast is not None and bool(self.uncertainty.suspects_blast(row[self._blast]))
        status, said = self.uncertainty.status(row, distance, is_suspected)
        if place is not None and place.is_cut and status == uncertainty.OK:
            status, said = uncertainty.REVIEW, message("cell_cut")
        return Prediction(file, row, status, said, self.labels, prediction_set, distance, is_suspected, place)

    def _check_uncertainty(self, source: str | os.PathLike) -> None:
        """That it is one of this network's classes and features. Raises ModelError."""
        of_class = self.uncertainty.review_below
        knows_no_blast = self.uncertainty.blast_from is not None and self._blast is None
        if knows_no_blast or (isinstance(of_class, tuple) and len(of_class) != len(self.labels)):
            raise unusable(source, ModelError("model_arrays_foreign", file=UNCERTAINTY_FILE))
        if self.uncertainty.familiar is None:
            return
        _, features = self.measure([Image.new("RGB", (8, 8))])
        if self.uncertainty.familiar.means.shape != (len(self.labels), features.shape[1]):
            raise unusable(source, ModelError("model_arrays_foreign", file=UNCERTAINTY_ARRAYS))


def classify_all(
    classifiers: Sequence[Classifier],
    sources: Source | Iterable[Source],
    files: str | Iterable[str] | None = None,
    batch_size: int = BATCH_SIZE,
    thumbnail_side: int = 0,
    parts: Parts = AS_IT_IS,
) -> Iterator[tuple[bytes, *tuple[Prediction, ...]]]:
    """Yield (a thumbnail, a prediction of each classifier) per cell, in order; see Classifier.predict.

    Each picture is read once, beside what is computed. Of it only what the networks take is kept, and a thumbnail of at most
    `thumbnail_side` pixels (empty for 0), which shows the whole picture or the cell in a field: many large ones at a time would
    fill the memory. `parts` gives the cells of a picture (cells/locate/parts.py); by itself a picture shows one. A picture
    without a cell has one row, with the status `empty`.
    """

    def submit(named: tuple[str, Source]) -> tuple[str, ImageError | list[_Submitted]]:
        file, source = named
        try:
            picture = read_image(source)
            found = parts(picture)
        except ImageError as error:
            return file, error
        return file, [
            (
                place,
                thumbnail(picture if place is None else image, thumbnail_side) if thumbnail_side else b"",
                [one.backend.submit(image) for one in classifiers],
            )
            for image, place in found
        ]

    return _classified(classifiers, _ahead(submit, _named(sources, files), batch_size))


_Submitted = tuple[Place | None, bytes, list]  # a cell: its place, its thumbnail, what each network was given


def _classified(
    classifiers: Sequence[Classifier], batches: Iterator[list[tuple[str, ImageError | list[_Submitted]]]]
) -> Iterator[tuple[bytes, *tuple[Prediction, ...]]]:
    """What classify_all yields, of batches of what it submits."""
    for batch in batches:
        cells = [cell for _, found in batch if not isinstance(found, ImageError) for cell in found]
        answers = [
            classifier._answers([submitted[which] for _, _, submitted in cells]) for which, classifier in enumerate(classifiers)
        ]
        for file, found in batch:
            if isinstance(found, ImageError) or not found:
                status, said = (uncertainty.EMPTY, message("field_empty")) if not found else (uncertainty.ERROR, found.message)
                yield b"", *(Prediction(file, None, status, said, each.labels) for each in classifiers)
                continue
            for place, small, _ in found:
                both = zip(classifiers, answers, strict=True)
                yield small, *(classifier._prediction(file, place, *next(answer)) for classifier, answer in both)


def _named(sources: Source | Iterable[Source], files: str | Iterable[str] | None) -> Iterable[tuple[str, Source]]:
    """(name, source) of each. Raises ValueError where the numbers are not the same; of generators, when one ends."""
    if isinstance(sources, str | os.PathLike | bytes | Image.Image) or hasattr(sources, "read_bytes"):
        sources, files = [sources], [files] if isinstance(files, str) else files
    if files is None:
        return ((_name(source, number), source) for number, source in enumerate(sources, 1))
    if isinstance(files, str):
        raise ValueError("files is to hold a name for each source, and is one text")
    if hasattr(sources, "__len__") and hasattr(files, "__len__") and len(sources) != len(files):
        raise ValueError(f"files is to hold a name for each source: there are {len(files)} names and {len(sources)} sources")
    return zip(files, sources, strict=True)


def _name(source: Source, number: int) -> str:
    path = getattr(source, "filename", "") if isinstance(source, Image.Image) else source
    return os.fsdecode(path) if isinstance(path, str | os.PathLike) and path else f"picture {number}"


def _ahead(submit: Callable[[object], object], sources: Iterable, batch_size: int) -> Iterator[list]:
    """submit(source) of each, in batches; while one is used, the next is under way. Whoever stops asking stops the work."""
    coming: list[Future] = []
    remaining = iter(sources)
    try:
        while batch := list(islice(remaining, batch_size)):
            now, coming = coming, [pool().submit(submit, source) for source in batch]
            if now:
                yield [future.result() for future in now]
        if coming:
            yield [future.result() for future in coming]
    finally:
        for future in coming:
            future.cancel()


def load_backend(folder: Path, may_export: bool) -> "OnnxNetwork | TorchNetwork":
    """ONNX Runtime where there is an exported network and no GPU, otherwise PyTorch.

    With `may_export` a missing exported network is made. Raises whatever a broken folder makes transformers or timm raise.
    """
    return (None if has_gpu() else load_onnx(folder, may_export)) or _torch_network(folder)


def load_onnx(folder: Path, may_export: bool) -> OnnxNetwork | None:
    """The exported network; with `may_export` a missing one is made, once. None where there is none; the log says why."""
    if not may_export:
        return onnx_network.load(folder)
    with _locks.setdefault(folder.resolve(), threading.Lock()):
        network = onnx_network.load(folder)
        if network is not None:
            return network
        try:
            export(folder)
        except (ExportError, ImportError, OSError) as error:
            reason = error if isinstance(error, ExportError) else type(error).__name__
            log.warning("%s: PyTorch answers, since the network could not be exported (%s)", folder.name, reason)
            return None
        return onnx_network.load(folder)


def _torch_network(folder: Path) -> "TorchNetwork":
    from cells.model.torch_network import TorchNetwork  # seconds, which the exported network saves

    return TorchNetwork(folder)


def _fetch(repo_id: str, revision: str | None) -> Path:
    from cells.model import torch_network  # transformers, which comes with it, finds files in the Hub's cache

    return torch_network.fetch(repo_id, revision)
