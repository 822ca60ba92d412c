"""Model folder -> Classifier -> predictions, in input order.

classifier = Classifier.load("models/resnet18")
for prediction in classifier.predict(["a.jpg", "b.jpg"]):
    print(prediction.file, prediction.label, prediction.probability, prediction.status)
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cells.classes import LABELS, SUBTYPE_LABELS
from cells.messages import Message
from cells.model import onnx_network, uncertainty
from cells.model.export import ExportError, export
from cells.model.folder import UNCERTAINTY_ARRAYS, UNCERTAINTY_FILE, ModelError, check_labels, is_embedded, locate, unusable
from cells.model.folder import version as version_of
from cells.model.onnx_network import OnnxNetwork
from cells.model.threads import POOL
from cells.model.uncertainty import Uncertainty
from cells.read.images import ImageError, Source, read_image, thumbnail

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from cells.model.torch_network import TorchNetwork

BATCH_SIZE = 8


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture. `probabilities` is (classes,) in the order of `labels`, None for an error.

    `candidates` are the labels that it leaves open, the most probable first; none for an error. `distance` is that from the
    training pictures, above 1 for an unfamiliar one; None for an error, and where the model's folder has no measure of it.
    """

    file: str
    probabilities: np.ndarray | None
    status: str
    message: Message | str  # why the status is not `ok`
    labels: tuple[str, ...] = LABELS
    candidates: tuple[str, ...] = ()
    distance: float | None = None

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """(label, probability), the most probable first; empty for an error."""
        if self.probabilities is None:
            return []
        return [
            (self.labels[index], float(self.probabilities[index])) for index in np.argsort(-self.probabilities, kind="stable")
        ]

    @property
    def label(self) -> str | None:
        return self.ranking[0][0] if self.ranking else None

    @property
    def probability(self) -> float | None:
        return self.ranking[0][1] if self.ranking else None


class Classifier:
    """A network with its own preprocessing and its rule of uncertainty."""

    def __init__(self, folder: Path, backend: "OnnxNetwork | TorchNetwork", rule: Uncertainty, name: str, version: str) -> None:
        self.folder = folder
        self.backend = backend
        self.uncertainty = rule
        self.name = name
        self.version = version  # the first digits of the SHA-256 of its files: it cannot name another model
        self.labels = LABELS if set(backend.labels) == set(LABELS) else SUBTYPE_LABELS
        # A folder may list the labels in an order of its own; its outputs are brought into ours.
        self._outputs = [backend.labels.index(label) for label in self.labels]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def load(cls, source: str | os.PathLike, name: str | None = None) -> "Classifier":
        """From the name of an embedded model, a model folder or a Hub id (with `@REVISION`, a branch, tag or commit of it).

        `name` is what the results call it; without one it is the folder's or the id. Weights in pickle form are never read.
        On a CPU the exported network serves where there is one (an embedded model's is made when it is first loaded),
        otherwise PyTorch. Raises ModelError.
        """
        place, revision = locate(source)
        called = name or source
        try:
            folder = Path(place) if Path(place).is_dir() else _fetch(place, revision)
            version = version_of(folder)
            rule = Uncertainty.load(folder / UNCERTAINTY_FILE) if (folder / UNCERTAINTY_FILE).is_file() else Uncertainty()
            backend = load_backend(folder, may_export=is_embedded(folder))
        except Exception as error:  # from JSON, safetensors, timm, the Hub: whatever a broken folder makes them raise
            raise unusable(called, error) from error
        check_labels(backend.labels, called)
        own_name = folder.resolve().name if Path(place).is_dir() else os.fspath(source)
        classifier = cls(folder, backend, rule, name or own_name, version)
        classifier._check_uncertainty(called)
        return classifier

    @cached_property
    def network(self) -> "PreTrainedModel":
        """The network in PyTorch, for what needs gradients or layers. Loaded when it is first asked for. Raises ModelError."""
        return self._torch.network

    @cached_property
    def _torch(self) -> "TorchNetwork":
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
        self, sources: Sequence[Source], files: Sequence[str] | None = None, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction]:
        """Yield a prediction per source, in order, as batches are done; an unreadable one has the status `error`.

        `files` are the names to report; without them a source's own path is.
        """
        for _, prediction in classify_all([self], sources, files, batch_size):
            yield prediction

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, classes) in the order of `labels`, of RGB pictures of any size."""
        return self.measure(images)[0]

    def measure(self, sources: Sequence[Source], batch_size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray]:
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
        """(probabilities, candidates, distance) of each picture."""
        if not submitted:
            return iter(())
        probabilities, features = self._collect(submitted)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        kept = self.uncertainty.candidates(probabilities)
        candidates = (tuple(self.labels[i] for i in ranks if row[i]) for ranks, row in zip(order, kept, strict=True))
        return zip(probabilities, candidates, self.uncertainty.distances(features), strict=True)

    def _prediction(self, file: str, row: np.ndarray, candidates: tuple[str, ...], distance: float | None) -> Prediction:
        return Prediction(file, row, *self.uncertainty.status(row, distance), self.labels, candidates, distance)

    def _check_uncertainty(self, source: str | os.PathLike) -> None:
        """That the measure of familiarity is one of this network's features. Raises ModelError."""
        if self.uncertainty.familiar is None:
            return
        _, features = self.measure([Image.new("RGB", (8, 8))])
        if self.uncertainty.familiar.means.shape != (len(self.labels), features.shape[1]):
            raise unusable(source, ModelError("model_arrays_foreign", file=UNCERTAINTY_ARRAYS))


