"""Model folder -> Classifier -> predictions, in input order.

classifier = Classifier.load("models/resnet18")
for prediction in classifier.predict(["a.jpg", "b.jpg"]):
    print(prediction.file, prediction.label, prediction.probability, prediction.status)
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from cells import runtime, trust
from cells.classes import LABELS, SUBTYPE_LABELS
from cells.cores import POOL
from cells.images import ImageError, Source, read_image, thumbnail
from cells.trust import Trust

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from cells.network import TorchNetwork

EMBEDDED = Path(__file__).resolve().parent.parent / "models"
DEFAULT = "resnet18"
BATCH_SIZE = 8

# Of a model folder; the exported network is made from the others and counts for nothing.
FILES = (*runtime.SOURCES, runtime.CALIBRATION, runtime.MEASURED, trust.FILE, trust.ARRAYS)


class ModelError(Exception):
    """A model that cannot be used. Its text is one line for the user."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture. `probabilities` is (classes,) in the order of `labels`, None for an error.

    `candidates` are the labels that it leaves open, the most probable first; none for an error. `distance` is that from the
    training pictures, above 1 for an unfamiliar one; None for an error, and where the model's folder has no measure of it.
    """

    file: str
    probabilities: np.ndarray | None
    status: str
    message: str
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
    """A network with its own preprocessing and its rule of trust."""

    def __init__(
        self, folder: Path, served: "runtime.OnnxNetwork | TorchNetwork", rule: Trust, name: str, version: str
    ) -> None:
        self.folder = folder
        self.served = served
        self.trust = rule
        self.name = name
        self.version = version  # the first digits of the SHA-256 of its files: it cannot name another model
        self.labels = LABELS if set(served.labels) == set(LABELS) else SUBTYPE_LABELS
        # A folder may list the labels in an order of its own; its outputs are brought into ours.
        self._outputs = [served.labels.index(label) for label in self.labels]

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
            version = _version(folder)
            rule = Trust.load(folder / trust.FILE) if (folder / trust.FILE).is_file() else Trust()
            served = runtime.load(folder, may_export=folder.parent == EMBEDDED) or _torch_network(folder)
        except Exception as error:  # from JSON, safetensors, timm, the Hub: whatever a broken folder makes them raise
            raise unusable(called, error) from error
        check_labels(served.labels, called)
        own_name = folder.resolve().name if Path(place).is_dir() else os.fspath(source)
        classifier = cls(folder, served, rule, name or own_name, version)
        classifier._check_trust(called)
        return classifier

    @cached_property
    def network(self) -> "PreTrainedModel":
        """The network in PyTorch, for what needs gradients or layers. Loaded when it is first asked for. Raises ModelError."""
        return self._torch.network

    @cached_property
    def _torch(self) -> "TorchNetwork":
        if not isinstance(self.served, runtime.OnnxNetwork):
            return self.served
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
        """(probabilities (n, classes), pooled features (n, width)): what a rule of trust is fitted on. Raises ImageError."""
        batches = [self._finish(batch) for batch in _ahead(lambda one: self.served.begin(read_image(one)), sources, batch_size)]
        probabilities, features = zip(*batches, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    def _finish(self, begun: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities (n, classes), features (n, width)) of pictures that the network has begun."""
        logits, features = self.served.finish(begun)
        powers = np.exp(logits[:, self._outputs] - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True), features

    def _answers(self, begun: Sequence) -> Iterator[tuple[np.ndarray, tuple[str, ...], float | None]]:
        """(probabilities, candidates, distance) of each picture."""
        if not begun:
            return iter(())
        probabilities, features = self._finish(begun)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        kept = self.trust.candidates(probabilities)
        candidates = (tuple(self.labels[i] for i in ranks if row[i]) for ranks, row in zip(order, kept, strict=True))
        return zip(probabilities, candidates, self.trust.distances(features), strict=True)

    def _prediction(self, file: str, row: np.ndarray, candidates: tuple[str, ...], distance: float | None) -> Prediction:
        return Prediction(file, row, *self.trust.status(row, distance), self.labels, candidates, distance)

    def _check_trust(self, source: str | os.PathLike) -> None:
        """That the measure of familiarity is one of this network's features. Raises ModelError."""
        if self.trust.familiar is None:
            return
        _, features = self.measure([Image.new("RGB", (8, 8))])
        if self.trust.familiar.means.shape != (len(self.labels), features.shape[1]):
            raise ModelError(f"The model {source} cannot be loaded: its {trust.ARRAYS} belongs to another network.")


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

    def begin(source: Source) -> tuple[bytes, list] | ImageError:
        try:
            image = read_image(source)
        except ImageError as error:
            return error
        begun = [classifier.served.begin(image) for classifier in classifiers]
        return (thumbnail(image, thumbnail_side) if thumbnail_side else b""), begun

    names = iter(files)
    for batch in _ahead(begin, sources, batch_size):
        readable = [one for one in batch if not isinstance(one, ImageError)]
        answers = [classifier._answers([begun[which] for _, begun in readable]) for which, classifier in enumerate(classifiers)]
        for one, file in zip(batch, names, strict=False):
            if isinstance(one, ImageError):
                yield b"", *(Prediction(file, None, trust.ERROR, str(one), each.labels) for each in classifiers)
            else:
                found = zip(classifiers, answers, strict=True)
                yield one[0], *(classifier._prediction(file, *next(answer)) for classifier, answer in found)


