"""Whether an exported network answers as PyTorch does: python -m train onnx_check MODEL.

PyTorch, ONNX Runtime in 32 bits and ONNX Runtime in 8 bits classify the validation pictures; the last serves where its accuracy
falls by no more than LARGEST_FALL. The test pictures are classified once, by the one that serves.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

from cells.model.classifier import Classifier
from cells.model.folder import ModelError, may_quantize
from cells.model.torch_network import TorchNetwork
from cells.model.uncertainty import REVIEW, UNFAMILIAR
from train import backend, data, options

FORMS = {backend.TORCH: "PyTorch", backend.FP32: "ONNX, 32 bits", backend.INT8: "ONNX, 8 bits"}


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser(
        "onnx_check",
        "Compare models as ONNX, in 32 and in 8 bits, with themselves in PyTorch, on the validation part; a model is served in "
        "8 bits from then on if its accuracy falls by no more than 0.2 points. The one that serves is scored on the test part.",
    )
    options.add_models(parser, "results/onnx_check.csv")
    chosen = parser.parse_args(arguments)
    rows = []
    for row in measure(chosen.models, data.load(chosen.data), chosen.split):
        rows.append(row)
        figures = (f"{key} {value:.5g}" for key, value in row.items() if key not in ("model", "form", "part"))
        print(f"{row['model']:10s} {row['form']:14s} {row['part']:10s} {'  '.join(figures)}", flush=True)
        pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.5g")
    return 0


def measure(models: Sequence[str], dataset: datasets.Dataset, split_file: Path) -> Iterator[dict]:
    """A row per model and form on the validation part, and one of the form that serves on the test part.

    The models' folders get their ONNX files and a record of what was measured. Raises DataError, ModelError.
    """
    parts = {part: data.part(dataset, split_file, part) for part in ("train", "validation", "test")}
    for name in models:
        model = Classifier.load(name)
        yield from _measure_one(model, {part: data.label(rows, model.labels) for part, rows in parts.items()})


def _measure_one(model: Classifier, parts: dict[str, datasets.Dataset]) -> Iterator[dict]:
    folder, labels = model.folder, np.array(parts["validation"]["label"][:])
    reference, compared = None, {}
    for form, network in _networks(folder, parts["train"]):
        predictions = backend.predict(backend.classifier(folder, network, model.uncertainty), parts["validation"])
        probabilities = np.stack([prediction.probabilities for prediction in predictions])
        reference = probabilities if reference is None else reference
        compared[form] = backend.compare(probabilities, reference, labels)
        yield {"model": model.name, "form": FORMS[form], "part": "validation"} | compared[form] | _statuses(predictions)
    backend.write_record(folder, compared[backend.INT8])
    form = backend.INT8 if may_quantize(folder) else backend.FP32
    predictions = backend.predict(backend.load(folder, form, model.uncertainty), parts["test"])
    answers = np.array([model.labels.index(prediction.label) for prediction in predictions])
    accuracy = float((answers == parts["test"]["label"][:]).mean())
    test = {"pictures": len(answers), "accuracy": accuracy} | _statuses(predictions)
    if form == backend.INT8:
        backend.write_record(folder, compared[form], test)
    yield {"model": model.name, "form": FORMS[form], "part": "test"} | test


def _networks(folder: Path, training: datasets.Dataset) -> Iterator:
    """(name, network) of the three; PyTorch, which the others are compared with, is the first. Raises ModelError."""
    yield backend.TORCH, TorchNetwork(folder)
    try:
        yield from backend.onnx_networks(folder, training)
    except backend.NOT_EXPORTED as error:
        raise ModelError("text", text=f"{folder} cannot be measured as ONNX: {error}") from None


def _statuses(predictions: list) -> dict[str, float]:
    """The shares of predictions with the statuses `review` and `unfamiliar`."""
    statuses = [prediction.status for prediction in predictions]
    return {status: statuses.count(status) / len(statuses) for status in (REVIEW, UNFAMILIAR)}
