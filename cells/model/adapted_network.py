"""A convolutional network with batch-norm statistics that are moved towards those of some pictures.

PyTorch finds the statistics. Where there is an exported network, ONNX Runtime answers with them, faster on a CPU.

Schneider et al. 2020, arXiv 2006.16971: running statistics n and a sample's s become (1 - weight) n + weight s, layer by layer.
The classes that the network names count alike in s, since a sample that is mostly of one class would otherwise cost the others.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cells.model.batch_norm import convolutions, exchanged
from cells.model.folder import ONNX_FILE, digest
from cells.model.onnx_network import OnnxNetwork
from cells.model.torch_network import TorchNetwork

log = logging.getLogger(__name__)
ROUNDS = 3  # in which the classes are named again and the sample is balanced by them
PART = 64  # pictures at most that the network takes together: at 128 pixels a layer of theirs has 100 MB


class AdaptedNetwork(TorchNetwork):
    """The network of a model folder, before and after adapt()."""

    def __init__(self, folder: Path) -> None:
        """Raises what TorchNetwork raises."""
        super().__init__(folder)
        self._folder = folder
        self._exported: OnnxNetwork | None = None
        batch_norms = [layer for layer in self.network.modules() if isinstance(layer, nn.BatchNorm2d)]
        self._original = {
            layer: (layer.running_mean.clone(), layer.running_var.clone())
            for layer in batch_norms
            if layer.running_mean is not None
        }

    @property
    def can_adapt(self) -> bool:
        """Whether it has running statistics, which a ViT has not."""
        return bool(self._original)

    @property
    def name(self) -> str:
        """Of what answers, in a version id."""
        return f"{(self._exported or TorchNetwork).name}+batch"

    def submit(self, image: Image.Image) -> np.ndarray | list[np.ndarray]:
        """What can be done of one picture in a thread of its own."""
        return self._exported.submit(image) if self._exported else super().submit(image)

    def collect(self, submitted: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """(logits (n, classes), features (n, width)) of pictures that were submitted."""
        return self._exported.collect(submitted) if self._exported else super().collect(submitted)

    @torch.inference_mode()
    def adapt(self, submitted: Sequence[np.ndarray], weight: float) -> None:
        """Move the statistics by `weight` towards those of pictures that were submitted.

        Of more than PART pictures it is the mean of parts, each with pictures from the whole sequence.
        """
        parts = -(-len(submitted) // PART)
        moved = [self._moved(submitted[first::parts], weight) for first in range(parts)]
        for layer, *of_parts in zip(self._original, *moved, strict=True):
            means, variances = zip(*of_parts, strict=True)
            _set(layer, torch.stack(means).mean(0), torch.stack(variances).mean(0))

    def serve_exported(self, submitted: np.ndarray) -> None:
        """ONNX Runtime answers from now on, where the folder has a file in 32 bits that takes the statistics.

        Otherwise PyTorch does. `submitted` is any picture that was.
        """
        file = self._folder / ONNX_FILE
        try:
            convolution_of = convolutions(self.answers, torch.from_numpy(submitted)[None])
            self._exported = OnnxNetwork(exchanged(file, self._original, convolution_of), digest(self._folder))
        except Exception as error:  # absent, broken, of other weights, or with layers that are not folded
            if file.is_file():
                log.warning(
                    "%s: PyTorch answers, since %s is not used (%s)", self._folder.name, file.name, type(error).__name__
                )

    def _moved(self, submitted: Sequence[np.ndarray], weight: float) -> list[tuple[Tensor, Tensor]]:
        """(mean, variance) of each layer, moved towards those of a part; the guesses are balanced in each round."""
        pixel_values = torch.from_numpy(np.stack(submitted)).to(self.network.device)
        for layer, original in self._original.items():
            _set(layer, *original)
        logits, _ = self.answers(pixel_values)
        for _ in range(ROUNDS):
            logits = self._move(pixel_values, _balanced(logits.argmax(1)), weight)
        return [(layer.running_mean.clone(), layer.running_var.clone()) for layer in self._original]

    def _move(self, pixel_values: Tensor, shares: Tensor, weight: float) -> Tensor:
        """Move the original statistics towards a part's; its logits (n, classes). The shares (n,) of its pictures sum to 1."""

        def move(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
            """Before the layer computes, so that the layers after it are measured with moved statistics."""
            pairs = zip(self._original[layer], _moments(inputs[0], shares), strict=True)
            _set(layer, *(original.lerp(found, weight) for original, found in pairs))

        hooks = [layer.register_forward_pre_hook(move) for layer in self._original]
        try:
            return self.answers(pixel_values)[0]
        finally:
            for hook in hooks:
                hook.remove()


def _set(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)


def _balanced(guesses: Tensor) -> Tensor:
    """(n,) shares of pictures, from the indices (n,) of their classes: every class that occurs has the same."""
    shares = 1 / guesses.bincount()[guesses]
    return shares / shares.sum()


def _moments(values: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, variance), each (channels,), of values (n, channels, h, w) over pictures with shares (n,) and their places."""
    variances, means = torch.var_mean(values, (2, 3), correction=0)
    mean = shares @ means
    return mean, shares @ (variances + (means - mean).square())
