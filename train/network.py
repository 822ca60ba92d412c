"""Recipe -> network, and network -> model folder. One Auto interface for what comes from timm and from transformers."""

import copy
import json
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.ops import stochastic_depth
from transformers import (
    AutoModelForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from train.recipe import VITS, Recipe, RecipeError

# ImageNet's, as in the thesis.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def build(recipe: Recipe) -> nn.Module:
    """The recipe's network with a head for its labels; `network(pixel_values=...).logits`. Raises RecipeError."""
    network = _start(recipe) if recipe.pretrained is None else _pretrained(recipe)
    if recipe.architecture in VITS:
        network.register_forward_pre_hook(_any_size, with_kwargs=True)
        if recipe.drop_path:
            _add_stochastic_depth(network, recipe.drop_path)
    return network


def _any_size(network: nn.Module, arguments: tuple, named: dict) -> tuple[tuple, dict]:
    """Let a ViT take smaller pictures while it is trained: its position embeddings are interpolated."""
    return arguments, named | {"interpolate_pos_encoding": True}


def _start(recipe: Recipe) -> nn.Module:
    if recipe.architecture in VITS:
        size = {"image_size": recipe.image_size, "patch_size": recipe.patch_size}
        return ViTForImageClassification(ViTConfig(**VITS[recipe.architecture], **size, **_labels(recipe)))
    config = TimmWrapperConfig(
        architecture=recipe.architecture, pretrained_cfg=_preprocessing(recipe), model_args={}, **_labels(recipe)
    )
    try:
        return TimmWrapperForImageClassification(config)
    except (ImportError, RuntimeError) as error:  # transformers' way to say that timm does not know the name
        raise RecipeError(
            f"architecture={recipe.architecture}: timm has no such network, and it is none of {', '.join(VITS)}."
        ) from error


def build_teacher(recipe: Recipe) -> nn.Module | None:
    """The network that the recipe's own learns from, if it has one; its parameters stay as they are. Raises RecipeError."""
    if recipe.teacher is None:
        return None
    network, lacking = _load("teacher", recipe.teacher)
    _check_whole("teacher", recipe.teacher, lacking)
    config = network.config
    size = input_size(network)
    if list(config.id2label.values()) != list(recipe.labels) or size != recipe.image_size:
        raise RecipeError(
            f"teacher={recipe.teacher} takes {size} pixels and names {', '.join(config.id2label.values())}; it is to take "
            f"{recipe.image_size} and name {', '.join(recipe.labels)}."
        )
    return network.eval().requires_grad_(False)


def _load(key: str, place: str, **options: object) -> tuple[nn.Module, set[str]]:
    """(a network, the names of its weights that it did not find there in their shape: they are random)."""
    try:
        network, report = AutoModelForImageClassification.from_pretrained(
            place, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"{key}={place} cannot be loaded: {reason}") from error
    return network, set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}


def _check_whole(key: str, place: str, lacking: set[str]) -> None:
    if lacking:
        raise RecipeError(f"{key}={place} lacks weights, {min(lacking)} among them.")


def _pretrained(recipe: Recipe) -> nn.Module:
    network, lacking = _load("pretrained", recipe.pretrained, **_labels(recipe), ignore_mismatched_sizes=True)
    config = network.config
    if recipe.architecture not in VITS:
        if getattr(config, "architecture", None) != recipe.architecture:
            raise RecipeError(f"pretrained={recipe.pretrained} is not a {recipe.architecture} in timm's format.")
    else:
        wanted = VITS[recipe.architecture] | {"patch_size": recipe.patch_size, "image_size": recipe.image_size}
        if config.model_type != "vit" or any(getattr(config, key) != value for key, value in wanted.items()):
            raise RecipeError(
                f"pretrained={recipe.pretrained} is not a {recipe.architecture} with patches of {recipe.patch_size} in "
                f"pictures of {recipe.image_size} pixels, in transformers' format."
            )
    new = list(head(network).parameters())  # the head of another task is left behind
    heads = {name for name, parameter in network.named_parameters() if any(parameter is one for one in new)}
    _check_whole("pretrained", recipe.pretrained, lacking - heads)
    return network


def _labels(recipe: Recipe) -> dict:
    id2label = dict(enumerate(recipe.labels))
    return {"num_labels": len(id2label), "id2label": id2label, "label2id": {label: index for index, label in id2label.items()}}


def _preprocessing(recipe: Recipe) -> dict:
    """timm's pretrained_cfg: a plain resize to a square, then ImageNet's normalisation."""
    return {
        "architecture": recipe.architecture,
        "input_size": [3, recipe.image_size, recipe.image_size],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": list(MEAN),
        "std": list(STD),
        "num_classes": len(recipe.labels),
    }


def blocks(network: nn.Module) -> list[nn.Module]:
    """A ViT's transformer blocks; none for another network."""
    if not isinstance(network, ViTForImageClassification):
        return []
    return list(next(module for module in network.vit.modules() if isinstance(module, nn.ModuleList)))


def input_size(network: nn.Module) -> int:
    """The side in pixels of the pictures that it takes."""
    return network.config.image_size if blocks(network) else network.config.pretrained_cfg["input_size"][1]


def head(network: nn.Module) -> nn.Module:
    """The layer that is new for every task."""
    return network.classifier if blocks(network) else network.timm_model.get_classifier()


def layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters from the first layer to the head: the blocks of a ViT, the top-level parts of a network of timm's."""
    if found := blocks(network):
        vit = network.vit
        parts = [vit.embeddings, *found, vit.layernorm, network.classifier]
    else:
        parts = network.timm_model.children()
    return [parameters for part in parts if (parameters := list(part.parameters()))]


def _add_stochastic_depth(network: nn.Module, most: float) -> None:
    """Drop a block's contribution for some pictures of a batch, later blocks more often (Huang et al. 2016)."""
    found = blocks(network)
    for depth, block in enumerate(found):

        def drop(module: nn.Module, inputs: tuple, output: Tensor, p: float = most * depth / (len(found) - 1)) -> Tensor:
            return inputs[0] + stochastic_depth(output - inputs[0], p, "row") if module.training else output

        block.register_forward_hook(drop)


def export(network: nn.Module, recipe: Recipe, folder: Path) -> None:
    """Write the model folder: float16 safetensors, configuration and preprocessing.

    A network of timm's is written in timm's layout, which transformers loads as well.
    """
    if recipe.architecture in VITS:
        copy.deepcopy(network).cpu().half().save_pretrained(folder)
        size = {"height": recipe.image_size, "width": recipe.image_size}
        ViTImageProcessor(size=size, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
    else:
        net = copy.deepcopy(network.timm_model).cpu().half().to(memory_format=torch.contiguous_format)
        net.pretrained_cfg = _preprocessing(recipe)
        timm.models.save_for_hf(net, folder, model_config={"label_names": list(recipe.labels)}, safe_serialization=True)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    config.get("model_args", {}).pop("num_classes", None)  # timm passes it twice otherwise, and fails
    config["dtype"] = "float32"  # transformers computes in this, whatever the weights are stored in
    config_file.write_text(json.dumps(config, indent=2) + "\n")
