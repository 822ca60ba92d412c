"""What the project asks of a network's layers: its hidden states, and the last layer whose output still has places.

Two implementations answer: a network of transformers' own, of which a ViT's layers are known, and any network of timm's.
"""

import math

from torch import Tensor, nn

from cells.model.folder import ModelError


class TransformersLayers:
    """Of a network in transformers' own format."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.name: str = network.config.model_type

    def answer(self, pixel_values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(logits (n, classes), hidden states) of pixel values (n, 3, s, s).

        A state is (n, channels, h, w), or (n, 1 + positions, channels) with a class token first.
        """
        output = self.network(pixel_values=pixel_values, output_hidden_states=True)
        return output.logits, output.hidden_states

    def last_with_places(self) -> nn.Module:
        """The layer, in front of whatever mixes the places; its output is for grid(). Raises ModelError where none is known."""
        if self.name != "vit":
            raise ModelError("no_saliency", network=self.name)
        blocks = next(module for module in self.network.vit.modules() if isinstance(module, nn.ModuleList))
        return blocks[-1].layernorm_before  # from which the class token reads in the last block

    def grid(self, output: Tensor) -> Tensor:
        """(channels, rows, columns) of that layer's output for one picture. Raises ModelError."""
        return self._grid_of_tokens(output, 1)

    def _grid_of_tokens(self, tokens: Tensor, before: int) -> Tensor:
        """Of (before + positions, channels)."""
        side = math.isqrt(len(tokens) - before)
        if side * side != len(tokens) - before:
            raise ModelError("no_saliency", network=self.name)
        return tokens[before:].T.unflatten(1, (side, side))


class TimmLayers(TransformersLayers):
    """Of a network of timm's, which transformers wraps: timm says of each where its stages end."""

    def __init__(self, network: nn.Module) -> None:
        """Raises ModelError for a network whose hidden states timm does not give."""
        self.network, self.net = network, network.timm_model
        self.name: str = network.config.architecture
        if not hasattr(self.net, "forward_intermediates"):
            raise ModelError("model_no_features", network=self.name)

    def last_with_places(self) -> nn.Module:
        """The last stage; of a transformer with tokens the norm through which its last block looks."""
        try:
            last = self.net.get_submodule(self.net.feature_info[-1]["module"])
        except (AttributeError, IndexError, KeyError, TypeError):
            raise ModelError("no_saliency", network=self.name) from None
        return last.norm1 if hasattr(self.net, "num_prefix_tokens") and hasattr(last, "norm1") else last

    def grid(self, output: Tensor) -> Tensor:
        """(channels, rows, columns) of that layer's output for one picture. Raises ModelError."""
        channels = self.net.feature_info[-1]["num_chs"]
        if output.ndim == 2 and output.shape[1] == channels:
            return self._grid_of_tokens(output, getattr(self.net, "num_prefix_tokens", 0))
        if output.ndim == 3 and channels in (output.shape[0], output.shape[2]):
            return output if output.shape[0] == channels else output.permute(2, 0, 1)  # some of timm's keep the channels last
        raise ModelError("no_saliency", network=self.name)


def layers_of(network: nn.Module) -> TransformersLayers:
    """The layers of a network that AutoModelForImageClassification loaded. Raises ModelError."""
    return TimmLayers(network) if hasattr(network, "timm_model") else TransformersLayers(network)


def head_of(network: nn.Module) -> nn.Linear:
    """The linear layer that gives the logits of a network that AutoModelForImageClassification loaded. Raises ModelError."""
    head = network.timm_model.get_classifier() if hasattr(network, "timm_model") else getattr(network, "classifier", None)
    if not isinstance(head, nn.Linear):
        raise ModelError("model_no_head", network=layers_of(network).name)
    return head
