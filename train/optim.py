"""The optimizer of a network, and its rates over the epochs."""

import math
from collections import Counter

import torch
from timm.optim import Muon
from torch import nn

from train.network import adapter
from train.recipe import Recipe


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """One group per layer and kind; `peak` is its rate at the top of the cycle.

    Only weights of layers decay: no biases, no scales, no position embeddings, no class token (Touvron et al. 2021). Muon
    (Jordan et al. 2024) is for the matrices between the first layer and the head; it takes AdamW for all else.
    """
    ours = adapter(network)
    layers = ours.layers
    _check_every_parameter_once(network, layers)
    undecayed, groups = ours.undecayed, []
    for depth, layer in enumerate(layers):
        share = depth / max(len(layers) - 1, 1)
        peak = recipe.lr if recipe.lr_first is None else recipe.lr_first * (recipe.lr / recipe.lr_first) ** share
        outer = depth in (0, len(layers) - 1)
        for decay, matrices in ((recipe.weight_decay, True), (0.0, False)):
            parameters = [p for p in layer if (p.ndim in (2, 4) and p not in undecayed) == matrices]
            groups.append(
                {"params": parameters, "weight_decay": decay, "peak": peak, "lr": peak}
                | ({"use_fallback": outer or not matrices} if recipe.optimizer == "muon" else {})
            )
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    if recipe.optimizer == "muon":
        return Muon(groups, nesterov=True)
    return torch.optim.AdamW(groups, fused=True)


def _check_every_parameter_once(network: nn.Module, layers: list[list[nn.Parameter]]) -> None:
    """A parameter in no group would never learn, without a word."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    counts = Counter(parameter for layer in layers for parameter in layer)
    wrong = [name for parameter, name in names.items() if counts[parameter] != 1]
    assert not wrong, f"not in exactly one group of the optimizer: {', '.join(wrong)}"


def one_cycle(progress: float, warmup: float) -> float:
    """The rate as a share of its peak at `progress` in 0..1: a cosine up from 1/25, then one down to nearly 0.

    Smith & Topin 2018, with fastai's shape, which the thesis used.
    """
    if progress < warmup:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / warmup)) / 2
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2 + 1e-5


def set_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: float) -> None:
    """One cycle for the head alone, if the recipe has it, and one for everything."""
    if epoch < recipe.freeze_epochs:
        factor = one_cycle(epoch / recipe.freeze_epochs, recipe.warmup) * recipe.lr_head_alone / recipe.lr
    else:
        factor = one_cycle((epoch - recipe.freeze_epochs) / (recipe.epochs - recipe.freeze_epochs), recipe.warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
