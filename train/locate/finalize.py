"""The trained network -> the model folder of the locator: safetensors, ONNX in 8 bits, locator.json."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from cells.locate.find import ARRAYS_FILE, FACTS_FILE, ONNX_FILE, prepared, white_balance
from cells.locate.network import LocatorNetwork
from cells.model.export import ExportError

THRESHOLD = 0.5  # of the score: chosen on validation fields and on those of laboratories that were left out
CALIBRATED = 64  # pictures from which the ranges of the network's values are taken
SIZE = 320  # pixels of a calibration picture's side


def write(network: LocatorNetwork, folder: Path, images: Sequence[np.ndarray]) -> None:
    """images: uint8 (h, w, 3) of training, for the ranges of 8 bits. Raises ExportError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = copy.deepcopy(network).half().state_dict()  # as a classifier's: half the bytes
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    save_file(tensors, folder / ARRAYS_FILE)
    _to_onnx(network, folder / ONNX_FILE, images)
    facts = {"threshold": THRESHOLD}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n")


def _to_onnx(network: LocatorNetwork, file: Path, images: Sequence[np.ndarray]) -> None:
    whole = file.with_suffix(".whole.onnx")
    multiple = torch.export.Dim("height", min=2, max=64) * 16, torch.export.Dim("width", min=2, max=64) * 16
    try:
        program = torch.onnx.export(
            network,
            (torch.zeros(1, 3, 320, 256),),
            dynamo=True,
            verbose=False,
            input_names=["pixel_values"],
            output_names=["scores_8", "sides_8", "scores_16", "sides_16"],
            dynamic_shapes={"images": {2: multiple[0], 3: multiple[1]}},
        )
        program.save(whole, external_data=False)
        _quantize(whole, file, images)
    except (ImportError, OSError):
        raise
    except Exception as error:  # whatever the exporter says of a network
        raise ExportError(f"the locator cannot be exported: {error}") from error
    finally:
        whole.unlink(missing_ok=True)


def _quantize(whole: Path, file: Path, images: Sequence[np.ndarray]) -> None:
    """Convolutions in 8 bits, a scale for each channel; seven bits of weights, as cells/model/export.py says why."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    step = max(len(images) // CALIBRATED, 1)
    chosen = images[::step][:CALIBRATED]
    gains = [white_balance(Image.fromarray(image)) for image in chosen]
    pixels = iter([{"pixel_values": prepared(one[:SIZE, :SIZE], own)} for one, own in zip(chosen, gains, strict=True)])
    network = onnx.load(whole)
    del network.graph.value_info[:]
    quantize_static(
        network,
        file,
        calibration_data_reader=type("Reader", (), {"get_next": lambda self: next(pixels, None)})(),
        op_types_to_quantize=["Conv", "Clip", "Add"],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
