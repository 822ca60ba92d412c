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
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.utils.hub import cached_file
from transformers.utils.logging import disable_progress_bar

from cells import trust
from cells.classes import LABELS
from cells.images import ImageError, read_image
from cells.trust import Trust

EMBEDDED = Path(__file__).resolve().parent.parent / "models"
BATCH_SIZE = 32

disable_progress_bar()  # of 122 tensors read from a disk; a download still shows its own

Source = str | os.PathLike | bytes | Image.Image


class ModelError(Exception):
    """A model that cannot be used. Its text is one line for the user."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture. `probabilities` is (8,) in the order of LABELS, None where status is error."""

    file: str
    probabilities: np.ndarray | None
    status: str
    message: str

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """(label, probability), the most probable first; empty for an error."""
        if self.probabilities is None:
            return []
        return [(LABELS[index], float(self.probabilities[index])) for index in np.argsort(-self.probabilities, kind="stable")]

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
        self.version = version  # the first digits of the SHA-256 of the weights: it cannot name another model
        # A folder may list the labels in an order of its own; its outputs are brought into ours.
        self._outputs = [network.config.label2id[label] for label in LABELS]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def load(cls, source: str | os.PathLike) -> "Classifier":
        """From the name of an embedded model, a model folder or a Hub id. Weights in pickle form are never read.

        Raises ModelError.
        """
        place = locate(source)
        try:
            weights = cached_file(place, "model.safetensors")
            network = AutoModelForImageClassification.from_pretrained(place, use_safetensors=True, dtype=torch.float32)
            processor = AutoImageProcessor.from_pretrained(place, backend="pil")
            trust_file = cached_file(place, trust.FILE, _raise_exceptions_for_missing_entries=False)
        except Exception as error:  # from JSON, safetensors, timm, the Hub: whatever a broken folder makes them raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(f"The model {source} cannot be loaded: {reason}") from error
        labels = set(network.config.label2id)
        if labels != set(LABELS):
            raise ModelError(
                f"The model {source} knows other labels ({', '.join(sorted(map(str, labels))[:8])}); needed are "
                f"{', '.join(LABELS)}."
            )
        rule = Trust.load(Path(trust_file)) if trust_file else Trust()
        with open(weights, "rb") as file:
            version = hashlib.file_digest(file, "sha256").hexdigest()[:8]
        return cls(network, processor, rule, Path(place).name if Path(place).is_dir() else str(source), version)

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
        images: list[Image.Image | ImageError] = [_read(source) for source in sources]
        readable = [image for image in images if isinstance(image, Image.Image)]
        probabilities = iter(self.probabilities(readable) if readable else ())
        for file, image in zip(files, images, strict=True):
            if isinstance(image, ImageError):
                yield Prediction(file, None, trust.ERROR, str(image))
            else:
                row = next(probabilities)
                yield Prediction(file, row, *self.trust.status(row))

    @torch.inference_mode()
    def probabilities(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, 8) in the order of LABELS, of RGB pictures of any size."""
        pixels = self.processor(list(images), return_tensors="pt")["pixel_values"].to(self.device)
        logits = self.network(pixel_values=pixels).logits[:, self._outputs]
        return logits.softmax(1).cpu().numpy()


def locate(source: str | os.PathLike) -> str:
    """The folder of an embedded model's name, or the folder or Hub id as it is. Raises ModelError."""
    text = os.fspath(source)
    if (EMBEDDED / text / "config.json").is_file():
        return str(EMBEDDED / text)
    if Path(text).is_dir():
        return text
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return text
    names = sorted(folder.parent.name for folder in EMBEDDED.glob("*/config.json"))
    raise ModelError(f"There is no model {text!r}; give one of {', '.join(names)}, a model folder, or a Hub id (USER/NAME).")


def _read(source: Source) -> Image.Image | ImageError:
    try:
        return source if isinstance(source, Image.Image) else read_image(source)
    except ImageError as error:
        return error
