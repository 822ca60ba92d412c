"""Recipe -> network, and network -> model folder. One Auto interface for what comes from timm and from transformers."""

import copy
import json
from pathlib import Path

import timm
import torch
from torch import nn
from transformers import AutoModelForImageClassification, TimmWrapperConfig, TimmWrapperForImageClassification

from cells.classes import LABELS
from train.recipe import Recipe, RecipeError

# ImageNet's, as in the thesis.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def build(recipe: Recipe) -> nn.Module:
    """The recipe's network with a head for our labels; `network(pixel_values=...).logits`. Raises RecipeError."""
    id2label = dict(enumerate(LABELS))
    label2id = {label: index for index, label in id2label.items()}
    if recipe.pretrained is None:
        config = TimmWrapperConfig(
            architecture=recipe.architecture,
            pretrained_cfg=_preprocessing(recipe),
            num_labels=len(LABELS),
            id2label=id2label,
            label2id=label2id,
            model_args={},
        )
        try:
            return TimmWrapperForImageClassification(config)
        except (ImportError, RuntimeError) as error:  # transformers' way to say that timm does not know the name
            raise RecipeError(f"architecture={recipe.architecture}: timm has no such network.") from error
    try:
        network = AutoModelForImageClassification.from_pretrained(
            recipe.pretrained,
            num_labels=len(LABELS),
            id2label=id2label,
            label2id=label2id,
            ignore_mismatched_sizes=True,  # the head of another task is left behind
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"pretrained={recipe.pretrained} cannot be loaded: {reason}") from error
    if getattr(network.config, "architecture", None) != recipe.architecture:
        raise RecipeError(f"pretrained={recipe.pretrained} is not a {recipe.architecture} in timm's format.")
    return network


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
        "num_classes": len(LABELS),
    }


def export(network: nn.Module, recipe: Recipe, folder: Path) -> None:
    """Write the model folder: weights as float16 safetensors, in timm's layout, which transformers loads as well."""
    net = copy.deepcopy(network.timm_model).cpu().half().to(memory_format=torch.contiguous_format)
    net.pretrained_cfg = _preprocessing(recipe)
    timm.models.save_for_hf(net, folder, model_config={"label_names": list(LABELS)}, safe_serialization=True)
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    config.get("model_args", {}).pop("num_classes", None)  # timm passes it twice otherwise, and fails
    config["dtype"] = "float32"  # transformers computes in this, whatever the weights are stored in
    config_file.write_text(json.dumps(config, indent=2) + "\n")
