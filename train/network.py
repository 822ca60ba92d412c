"""Recipe -> network, and network -> model folder.

`adapter(network)` answers what the project asks of a network, whichever library it comes from: the head, the layers in their
order, the input size, the preprocessing, the features, the model folder. There are two adapters: a ViT of transformers, and
any network of timm. Both kinds are transformers modules: `network(pixel_values=...).logits`.
"""

import copy
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from timm.models import group_parameters
from timm.models.resnet import ResNet
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

from cells.model.layers import layers_of
from cells.model.torch_network import Answers
from train.packages import PACKAGES, load_into
from train.recipe import VITS, Recipe, RecipeError
from train.transforms import MEAN, STD

POSITIONS = "timm_model.pos_embed"


class Adapter(ABC):
    """What the project asks of a network."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @property
    @abstractmethod
    def head(self) -> nn.Module:
        """The layer that is new for every task."""

    @property
    @abstractmethod
    def layers(self) -> list[list[nn.Parameter]]:
        """Every parameter once, in lists from the first layer to the head."""

    @property
    @abstractmethod
    def input_size(self) -> int:
        """The side in pixels of the pictures that it takes."""

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, standard deviation) of the colour channels, by which its input is normalised."""
        return MEAN, STD

    @property
    def undecayed(self) -> set[nn.Parameter]:
        """Matrices that weight decay would harm, such as tables of positions."""
        return set()

    def features(self, pixel_values: Tensor) -> Tensor:
        """(n, width) of normalised pictures (n, 3, s, s): what `unfamiliar` is decided by."""
        return Answers(layers_of(self.network))(pixel_values)[1]

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights as float16 safetensors, configuration and preprocessing."""


class ViTAdapter(Adapter):
    """A ViT of transformers."""

    @property
    def head(self) -> nn.Module:
        return self.network.classifier

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks."""
        return list(next(module for module in self.network.vit.modules() if isinstance(module, nn.ModuleList)))

    @property
    def layers(self) -> list[list[nn.Parameter]]:
        vit = self.network.vit
        return _parameters([vit.embeddings, *self.blocks, vit.layernorm, self.network.classifier])

    @property
    def input_size(self) -> int:
        return self.network.config.image_size

    def save(self, folder: Path) -> None:
        copy.deepcopy(self.network).cpu().half().save_pretrained(folder)
        size = {"height": self.input_size, "width": self.input_size}
        mean, std = self.statistics
        ViTImageProcessor(size=size, image_mean=list(mean), image_std=list(std)).save_pretrained(folder)


class TimmAdapter(Adapter):
    """A network of timm, within transformers' wrapper. The folder is in timm's layout, which transformers loads as well."""

    @property
    def head(self) -> nn.Module:
        return self.network.timm_model.get_classifier()

    @property
    def layers(self) -> list[list[nn.Parameter]]:
        """As timm groups them for its layer-wise rates; its groups leave no parameter out.

        A ResNet has its top-level parts instead: the published recipes' rates and checkpoints are of that grouping.
        """
        network = self.network.timm_model
        if isinstance(network, ResNet) or not hasattr(network, "group_matcher"):
            loose = list(network.parameters(recurse=False))
            return [loose] * bool(loose) + _parameters(network.children())
        named = dict(network.named_parameters())
        groups = group_parameters(network, network.group_matcher(coarse=False))
        return [[named[name] for name in groups[depth]] for depth in sorted(groups)]

    @property
    def input_size(self) -> int:
        return self.network.config.pretrained_cfg["input_size"][1]

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        config = self.network.config.pretrained_cfg
        return tuple(config.get("mean", MEAN)), tuple(config.get("std", STD))

    @property
    def undecayed(self) -> set[nn.Parameter]:
        network = self.network.timm_model
        names = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
        return {parameter for name, parameter in network.named_parameters() if name in names}

    def resize(self, size: int) -> None:
        """Let it take pictures of so many pixels a side; a network with position embeddings has them interpolated."""
        config = self.network.config
        if hasattr(self.network.timm_model, "set_input_size"):
            self.network.timm_model.set_input_size(img_size=size)
            config.model_args = (config.model_args or {}) | {"img_size": size}
        config.pretrained_cfg = _preprocessing(config.architecture, size, config.num_labels, *self.statistics)

    def save(self, folder: Path) -> None:
        config = self.network.config
        network = copy.deepcopy(self.network.timm_model).cpu().half().to(memory_format=torch.contiguous_format)
        network.pretrained_cfg = _preprocessing(config.architecture, self.input_size, config.num_labels, *self.statistics)
        names = {"label_names": [config.id2label[index] for index in range(config.num_labels)]}
        timm.models.save_for_hf(
            network, folder, model_config=names, model_args=config.model_args or None, safe_serialization=True
        )
        # timm writes the size for which the network was built; one whose size cannot be set takes pictures of another as well.
        _edit_config(folder, lambda saved: saved["pretrained_cfg"].update(input_size=[3, self.input_size, self.input_size]))


