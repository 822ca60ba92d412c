"""A model folder's network in PyTorch, through transformers, which loads timm's as well.

Importing this module takes seconds; predictions of an exported network (cells/model/onnx_network.py) do without it. Without
`trust_remote_code=False`, transformers asks at a terminal whether to run the code that a folder brings.
"""

import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path

# Seconds for which the Hub is waited for to say where a branch stands; read when its client is imported.
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "3")

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
from transformers.utils.hub import cached_file, cached_files
from transformers.utils.logging import disable_progress_bar

from cells.model.device import has_gpu
from cells.model.folder import (
    CLASSES_FILE,
    CONFIG,
    MODEL_FILES,
    ONNX_FILE,
    QUANTIZED_FILE,
    WEIGHTS,
    ModelError,
    check_labels,
    unusable,
)
from cells.model.layers import TransformersLayers, layers_of

CHANNELS = 128  # of a hidden state that are looked at; more would want more training pictures, and a larger file
# transformers loads a network, and PyTorch exports one, with switches of the whole process: one thread at a time.
LOCK = threading.RLock()

disable_progress_bar()  # of 122 tensors read from a disk; a download still shows its own


class Answers(nn.Module):
    """Pixel values (n, 3, s, s) -> logits (n, classes) in the order of the network's labels, and features (n, width)."""

    def __init__(self, layers: TransformersLayers) -> None:
        super().__init__()
        self.layers = layers
        self.network = layers.network  # so that it is one of this module's

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        logits, states = self.layers.answer(pixel_values)
        return logits, pooled(states)


def pooled(states: Sequence[Tensor]) -> Tensor:
    """(n, width) features from a network's hidden states: (n, channels, h, w), or a ViT's (n, 1 + positions, channels).

    They are the means and the standard deviations of the channels over the picture, each at unit length, at a quarter and at
    half of the depth. There a network still sees colour, stain and sharpness; at its end it has learned to overlook them.
    """
    parts = []
    for state in (states[len(states) // 4], states[len(states) // 2]):
        channels = state.flatten(2) if state.ndim == 4 else state[:, 1:].transpose(1, 2)
        channels = channels[:, :: math.ceil(channels.shape[1] / CHANNELS)]
        parts += [F.normalize(channels.mean(2)), F.normalize(channels.std(2))]  # of zeros, as a blank picture may give, zeros
    return torch.cat(parts, 1)


class TorchNetwork:
    """The network with its own preprocessing, on a GPU where there is one."""

    name = "torch"  # of what answers, in a version id

    def __init__(self, folder: Path) -> None:
        """Raises ModelError, and whatever a broken folder makes transformers, timm or safetensors raise."""
        with LOCK:
            self.network, report = AutoModelForImageClassification.from_pretrained(
                folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
            if report["missing_keys"]:
                raise ModelError("model_lacks_weights", weight=min(report["missing_keys"]))
            self.processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
        self.network.to("cuda" if has_gpu() else "cpu").eval()
        self.layers = layers_of(self.network)
        self.answers = Answers(self.layers).eval()
        self.labels = [self.network.config.id2label[index] for index in range(self.network.config.num_labels)]

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """(3, s, s): what the network takes of one picture."""
        return self.processor(image, return_tensors="pt")["pixel_values"][0].numpy()

    def submit(self, image: Image.Image) -> np.ndarray:
        """What can be done of one picture in a thread of its own."""
        return self.preprocess(image)

    @torch.inference_mode()
    def collect(self, submitted: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(logits (n, classes), features (n, width)) of pictures that were submitted."""
        pixel_values = torch.from_numpy(np.stack(submitted)).to(self.network.device)
        logits, features = self.answers(pixel_values)
        return logits.float().cpu().numpy(), features.float().cpu().numpy()


def fetch(repo_id: str, revision: str | None) -> Path:
    """The folder of a model of the Hub on this disk, of one commit, fetched as far as it is not cached.

    The Hub is asked where a branch stands, and once more for the files of a commit that is new here. Where it does not answer,
    what is cached is taken. Raises ModelError, and OSError where the model is neither cached nor to be had.
    """
    config = cached_file(repo_id, CONFIG, revision=revision)
    if config is None:
        raise ModelError("model_lacks_file", file=CONFIG)
    folder = Path(config).parent
    small = [file for file in MODEL_FILES if file != WEIGHTS]
    _fetch(repo_id, small, folder.name)
    check_config(folder, repo_id)
    _fetch(repo_id, [WEIGHTS, QUANTIZED_FILE], folder.name)
    if not (folder / QUANTIZED_FILE).is_file():  # a repo has it only where it may answer
        _fetch(repo_id, [WEIGHTS, ONNX_FILE], folder.name)
    return folder


def _fetch(repo_id: str, files: list[str], commit: str) -> None:
    """Bring those of several files that a commit has to this disk. For one file, transformers would ask the Hub each time."""
    cached_files(repo_id, files, revision=commit, _raise_exceptions_for_missing_entries=False)


def check_config(folder: Path, source: str | os.PathLike) -> None:
    """Whether a folder's config.json is that of a model for these cells; `source` is its name. Raises ModelError."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever a foreign file makes it raise
        raise unusable(source, error) from error
    check_labels(config.id2label.values(), source, (folder / CLASSES_FILE).is_file())
