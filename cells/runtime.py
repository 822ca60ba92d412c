"""A model folder's network as ONNX: how it is exported, and how ONNX Runtime serves it, without PyTorch and faster.

The files lie where the Hub's other libraries look for them, and carry what those do not need: the digest of the weights that
they were made from, the labels and the preprocessing. A file of other weights is never used.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from ctypes.util import find_library
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

# What a network is made from: the last is a ViT's preprocessing; a network of timm's has its own in config.json.
WEIGHTS = "model.safetensors"
NEEDED = ("config.json", WEIGHTS)
SOURCES = (*NEEDED, "preprocessor_config.json")

# From 1.29 on, ONNX Runtime tells its maker of every model that it loads, unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

FILE, QUANTIZED = "onnx/model.onnx", "onnx/model_quantized.onnx"
KEY = "blood-cells"  # of the metadata in a file

MEASURED = "quantized.json"  # of a model folder: what `python -m train exported` measured of the quantised network
CALIBRATION = "calibration.json"  # of a convolutional one: between which numbers its values lie, for that network
LARGEST_FALL = 0.002  # of the accuracy on test pictures, up to which the quantised network serves


class ExportError(Exception):
    """A network that cannot be exported here. Its text is one line for the user."""


class OnnxNetwork:
    """An exported network: one thread a picture, so that as many pictures as there are cores are under way at once."""

    def __init__(self, file: Path, source: str) -> None:
        """Raises ValueError for a file of other weights, and whatever ONNX Runtime does for a broken one."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors; they are raised as well
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        facts = json.loads(self.session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
        if facts.get("source") != source:
            raise ValueError(f"{file} was made from other weights")
        self.labels: list[str] = facts["labels"]
        self.size: int = facts["size"]
        self.mean, self.std = (np.float32(facts[name]) for name in ("mean", "std"))

    def begin(self, image: Image.Image) -> list[np.ndarray]:
        """All that is to be done of one picture, in a thread of its own: (1, classes) logits and (1, width) features."""
        pixels = preprocess(image, self.size, self.mean, self.std)
        return self.session.run(("logits", "features"), {"pixel_values": pixels[None]})

    def finish(self, begun: Sequence[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """(logits (n, classes), features (n, width)) of pictures that were begun."""
        logits, features = zip(*begun, strict=True)
        return np.concatenate(logits), np.concatenate(features)


def preprocess(image: Image.Image, size: int, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """(3, size, size): a picture resized to a square and normalised, the only preprocessing that is exported."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def load(folder: Path, may_export: bool) -> OnnxNetwork | None:
    """The exported network of a model folder; None where PyTorch is to serve.

    That is where there is no such file, no ONNX Runtime, or a GPU. With `may_export` a missing file is made, once.
    """
    if find_library("cuda") or find_library("nvcuda"):  # a GPU's driver; to ask PyTorch would take seconds
        return None
    file, source = folder / (QUANTIZED if may_quantize(folder) else FILE), digest(folder)
    try:
        return OnnxNetwork(file, source)
    except Exception:  # not there, broken, or of other weights: all mended by making it again
        if not may_export:
            return None
    try:
        export(folder)
        return OnnxNetwork(file, source)
    except (ExportError, ImportError, OSError):
        return None


def digest(folder: Path) -> str:
    """SHA-256 of what the network is made from."""
    there = (folder / file for file in SOURCES if (folder / file).is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in there)).hexdigest()


def may_quantize(folder: Path) -> bool:
    """Whether the quantised network was found to be as good as the other. Raises ValueError, KeyError for a broken record."""
    file = folder / MEASURED
    return file.is_file() and json.loads(file.read_text())["fall"] <= LARGEST_FALL


def export(folder: Path) -> None:
    """Write FILE into a model folder, and QUANTIZED where it may serve. Raises ExportError, ImportError, OSError."""
    import torch

    from cells.network import TorchNetwork

    network = TorchNetwork(folder)
    network.network.to("cpu")
    facts = {"source": digest(folder), "labels": network.labels} | preprocessing_of(network)
    try:
        program = torch.onnx.export(
            network.answers,
            (torch.zeros(2, 3, facts["size"], facts["size"]),),
            dynamo=True,
            verbose=False,
            input_names=["pixel_values"],
            output_names=["logits", "features"],
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch", min=1, max=4096)}},
        )
    except Exception as error:  # whatever of a network the exporter does not know
        raise ExportError(f"{folder} cannot be exported: {str(error).strip().splitlines()[0]}") from error
    program.model.metadata_props[KEY] = json.dumps(facts)
    _write(folder / FILE, lambda file: program.save(file, external_data=False))
    if may_quantize(folder):
        quantize(folder)


def quantize(folder: Path) -> None:
    """Write QUANTIZED from FILE: a ViT's matrices in 8 bits; of a network with a CALIBRATION its convolutions.

    Each column or channel has a scale of its own. Of the weights seven bits are used, since processors without VNNI
    instructions overflow with eight. Raises ExportError, ImportError, OSError.
    """
    from onnxruntime.quantization import quantize_dynamic

    if (folder / CALIBRATION).is_file():
        _quantize_static(folder)
    else:
        _quantize(folder, partial(quantize_dynamic, op_types_to_quantize=["MatMul", "Gemm"]))


def calibrate(folder: Path, images: Iterable[Image.Image]) -> None:
    """Write CALIBRATION, the range of each value in the network over some pictures, and with it QUANTIZED.

    Raises as quantize().
    """
    served = OnnxNetwork(folder / FILE, digest(folder))
    pixels = ({"pixel_values": preprocess(image, served.size, served.mean, served.std)[None]} for image in images)
    (folder / CALIBRATION).unlink(missing_ok=True)
    _quantize_static(folder, SimpleNamespace(get_next=lambda: next(pixels, None)))


def _quantize_static(folder: Path, reader: object | None = None) -> None:
    """With the ranges that CALIBRATION holds; where there is none, `reader` gives what it is made from."""
    from onnxruntime.quantization import QuantType, quantize_static

    options = {
        "calibration_data_reader": reader,
        "calibration_cache_path": folder / CALIBRATION,
        # Not what makes the features of them: from rounded means and variances almost every picture looks unfamiliar.
        "op_types_to_quantize": ["Conv", "Relu", "Add", "MaxPool"],
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
    }
    _quantize(folder, partial(quantize_static, **options))


def _quantize(folder: Path, quantize_it: Callable[..., None]) -> None:
    import onnx
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    def write(file: Path) -> None:
        try:
            network = onnx.load(folder / FILE)
            add_pre_process_metadata(network)  # the exporter has fused what can be; without the mark it warns
            del network.graph.value_info[:]  # shapes that the exporter noted before it turned some matrices around
            quantize_it(network, file, per_channel=True, reduce_range=True)
        except (ImportError, OSError):
            raise
        except Exception as error:  # whatever of a network the quantisation does not know
            raise ExportError(f"{folder} cannot be quantised: {str(error).strip().splitlines()[0]}") from error

    _write(folder / QUANTIZED, write)


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
    theirs = network.preprocess(noise)
    ours = preprocess(noise, facts["size"], np.float32(facts["mean"]), np.float32(facts["std"]))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=1e-4):
        raise ExportError("its preprocessing is more than a resize to a square and a normalisation, so it is not exported.")
    return facts