def adapter(network: nn.Module) -> Adapter:
    """What a network answers to the project's questions."""
    return (ViTAdapter if isinstance(network, ViTForImageClassification) else TimmAdapter)(network)


def _parameters(parts) -> list[list[nn.Parameter]]:
    return [parameters for part in parts if (parameters := list(part.parameters()))]


def build(recipe: Recipe) -> nn.Module:
    """The recipe's network with a head for its labels; `network(pixel_values=...).logits`. Raises RecipeError."""
    if recipe.pretrained is None:
        network = _start(recipe)
    else:
        network = _from_package(recipe) if recipe.pretrained in PACKAGES else _pretrained(recipe)
    if recipe.architecture in VITS:
        network.register_forward_pre_hook(_any_size, with_kwargs=True)
        if recipe.drop_path:
            _add_stochastic_depth(network, recipe.drop_path)
    return network


def _any_size(network: nn.Module, arguments: tuple, named: dict) -> tuple[tuple, dict]:
    """Let a ViT take smaller pictures while it is trained: its position embeddings are interpolated."""
    return arguments, named | {"interpolate_pos_encoding": True}


def _start(recipe: Recipe, statistics: tuple[tuple[float, ...], tuple[float, ...]] = (MEAN, STD)) -> nn.Module:
    if recipe.architecture in VITS:
        size = {"image_size": recipe.image_size, "patch_size": recipe.patch_size}
        return ViTForImageClassification(ViTConfig(**VITS[recipe.architecture], **size, **_labels(recipe)))
    config = TimmWrapperConfig(
        architecture=recipe.architecture,
        pretrained_cfg=_preprocessing(recipe.architecture, recipe.image_size, len(recipe.labels), *statistics),
        model_args={},
        **_labels(recipe),
    )
    try:
        network = TimmWrapperForImageClassification(config)
    except (ImportError, RuntimeError) as error:  # transformers' way to say that timm does not know the name
        raise RecipeError(
            f"architecture={recipe.architecture}: timm has no such network, and it is none of {', '.join(VITS)}."
        ) from error
    _resize(network, recipe)
    return network


def _resize(network: nn.Module, recipe: Recipe) -> None:
    try:
        TimmAdapter(network).resize(recipe.image_size)
    except (AssertionError, RuntimeError, ValueError) as error:  # such as a size that its patches do not fill
        reason = str(error).splitlines()[0]
        raise RecipeError(f"{recipe.architecture} takes no pictures of {recipe.image_size} pixels: {reason}") from error


def build_teacher(recipe: Recipe) -> nn.Module | None:
    """The network that the recipe's own learns from, if it has one; its parameters stay as they are. Raises RecipeError."""
    if recipe.teacher is None:
        return None
    network, lacking = _load("teacher", recipe.teacher)
    _check_whole("teacher", recipe.teacher, lacking)
    config = network.config
    size = adapter(network).input_size
    if list(config.id2label.values()) != list(recipe.labels) or size != recipe.image_size:
        raise RecipeError(
            f"teacher={recipe.teacher} takes {size} pixels and names {', '.join(config.id2label.values())}; it is to take "
            f"{recipe.image_size} and name {', '.join(recipe.labels)}."
        )
    return network.eval().requires_grad_(False)


def check(network: nn.Module, teacher: nn.Module | None, recipe: Recipe) -> None:
    """Ask now what is otherwise asked after hours: answers at every size of the training, features, a head, one preprocessing.

    Raises RecipeError.
    """
    ours = adapter(network)
    if not isinstance(ours.head, nn.Linear | nn.Conv2d):
        raise RecipeError(f"{recipe.architecture} has no single linear layer as its head; such a network cannot be calibrated.")
    if teacher is not None and adapter(teacher).statistics != ours.statistics:
        raise RecipeError(f"teacher={recipe.teacher} normalises its pictures by {adapter(teacher).statistics}, not as ours.")
    network.eval()
    for size in sorted({recipe.size_at(epoch) for epoch in range(recipe.epochs)}):
        _ask(lambda images: network(pixel_values=images).logits, size, f"takes no pictures of {size} pixels", recipe)
    _ask(ours.features, recipe.image_size, "gives no features, by which unfamiliar pictures are told", recipe)


