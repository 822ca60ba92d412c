"""Model folder -> Classifier -> predictions, in input order.

classifier = Classifier.load("models/resnet18")
for prediction in classifier.predict(["a.jpg", "b.jpg"]):
    print(prediction.file, prediction.label, prediction.probability, prediction.status)
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, PretrainedConfig
from transformers.utils.hub import cached_file
from transformers.utils.logging import disable_progress_bar

from cells import trust
from cells.classes import LABELS, SUBTYPE_LABELS
from cells.images import ImageError, Source, read_image
from cells.trust import Trust

EMBEDDED = Path(__file__).resolve().parent.parent / "models"
DEFAULT = "resnet18"
BATCH_SIZE = 32

disable_progress_bar()  # of 122 tensors read from a disk; a download still shows its own


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

    def __init__(self, network, processor, trust_rule: Trust, name: str, version: str) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.to(self.device).eval()
        self.processor = processor
        self.trust = trust_rule
        self.name = name
        self.version = version  # the first digits of the SHA-256 of its files: it cannot name another model
        self.labels = LABELS if set(network.config.label2id) == set(LABELS) else SUBTYPE_LABELS
        # A folder may list the labels in an order of its own; its outputs are brought into ours.
        self._outputs = [network.config.label2id[label] for label in self.labels]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def load(cls, source: str | os.PathLike, name: str | None = None) -> "Classifier":
        """From the name of an embedded model, a model folder or a Hub id (with `@REVISION`, a branch, tag or commit of it).

        `name` is what the results call it; without one it is the folder's or the id. Weights in pickle form are never read.
        Raises ModelError.
        """
        place, revision = locate(source)
        there = {} if revision is None else {"revision": revision}
        try:
            files = [cached_file(place, file, **there) for file in ("config.json", "model.safetensors")]
            # A ViT's preprocessing; a network of timm's has its own in config.json.
            for optional in ("preprocessor_config.json", trust.FILE, trust.ARRAYS):
                files += filter(None, [cached_file(place, optional, **there, _raise_exceptions_for_missing_entries=False)])
            network, report = AutoModelForImageClassification.from_pretrained(
                place, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **there
            )
            processor = AutoImageProcessor.from_pretrained(place, backend="pil", **there)
            thresholds = [Path(file) for file in files if Path(file).name == trust.FILE]
            rule = Trust.load(thresholds[0]) if thresholds else Trust()
        except Exception as error:  # from JSON, safetensors, timm, the Hub: whatever a broken folder makes them raise
            raise _unusable(source, error) from error
        if report["missing_keys"]:
            raise ModelError(f"The model {source} lacks weights, {sorted(report['missing_keys'])[0]} among them.")
        _check_labels(network.config, source)
        own_name = Path(place).resolve().name if Path(place).is_dir() else os.fspath(source)
        classifier = cls(network, processor, rule, name or own_name, _version(files))
        classifier._check_trust(source)
        return classifier

    def predict(
        self, sources: Sequence[Source], files: Sequence[str] | None = None, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction]:
        """Yield a prediction per source, in order, as batches are done; an unreadable one has the status `error`.

        `files` are the names to report; without them a source's own path is.
        """
        files = [str(source) for source in sources] if files is None else files
        for start in range(0, len(sources), batch_size):
            stop = start + batch_size
            yield from self._predict_batch(sources[start:stop], files[start:stop])

    def _predict_batch(self, sources: Sequence[Source], files: Sequence[str]) -> Iterator[Prediction]:
        inputs = [self._read(source) for source in sources]
        readable = [one for one in inputs if isinstance(one, torch.Tensor)]
        answers = self._answers(readable) if readable else iter(())
        for file, one in zip(files, inputs, strict=True):
            if isinstance(one, ImageError):
                yield Prediction(file, None, trust.ERROR, str(one), self.labels)
            else:
                row, candidates, distance = next(answers)
                yield Prediction(file, row, *self.trust.status(row, distance), self.labels, candidates, distance)

    def _answers(self, pixels: list[torch.Tensor]) -> Iterator[tuple[np.ndarray, tuple[str, ...], float | None]]:
        """(probabilities, candidates, distance) of each picture."""
        probabilities, features = self._compute(pixels)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        kept = self.trust.candidates(probabilities)
        candidates = (tuple(self.labels[i] for i in ranks if row[i]) for ranks, row in zip(order, kept, strict=True))
        return zip(probabilities, candidates, self.trust.distances(features), strict=True)

    def _read(self, source: Source) -> torch.Tensor | ImageError:
        """Of a picture only what the network takes is kept: 32 large ones at a time would fill the memory."""
        try:
            return self.preprocess(read_image(source))
        except ImageError as error:
            return error

    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, classes) in the order of `labels`, of RGB pictures of any size."""
        return self._compute([self.preprocess(image) for image in images])[0]

    def measure(self, sources: Sequence[Source], batch_size: int = BATCH_SIZE) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities (n, classes), pooled features (n, width)): what a rule of trust is fitted on. Raises ImageError."""
        batches = [
            self._compute([self.preprocess(read_image(source)) for source in sources[start : start + batch_size]])
            for start in range(0, len(sources), batch_size)
        ]
        probabilities, features = zip(*batches, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """(3, s, s): what the network takes of one picture."""
        return self.processor(image, return_tensors="pt")["pixel_values"][0]

    @torch.inference_mode()
    def _compute(self, pixels: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities (n, classes), pooled features (n, width)) in one pass."""
        output = self.network(pixel_values=torch.stack(pixels).to(self.device), output_hidden_states=True)
        return output.logits[:, self._outputs].softmax(1).cpu().numpy(), trust.pooled(output.hidden_states)

    def _check_trust(self, source: str | os.PathLike) -> None:
        """That the measure of familiarity is one of this network's features. Raises ModelError."""
        if self.trust.familiar is None:
            return
        _, features = self.measure([Image.new("RGB", (8, 8))])
        if self.trust.familiar.means.shape != (len(self.labels), features.shape[1]):
            raise ModelError(f"The model {source} cannot be loaded: its {trust.ARRAYS} belongs to another network.")


def check_config(folder: Path, source: str) -> None:
    """Whether a folder's config.json is that of a model for these cells; `source` is its name. Raises ModelError."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except Exception as error:  # whatever a foreign file makes it raise
        raise _unusable(source, error) from error
    _check_labels(config, source)


def _check_labels(config: PretrainedConfig, source: str | os.PathLike) -> None:
    labels = set(config.label2id)
    if labels not in (set(LABELS), set(SUBTYPE_LABELS)):
        raise ModelError(
            f"The model {source} knows other labels ({', '.join(sorted(map(str, labels))[:8])}); needed are "
            f"{', '.join(LABELS)}, or the 13 subtypes."
        )


def _unusable(source: str | os.PathLike, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
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


def _version(files: Sequence[str]) -> str:
    """As `cat FILES | sha256sum | head -c 8` has it."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:8]
