"""ONNX Runtime runs an exported network: without PyTorch, and faster on a CPU.

The file (cells/model/export.py) names the digest of the weights that it was made from. A file of other weights is never used.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cells.model.folder import ONNX_FILE, QUANTIZED_FILE, digest, may_quantize

# From 1.29 on, ONNX Runtime tells its maker of every model that it loads, unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

KEY = "blood-cells"  # of the metadata in a file
log = logging.getLogger(__name__)


class OnnxNetwork:
    """An exported network: one thread a picture, so that as many pictures as there are cores are under way at once."""

    def __init__(self, file: Path | bytes, source: str) -> None:
        """`file` may be the content of one in 32 bits.

        Raises ValueError for a file of other weights, and whatever ONNX Runtime does for a broken one.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors; they are raised as well
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        facts = json.loads(self.session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
        if facts.get("source") != source:
            raise ValueError("the file was made from other weights")
        is_quantized = isinstance(file, Path) and file.name == Path(QUANTIZED_FILE).name
        self.name = "int8" if is_quantized else "fp32"  # of what answers, in a version id
        self.labels: list[str] = facts["labels"]
        self.size: int = facts["size"]
        self.mean, self.std = (np.float32(facts[name]) for name in ("mean", "std"))

    def submit(self, image: Image.Image) -> list[np.ndarray]:
        """All that is to be done of one picture, in a thread of its own: (1, classes) logits and (1, width) features."""
        pixels = preprocess(image, self.size, self.mean, self.std)
        return self.session.run(("logits", "features"), {"pixel_values": pixels[None]})

    def collect(self, submitted: Sequence[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """(logits (n, classes), features (n, width)) of pictures that were submitted."""
        logits, features = zip(*submitted, strict=True)
        return np.concatenate(logits), np.concatenate(features)


def preprocess(image: Image.Image, size: int, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """(3, size, size): a picture resized to a square and normalised, the only preprocessing that is exported."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def fits(file: Path, source: str) -> bool:
    """Whether a file is an exported network of these weights that ONNX Runtime can read."""
    try:
        OnnxNetwork(file, source)
    except Exception:  # absent, broken, or of other weights
        return False
    return True


def load(folder: Path) -> OnnxNetwork | None:
    """The exported network of a model folder; None where it has none of these weights that ONNX Runtime can read.

    One that is present and not used is named in the log.
    """
    file = folder / ONNX_FILE
    try:
        file = folder / (QUANTIZED_FILE if may_quantize(folder) else ONNX_FILE)
        return OnnxNetwork(file, digest(folder))
    except Exception as error:  # absent, broken, or of other weights
        if file.is_file():
            log.warning("%s: %s is not used (%s)", folder.name, file.name, type(error).__name__)
        return None