@torch.no_grad()
def _ask(function, size: int, refusal: str, recipe: Recipe) -> None:
    try:
        answer = function(torch.zeros(1, 3, size, size))
    except Exception as error:  # whatever a network of timm raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecipeError(f"{recipe.architecture} {refusal}: {reason}") from error
    if answer.ndim != 2:
        raise RecipeError(f"{recipe.architecture} {refusal}: it answers in the shape {tuple(answer.shape)}.")


def _load(key: str, place: str, **options: object) -> tuple[nn.Module, set[str]]:
    """(a network, the names of its weights that the place lacks in their shape: they are random)."""
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
    options = _labels(recipe) | {"ignore_mismatched_sizes": True}
    network, lacking = _load("pretrained", recipe.pretrained, **options)
    if any(name.endswith(POSITIONS) for name in lacking):  # a file of timm's may have other positions than its configuration
        network, lacking = _load("pretrained", recipe.pretrained, **options, model_args={"img_size": recipe.image_size})
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
    new = set(adapter(network).head.parameters())  # the head of another task is left behind
    heads = {name for name, parameter in network.named_parameters() if parameter in new}
    _check_whole("pretrained", recipe.pretrained, lacking - heads)
    if recipe.architecture not in VITS:
        _resize(network, recipe)
    return network


def _from_package(recipe: Recipe) -> nn.Module:
    package = PACKAGES[recipe.pretrained]
    if recipe.architecture != package.architecture:
        raise RecipeError(f"pretrained={recipe.pretrained} is a {package.architecture}, not a {recipe.architecture}.")
    network = _start(recipe, package.statistics)
    load_into(network.timm_model, recipe.pretrained)
    return network


def _labels(recipe: Recipe) -> dict:
    id2label = dict(enumerate(recipe.labels))
    return {"num_labels": len(id2label), "id2label": id2label, "label2id": {label: index for index, label in id2label.items()}}


def _preprocessing(architecture: str, size: int, labels: int, mean: tuple = MEAN, std: tuple = STD) -> dict:
    """timm's pretrained_cfg: a plain resize to a square, then the normalisation."""
    return {
        "architecture": architecture,
        "input_size": [3, size, size],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": list(mean),
        "std": list(std),
        "num_classes": labels,
    }


def _add_stochastic_depth(network: nn.Module, most: float) -> None:
    """Drop a block's contribution for some pictures of a batch, later blocks more often (Huang et al. 2016)."""
    blocks = ViTAdapter(network).blocks
    for depth, block in enumerate(blocks):

        def drop(module: nn.Module, inputs: tuple, output: Tensor, p: float = most * depth / (len(blocks) - 1)) -> Tensor:
            return inputs[0] + stochastic_depth(output - inputs[0], p, "row") if module.training else output

        block.register_forward_hook(drop)


def average(folders: Sequence[Path]) -> nn.Module:
    """A network whose weights are the mean of those in model folders of one architecture. Raises RecipeError."""
    networks = [_load("model", str(folder))[0] for folder in folders]
    states = [network.state_dict() for network in networks]
    mean = {name: sum(state[name] for state in states) / len(states) for name in states[0]}
    networks[0].load_state_dict(mean)  # a count of batches becomes a whole number again
    return networks[0].eval()


def set_temperature(folder: Path, temperature: float) -> None:
    """Divide the logits of a model folder, as training left them, by a temperature: in the weights of its head.

    The file of the weights says by how much they are divided, so that a second call does not divide twice. Raises RecipeError.
    """
    file, partial = folder / "model.safetensors", folder / "model.partial"
    with safe_open(file, "pt") as opened:
        before = float((opened.metadata() or {}).get("temperature", 1))
    if temperature == before:
        return
    network, _ = _load("model", str(folder))
    head = set(adapter(network).head.parameters())
    names = {name.removeprefix("timm_model.") for name, parameter in network.named_parameters() if parameter in head}
    tensors = load_file(file)
    for name in names:
        tensors[name] = (tensors[name].float() * before / temperature).to(tensors[name].dtype)
    save_file(tensors, partial, {"format": "pt", "temperature": repr(temperature)})
    os.replace(partial, file)


def export(network: nn.Module, folder: Path) -> None:
    """Write the model folder: float16 safetensors, configuration and preprocessing."""
    adapter(network).save(folder)
    _edit_config(folder, _for_transformers)


def _for_transformers(config: dict) -> None:
    config.get("model_args", {}).pop("num_classes", None)  # timm passes it twice otherwise, and fails
    config["dtype"] = "float32"  # transformers computes in this, whatever the weights are stored in


def _edit_config(folder: Path, edit: Callable[[dict], object]) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    edit(config)
    file.write_text(json.dumps(config, indent=2) + "\n")
