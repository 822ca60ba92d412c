"""A convolutional network in PyTorch with batch-norm statistics that are moved towards those of some pictures.

Schneider et al. 2020, arXiv 2006.16971: running statistics n and a sample's s become (1 - weight) n + weight s, layer by layer.
The classes that the network names count alike in s, since a sample that is mostly of one class would otherwise cost the others.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cells.model.torch_network import TorchNetwork

ROUNDS = 3  # in which the classes are named again and the sample is balanced by them


class AdaptedNetwork(TorchNetwork):
    """The network of a model folder, before and after adapt()."""

    name = "torch+batch"

    def __init__(self, folder: Path) -> None:
        """Raises what TorchNetwork raises."""
        super().__init__(folder)
        batch_norms = [layer for layer in self.network.modules() if isinstance(layer, nn.BatchNorm2d)]
        self._layers = [layer for layer in batch_norms if layer.running_mean is not None]

    @property
    def can_adapt(self) -> bool:
        """Whether it has running statistics, which a ViT has not."""
        return bool(self._layers)

    @torch.inference_mode()
    def adapt(self, submitted: Sequence[np.ndarray], weight: float) -> None:
        """Move the statistics by `weight` towards those of pictures that were submitted, all of which are in memory at once."""
        pixel_values = torch.from_numpy(np.stack(submitted)).to(self.network.device)
        logits, _ = self.answers(pixel_values)
        original = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in self._layers]
        for _ in range(ROUNDS):
            logits = self._moved(pixel_values, _balanced(logits.argmax(1)), original, weight)

    def _moved(self, pixel_values: Tensor, shares: Tensor, original: list[tuple[Tensor, Tensor]], weight: float) -> Tensor:
        """The logits (n, classes) of statistics that are moved from the original ones; shares (n,) of the pictures sum to 1."""

        def move(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
            """Before the layer computes, so that the layers after it are measured with moved statistics."""
            mean, variance = _moments(inputs[0], shares)
            original_mean, original_variance = originals[layer]
            layer.running_mean.copy_(original_mean.lerp(mean, weight))
            layer.running_var.copy_(original_variance.lerp(variance, weight))

        originals = dict(zip(self._layers, original, strict=True))
        hooks = [layer.register_forward_pre_hook(move) for layer in self._layers]
        try:
            return self.answers(pixel_values)[0]
        finally:
            for hook in hooks:
                hook.remove()


def _balanced(guesses: Tensor) -> Tensor:
    """(n,) shares of pictures, from the indices (n,) of their classes: every class that occurs has the same."""
    shares = 1 / guesses.bincount()[guesses]
    return shares / shares.sum()


def _moments(values: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, variance), each (channels,), of values (n, channels, h, w) over pictures with shares (n,) and their places."""
    variances, means = torch.var_mean(values, (2, 3), correction=0)
    mean = shares @ means
    return mean, shares @ (variances + (means - mean).square())