def _ahead(begin: Callable[[Source], object], sources: Sequence[Source], batch_size: int) -> Iterator[list]:
    """begin(source) of each, in batches; while one is used, the next is under way. Whoever stops asking stops the work."""
    coming: list[Future] = []
    try:
        for start in range(0, len(sources), batch_size):
            now, coming = coming, [POOL.submit(begin, source) for source in sources[start : start + batch_size]]
            if now:
                yield [future.result() for future in now]
        yield [future.result() for future in coming]
    finally:
        for future in coming:
            future.cancel()


def _torch_network(folder: Path) -> "TorchNetwork":
    from cells.network import TorchNetwork  # seconds, which the exported network saves

    return TorchNetwork(folder)


def _fetch(repo_id: str, revision: str | None) -> Path:
    from cells import network  # transformers, which comes with it, finds files in the Hub's cache

    return network.fetch(repo_id, revision)


def check_labels(found: Iterable[str], source: str | os.PathLike) -> None:
    """Whether a model's labels are the 8 types or the 13 subtypes; `source` is its name. Raises ModelError."""
    labels = set(found)
    if labels not in (set(LABELS), set(SUBTYPE_LABELS)):
        raise ModelError(
            f"The model {source} knows other labels ({', '.join(sorted(map(str, labels))[:8])}); needed are "
            f"{', '.join(LABELS)}, or the 13 subtypes."
        )


def unusable(source: str | os.PathLike, error: Exception) -> ModelError:
    """One line on a model that something could not be made of."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, SafetensorError):
        reason = "a .safetensors file of it is damaged or cut off; get the model again."
    return ModelError(f"The model {source} cannot be loaded: {reason}")


def locate(source: str | os.PathLike) -> tuple[str, str | None]:
    """(the folder of an embedded model's name, or the folder or Hub id as it is; a Hub id's revision). Raises ModelError."""
    text = os.fspath(source)
    if (EMBEDDED / text / "config.json").is_file():
        return str(EMBEDDED / text), None
    if Path(text).is_dir():
        return text, None
    if text.partition("@")[0].count("/") == 1 and not text.startswith((".", "/", "~")):
        return split_revision(text)
    raise ModelError(
        f"There is no model {text!r}; give one of {', '.join(embedded())}, a model folder, or a Hub id (USER/NAME)."
    )


def split_revision(place: str) -> tuple[str, str | None]:
    """USER/NAME or USER/NAME@REVISION, in two."""
    repo_id, _, revision = place.partition("@")
    return repo_id, revision or None


def embedded() -> list[str]:
    """The names of the models that come with this code."""
    return sorted(config.parent.name for config in EMBEDDED.glob("*/config.json"))


def _version(folder: Path) -> str:
    """As `cat FILES | sha256sum | head -c 8` has it, of those that are there. Raises ModelError."""
    missing = [file for file in runtime.NEEDED if not (folder / file).is_file()]
    if missing:
        raise ModelError(f"it has no {missing[0]}; weights in pickle form are never read.")
    there = (folder / file for file in FILES if (folder / file).is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in there)).hexdigest()[:8]
