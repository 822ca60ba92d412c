"""The backend that serves a model folder where there is no GPU, chosen on validation pictures.

ONNX Runtime serves in 8 bits where the accuracy on the validation pictures falls by no more than LARGEST_FALL against PyTorch,
otherwise in 32 bits; PyTorch serves where the network cannot be exported. No test picture takes part in the choice.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np

from cells import pbc
from cells.model.classifier import Classifier, Prediction
from cells.model.export import ExportError, calibrate, export, quantize
from cells.model.folder import CALIBRATION_FILE, ONNX_FILE, QUANTIZED_FILE, QUANTIZED_RECORD, digest, may_quantize, version
from cells.model.onnx_network import OnnxNetwork
from cells.model.torch_network import TorchNetwork
from cells.model.uncertainty import Uncertainty
from cells.read.images import ImageError, read_image

TORCH, FP32, INT8 = "torch", "fp32", "int8"
CALIBRATING = 300  # training pictures at most, evenly from all: they give the ranges of a convolutional network's values
NOT_EXPORTED = (ExportError, ImportError, OSError, ValueError)


def choose(folder: Path, training: datasets.Dataset, validation: datasets.Dataset) -> str:
    """TORCH, FP32 or INT8, chosen for a model folder; writes its ONNX files and, of 8 bits, what was measured.

    The datasets have the columns `image` and `label`. Raises DataError for a picture that cannot be read.
    """
    (folder / QUANTIZED_RECORD).unlink(missing_ok=True)
    chosen = TORCH
    try:
        for chosen, network in onnx_networks(folder, training):
            if chosen == INT8:
                answers = [measure(classifier(folder, each), validation)[0] for each in (network, TorchNetwork(folder))]
                write_record(folder, compare(*answers, np.array(validation["label"][:])))
    except NOT_EXPORTED as error:
        print(f"{folder} is served by {'ONNX Runtime in 32 bits' if chosen == FP32 else 'PyTorch'}: {error}")
        return chosen
    return INT8 if may_quantize(folder) else FP32


def load(folder: Path, name: str, rule: Uncertainty | None = None) -> Classifier:
    """A model folder's classifier by the backend that choose() named."""
    if name == TORCH:
        return classifier(folder, TorchNetwork(folder), rule)
    return classifier(folder, OnnxNetwork(folder / (QUANTIZED_FILE if name == INT8 else ONNX_FILE), digest(folder)), rule)


def classifier(folder: Path, network: OnnxNetwork | TorchNetwork, rule: Uncertainty | None = None) -> Classifier:
    """A model folder's classifier by a given backend."""
    return Classifier(folder, network, rule or Uncertainty(), folder.resolve().name, version(folder))


def onnx_networks(folder: Path, training: datasets.Dataset) -> Iterator[tuple[str, OnnxNetwork]]:
    """(FP32, network), then (INT8, network), each written when it is asked for. Raises NOT_EXPORTED."""
    try:
        yield FP32, OnnxNetwork(folder / ONNX_FILE, digest(folder))
    except Exception:  # absent, broken, or of other weights
        export(folder)
        yield FP32, OnnxNetwork(folder / ONNX_FILE, digest(folder))
    if json.loads((folder / "config.json").read_text()).get("model_type") == "vit":
        quantize(folder)
    else:  # its only matrices are those of its head
        rows = training.select(range(0, len(training), -(-len(training) // CALIBRATING)))
        calibrate(folder, (read_image(source) for source in sources(rows)))
        _sort_keys(folder / CALIBRATION_FILE)
    yield INT8, OnnxNetwork(folder / QUANTIZED_FILE, digest(folder))


def _sort_keys(file: Path) -> None:
    """ONNX Runtime writes the keys in the order of their hashes: equal ranges would give other bytes, and another version."""
    file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True))


def compare(probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> dict:
    """What a backend answers beside PyTorch, from probabilities (n, classes) of both and labels (n,)."""
    answers, expected = probabilities.argmax(1), reference.argmax(1)
    return {
        "pictures": len(labels),
        "accuracy": (answers == labels).mean(),
        "fall": (expected == labels).mean() - (answers == labels).mean(),
        "same_answer": (answers == expected).mean(),
        "largest_difference": np.abs(probabilities - reference).max(),
    }


def write_record(folder: Path, validation: dict, test: dict | None = None) -> None:
    """Write QUANTIZED_RECORD: compare() of 8 bits on the validation pictures and, for information, figures of the test part.

    QUANTIZED_FILE is deleted where the fall is too large for it to serve.
    """
    record = {"part": "validation", **_rounded(validation)} | ({"test": _rounded(test)} if test else {})
    (folder / QUANTIZED_RECORD).write_text(json.dumps(record, indent=2) + "\n")
    if not may_quantize(folder):
        (folder / QUANTIZED_FILE).unlink(missing_ok=True)


def _rounded(figures: dict) -> dict:
    return {key: value if isinstance(value, int) else round(float(value), 6) for key, value in figures.items()}


def sources(rows: datasets.Dataset) -> list[bytes | str]:
    """The encoded pictures of rows, as a classifier takes them."""
    return [pbc.source_of(image) for image in rows["image"][:]]


def measure(model: Classifier, rows: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities (n, classes), features (n, width)). Raises DataError for a picture that cannot be read."""
    try:
        return model.measure(sources(rows))
    except ImageError as error:
        raise pbc.DataError(f"a picture cannot be read: {error}") from None


def predict(model: Classifier, rows: datasets.Dataset) -> list[Prediction]:
    """A prediction per row. Raises DataError for a picture that cannot be read."""
    predictions = list(model.predict(sources(rows), rows["image_id"][:]))
    for prediction in predictions:
        if prediction.probabilities is None:
            raise pbc.DataError(f"picture {prediction.file} cannot be read: {prediction.message}")
    return predictions
