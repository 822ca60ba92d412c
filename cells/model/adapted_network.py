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
PART = 64  # pictures at most that the network takes together: at 128 pixels a layer of theirs has 100 MB


class AdaptedNetwork(TorchNetwork):
    """The network of a model folder, before and after adapt()."""

    name = "torch+batch"

    def __init__(self, folder: Path) -> None:
        """Raises what TorchNetwork raises."""
        super().__init__(folder)
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