def classify_all(
    classifiers: Sequence[Classifier],
    sources: Sequence[Source],
    files: Sequence[str] | None = None,
    batch_size: int = BATCH_SIZE,
    thumbnail_side: int = 0,
) -> Iterator[tuple[bytes, *tuple[Prediction, ...]]]:
    """Yield (a thumbnail, a prediction of each classifier) per source, in order; see Classifier.predict.

    Each picture is read once, beside what is computed. Of it only what the networks take is kept, and a thumbnail of at most
    `thumbnail_side` pixels (empty for 0): many large ones at a time would fill the memory.
    """
    files = [str(source) for source in sources] if files is None else files

    def submit(source: Source) -> tuple[bytes, list] | ImageError:
        try:
            image = read_image(source)
        except ImageError as error:
            return error
        submitted = [classifier.backend.submit(image) for classifier in classifiers]
        return (thumbnail(image, thumbnail_side) if thumbnail_side else b""), submitted

    names = iter(files)
    for batch in _ahead(submit, sources, batch_size):
        readable = [one for one in batch if not isinstance(one, ImageError)]
        answers = [
            classifier._answers([submitted[which] for _, submitted in readable]) for which, classifier in enumerate(classifiers)
        ]
        for one, file in zip(batch, names, strict=False):
            if isinstance(one, ImageError):
                yield b"", *(Prediction(file, None, uncertainty.ERROR, one.message, each.labels) for each in classifiers)
            else:
                found = zip(classifiers, answers, strict=True)
                yield one[0], *(classifier._prediction(file, *next(answer)) for classifier, answer in found)


def _ahead(submit: Callable[[Source], object], sources: Sequence[Source], batch_size: int) -> Iterator[list]:
    """submit(source) of each, in batches; while one is used, the next is under way. Whoever stops asking stops the work."""
    coming: list[Future] = []
    try:
        for start in range(0, len(sources), batch_size):
            now, coming = coming, [POOL.submit(submit, source) for source in sources[start : start + batch_size]]
            if now:
                yield [future.result() for future in now]
        yield [future.result() for future in coming]
    finally:
        for future in coming:
            future.cancel()


def load_backend(folder: Path, may_export: bool) -> "OnnxNetwork | TorchNetwork":
    """ONNX Runtime where there is an exported network and no GPU, otherwise PyTorch.

    With `may_export` a missing exported network is made. Raises whatever a broken folder makes transformers or timm raise.
    """
    return (None if has_gpu_driver() else load_onnx(folder, may_export)) or _torch_network(folder)


def load_onnx(folder: Path, may_export: bool) -> OnnxNetwork | None:
    """The exported network; with `may_export` a missing one is made. None where there is none."""
    network = onnx_network.load(folder)
    if network is not None or not may_export:
        return network
    try:
        export(folder)
    except (ExportError, ImportError, OSError):
        return None
    return onnx_network.load(folder)


def has_gpu_driver() -> bool:
    """Whether there is a GPU's driver; to ask PyTorch would take seconds."""
    return bool(find_library("cuda") or find_library("nvcuda"))


def _torch_network(folder: Path) -> "TorchNetwork":
    from cells.model.torch_network import TorchNetwork  # seconds, which the exported network saves

    return TorchNetwork(folder)


def _fetch(repo_id: str, revision: str | None) -> Path:
    from cells.model import torch_network  # transformers, which comes with it, finds files in the Hub's cache

    return torch_network.fetch(repo_id, revision)
