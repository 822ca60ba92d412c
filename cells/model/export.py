"""A model folder's PyTorch network -> ONNX files for ONNX Runtime, in 32 and in 8 bits.

A file carries what other libraries do not need: the digest of the weights that it was made from, the labels and the
preprocessing.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cells.messages import first_line
from cells.model.folder import CALIBRATION_FILE, ONNX_FILE, QUANTIZED_FILE, digest, may_quantize
from cells.model.onnx_network import KEY, OnnxNetwork, preprocess

if TYPE_CHECKING:
    import torch

    from cells.model.torch_network import Answers


class ExportError(Exception):
    """A network that cannot be exported here. Its text is one line for the user."""


def export(folder: Path) -> None:
    """Write ONNX_FILE into a model folder, and QUANTIZED_FILE where that may answer. One network at a time in a process.

    Raises ExportError, ImportError, OSError.
    """
    from cells.model import torch_network

    with torch_network.LOCK:
        network = torch_network.TorchNetwork(folder)
        network.network.to("cpu")
        facts = {"source": digest(folder), "labels": network.labels} | preprocessing_of(network)
        try:
            program = _to_onnx(network.answers, facts["size"])
        except Exception as error:  # whatever of a network the exporter does not know
            raise ExportError(f"{folder.name} cannot be exported: {first_line(error)}") from error
    program.model.metadata_props[KEY] = json.dumps(facts)
    _write(folder / ONNX_FILE, lambda file: program.save(file, external_data=False))
    if may_quantize(folder):
        quantize(folder)


def _to_onnx(network: "Answers", size: int) -> "torch.onnx.ONNXProgram":
    """Of a network for pictures of this size, any number at a time."""
    import torch

    return torch.onnx.export(
        network,
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        verbose=False,
        input_names=["pixel_values"],
        output_names=["logits", "features"],
        dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch", min=1, max=4096)}},
    )


def quantize(folder: Path) -> None:
    """Write QUANTIZED_FILE from ONNX_FILE: a ViT's matrices in 8 bits; of a network with a CALIBRATION_FILE its convolutions.

    Each column or channel has a scale of its own. Of the weights seven bits are used, since processors without VNNI
    instructions overflow with eight. Raises ExportError, ImportError, OSError.
    """
    from onnxruntime.quantization import quantize_dynamic

    if (folder / CALIBRATION_FILE).is_file():
        _quantize_static(folder)
    else:
        _quantize(folder, partial(quantize_dynamic, op_types_to_quantize=["MatMul", "Gemm"]))


def calibrate(folder: Path, images: Iterable[Image.Image]) -> None:
    """Write CALIBRATION_FILE, the range of each value in the network over some pictures, and with it QUANTIZED_FILE.

    Raises as quantize().
    """
    network = OnnxNetwork(folder / ONNX_FILE, digest(folder))
    pixels = ({"pixel_values": preprocess(image, network.size, network.mean, network.std)[None]} for image in images)
    (folder / CALIBRATION_FILE).unlink(missing_ok=True)
    _quantize_static(folder, SimpleNamespace(get_next=lambda: next(pixels, None)))


def _quantize_static(folder: Path, reader: object | None = None) -> None:
    """With the ranges that CALIBRATION_FILE holds; where there is none, `reader` gives what it is made from."""
    from onnxruntime.quantization import QuantType, quantize_static

    options = {
        "calibration_data_reader": reader,
        "calibration_cache_path": folder / CALIBRATION_FILE,
        # Not what makes the features of them: from rounded means and variances almost every picture looks unfamiliar.
        # Clip is ReLU6: without it, a convolution has the range of what ReLU6 then cuts off, and few of the 256 steps are used.
        "op_types_to_quantize": ["Conv", "Relu", "Clip", "Add", "MaxPool"],
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
    }
    _quantize(folder, partial(quantize_static, **options))


def _quantize(folder: Path, quantize_it: Callable[..., None]) -> None:
    import onnx
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    def write(file: Path) -> None:
        try:
            network = onnx.load(folder / ONNX_FILE)
            add_pre_process_metadata(network)  # the exporter has fused what can be; without the mark it warns
            del network.graph.value_info[:]  # shapes that the exporter noted before it turned some matrices around
            quantize_it(network, file, per_channel=True, reduce_range=True)
        except (ImportError, OSError):
            raise
        except Exception as error:  # whatever of a network the quantisation does not know
            raise ExportError(f"{folder.name} cannot be quantised: {first_line(error)}") from error

    _write(folder / QUANTIZED_FILE, write)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """So that no one ever reads half of it."""
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        whole = Path(temporary, path.name)
        write(whole)
        os.replace(whole, path)


def preprocessing_of(network: object) -> dict:
    """The size, mean and std with which preprocess() does what the network's own preprocessing does.

    Found by looking at what becomes of black and of white, and checked on noise. Raises ExportError where it does more.
    """
    black, white = (network.preprocess(Image.new("RGB", (8, 8), colour)) for colour in ("black", "white"))
    std = 1 / (white - black)[:, 0, 0]
    facts = {"size": black.shape[-1], "mean": (-black[:, 0, 0] * std).tolist(), "std": std.tolist()}
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (363, 360, 3), np.uint8))
    expected = network.preprocess(noise)
    found = preprocess(noise, facts["size"], np.float32(facts["mean"]), np.float32(facts["std"]))
    if found.shape != expected.shape or not np.allclose(found, expected, atol=1e-4):
        raise ExportError("its preprocessing is more than a resize to a square and a normalisation, so it is not exported.")
    return facts
