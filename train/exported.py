"""Whether an exported network answers as PyTorch does: python -m train exported MODEL.

All pictures of the test part are classified by the network in PyTorch, by ONNX Runtime and by ONNX Runtime in 8 bits. The last
serves only where this was measured, and its accuracy falls by no more than runtime.LARGEST_FALL.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np

from cells import pbc, runtime
from cells.classifier import Classifier, ModelError
from cells.images import read_image
from cells.network import TorchNetwork
from cells.runtime import ExportError, OnnxNetwork, may_quantize
from cells.trust import REVIEW, UNFAMILIAR
from train import data

CALIBRATING = 300  # training pictures at most, evenly from all; of these come the ranges of a convolutional network's values
PYTORCH, FLOAT, QUANTIZED = "PyTorch", "ONNX, 32 bits", "ONNX, 8 bits"


def measure(models: Sequence[str], dataset: datasets.Dataset, split_file: Path) -> Iterator[dict]:
    """A row per model and form; a quantised network's is written into the model folder too. Raises DataError, ModelError."""
    rows = data.part(dataset, split_file, "test")
    calibrating = data.part(dataset, split_file, "train")
    calibrating = calibrating.select(range(0, len(calibrating), -(-len(calibrating) // CALIBRATING)))
    for name in models:
        classifier = Classifier.load(name)
        labelled = data.label(rows, classifier.labels)
        sources, labels = [pbc.source_of(one) for one in labelled["image"][:]], np.array(labelled["label"][:])
        reference = None
        for form, served in _forms(classifier.folder, calibrating):
            probabilities, statuses = _answers(classifier, served, sources)
            reference = probabilities if reference is None else reference
            right, same = probabilities.argmax(1) == labels, probabilities.argmax(1) == reference.argmax(1)
            row = {
                "model": classifier.name,
                "form": form,
                "pictures": len(labels),
                "accuracy": right.mean(),
                "fall": (reference.argmax(1) == labels).mean() - right.mean(),
                "same_answer": same.mean(),
                "largest_difference": np.abs(probabilities - reference).max(),
                "review": statuses.count(REVIEW) / len(statuses),
                "unfamiliar": statuses.count(UNFAMILIAR) / len(statuses),
            }
            if form == QUANTIZED:
                _record(classifier.folder, row)
            yield row


def _forms(folder: Path, calibrating: datasets.Dataset) -> Iterator[tuple[str, TorchNetwork | OnnxNetwork]]:
    network = TorchNetwork(folder)
    yield PYTORCH, network
    try:
        if not (folder / runtime.FILE).is_file():
            runtime.export(folder)
        yield FLOAT, OnnxNetwork(folder / runtime.FILE, runtime.digest(folder))
        if network.network.config.model_type == "vit":
            runtime.quantize(folder)
        else:  # whose matrices are its head alone
            runtime.calibrate(folder, (read_image(pbc.source_of(one)) for one in calibrating["image"][:]))
        yield QUANTIZED, OnnxNetwork(folder / runtime.QUANTIZED, runtime.digest(folder))
    except (ExportError, ImportError, ValueError) as error:
        raise ModelError(f"{folder} cannot be measured as ONNX: {error}") from None


def _answers(classifier: Classifier, served: TorchNetwork | OnnxNetwork, sources: Sequence) -> tuple[np.ndarray, list[str]]:
    """(probabilities (n, classes), statuses (n,)) as users would get them."""
    like = Classifier(classifier.folder, served, classifier.trust, classifier.name, classifier.version)
    predictions = list(like.predict(sources, [""] * len(sources)))
    return np.stack([one.probabilities for one in predictions]), [one.status for one in predictions]


def _record(folder: Path, row: dict) -> None:
    known = {key: row[key] if key == "pictures" else round(float(row[key]), 6) for key in row if key not in ("model", "form")}
    (folder / runtime.MEASURED).write_text(json.dumps(known, indent=2) + "\n")
    if not may_quantize(folder):
        (folder / runtime.QUANTIZED).unlink()
