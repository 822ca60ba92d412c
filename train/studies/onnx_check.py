"""Whether an exported network answers as PyTorch does: python -m train exported MODEL.

All pictures of the test part are classified by the network in PyTorch, by ONNX Runtime and by ONNX Runtime in 8 bits. The last
serves only where this was measured, and its accuracy falls by no more than LARGEST_FALL.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np

from cells import pbc
from cells.model.classifier import Classifier
from cells.model.export import ExportError, calibrate, export, quantize
from cells.model.folder import ONNX_FILE, QUANTIZED_FILE, QUANTIZED_RECORD, ModelError, digest, may_quantize
from cells.model.onnx_network import OnnxNetwork
from cells.model.torch_network import TorchNetwork
from cells.model.uncertainty import REVIEW, UNFAMILIAR
from cells.read.images import read_image
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
        if not (folder / ONNX_FILE).is_file():
            export(folder)
        yield FLOAT, OnnxNetwork(folder / ONNX_FILE, digest(folder))
        if network.network.config.model_type == "vit":
            quantize(folder)
        else:  # whose matrices are its head alone
            calibrate(folder, (read_image(pbc.source_of(one)) for one in calibrating["image"][:]))
        yield QUANTIZED, OnnxNetwork(folder / QUANTIZED_FILE, digest(folder))
    except (ExportError, ImportError, ValueError) as error:
        raise ModelError("text", text=f"{folder} cannot be measured as ONNX: {error}") from None


def _answers(classifier: Classifier, served: TorchNetwork | OnnxNetwork, sources: Sequence) -> tuple[np.ndarray, list[str]]:
    """(probabilities (n, classes), statuses (n,)) as users would get them."""
    like = Classifier(classifier.folder, served, classifier.uncertainty, classifier.name, classifier.version)
    predictions = list(like.predict(sources, [""] * len(sources)))
    return np.stack([one.probabilities for one in predictions]), [one.status for one in predictions]


def _record(folder: Path, row: dict) -> None:
    known = {key: row[key] if key == "pictures" else round(float(row[key]), 6) for key in row if key not in ("model", "form")}
    (folder / QUANTIZED_RECORD).write_text(json.dumps(known, indent=2) + "\n")
    if not may_quantize(folder):
        (folder / QUANTIZED_FILE).unlink()
