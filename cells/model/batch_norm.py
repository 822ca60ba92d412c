"""Other batch-norm statistics for an exported network, without another export.

The exporter folds a batch-norm layer into the convolution before it: scale and shift become a part of its weights and its bias.
With other statistics these are other numbers of the same file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    import onnx

Statistics = tuple[Tensor, Tensor]  # mean and variance, each (channels,)


@torch.no_grad()
def convolutions(network: nn.Module, pixel_values: Tensor) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """The convolution whose output is what a batch-norm layer is given, as a pass of the network shows; those that have one."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors too: without them an id would be used again
    found = {}

    def look(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        if id(inputs[0]) in outputs:
            found[layer] = outputs[id(inputs[0])][0]

    hooks = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(lambda conv, _, output: outputs.update({id(output): (conv, output)})))
        elif isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(look))
    try:
        network(pixel_values)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def exchanged(file: Path, before: dict[nn.BatchNorm2d, Statistics], convolution_of: dict[nn.BatchNorm2d, nn.Conv2d]) -> bytes:
    """The content of an exported file with the statistics that the layers of `before` have now; `before` are the file's.

    Raises ValueError where it does not have a layer folded into a convolution, and what onnx does for a broken file.
    """
    import onnx

    model = onnx.load(file)
    left = [node for node in model.graph.node if node.op_type == "Conv"]
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for layer, statistics in before.items():
        if layer not in convolution_of:
            raise ValueError("a batch-norm layer follows no convolution")
        old = _folded(convolution_of[layer], layer, statistics)
        node = next((node for node in left if _has(node, old, values)), None)
        if node is None:
            raise ValueError(f"{file} has no convolution that a batch-norm layer is folded into")
        left.remove(node)
        new = _folded(convolution_of[layer], layer, (layer.running_mean, layer.running_var))
        names = [f"{node.output[0]}:{part}" for part in ("weights", "bias")]  # others than the file's, which nodes may share
        model.graph.initializer.extend(map(onnx.numpy_helper.from_array, new, names))
        node.input[1:] = names
    return model.SerializeToString()


def _folded(convolution: nn.Conv2d, layer: nn.BatchNorm2d, statistics: Statistics) -> Sequence[np.ndarray]:
    """(weights, bias) of a convolution that does what both layers do."""
    both = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics, layer.eps, layer.weight, layer.bias)
    return [parameter.detach().cpu().numpy() for parameter in both]


def _has(node: "onnx.NodeProto", expected: Sequence[np.ndarray], values: dict[str, np.ndarray]) -> bool:
    """Whether a convolution of the file has these weights and this bias; the exporter leaves out one of zeros."""
    weights, bias = (values.get(name) for name in (*node.input[1:], None)[:2])
    if weights is None or weights.shape != expected[0].shape or (bias is None and len(node.input) > 2):
        return False
    return np.allclose(weights, expected[0], atol=1e-5) and np.allclose(0 if bias is None else bias, expected[1], atol=1e-5)
