"""A recipe is a handful of numbers, each with its reason beside it in train/recipes/; this is what they may be."""

import dataclasses
import importlib
import json
import math
import pkgutil
from ast import literal_eval
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from cells.classes import LABELS, SUBTYPE_LABELS
from train import recipes

WORDS = ("name", "about", "expected")  # they decide nothing
DOMAIN_RANDOMISATION = "domain_randomisation"
OLD_KEYS = {"growth": "progressive_resizing"}  # how earlier versions spelled a key

# The sizes of Dosovitskiy et al. 2021 (tiny and small: Touvron et al. 2021). Every other architecture is timm's.
VITS = {
    "vit_tiny": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_hidden_layers": 12},
    "vit_small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_hidden_layers": 12},
    "vit_base": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_hidden_layers": 12},
    "vit_large": {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24},
}


class RecipeError(Exception):
    """An unknown recipe, key or value. Its text is one line for the user."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training run, apart from the data and the machine."""

    name: str
    about: str
    expected: str  # what it scored on test, or what its source says that it scored
    architecture: str  # one of VITS (transformers'), or a name of timm's
    patch_size: int = 16  # pixels; of a ViT
    pretrained: str | None = None  # a Hub id or folder to start from; None: from nothing
    gpu: bool = False  # whether to refuse a machine without one, on which it would take days
    num_classes: Literal[8, 13] = 8  # cell types, or their subtypes
    classes: tuple[str, ...] = ()  # any other types and subtypes, in the order of the outputs; (): what num_classes says
    sources: tuple[tuple[str, float], ...] = (("pbc", 1.0),)  # (laboratory, its share of every batch); see train/sources
    balance: float = 1.0  # a class is drawn by its number to this power: 1: pictures as they are, 0: every class alike
    image_size: int = 224  # pixels; validation, test and the model folder use it
    # (until this share of the epochs, train at this share of image_size)
    progressive_resizing: tuple[tuple[float, float], ...] = ()
    epochs: int
    freeze_epochs: int = 0  # of these, the first ones train the new head alone (gradual unfreezing); all: frozen features
    batch_size: int = 64  # of all processes together
    gradient_accumulation_steps: int = 1  # parts of a batch, computed one after another to need less memory
    optimizer: Literal["sgd", "adamw", "muon"] = "adamw"
    lr: float  # the peak of the one-cycle schedule, for the head
    lr_first: float | None = None  # the same for the first layers; between them it grows geometrically. None: lr
    lr_head_alone: float = 3e-3  # the peak while the head is trained alone
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0  # the largest norm of the gradient; 0: any
    warmup: float = 0.25  # the share of a cycle in which the rate rises
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution of MixUp's weights (Zhang et al. 2018); 0: none
    batch_norm: Literal["learnt", "kept"] = "learnt"  # its statistics; kept: those of the pretrained network
    drop_path: float = 0.0  # stochastic depth of a ViT: the share of pictures for which the last block is left out
    teacher: str | None = None  # a model folder whose answers are learnt along with the labels (distillation)
    augmentation: Literal["thesis", "domain_randomisation"] = "thesis"  # train/transforms.py; train/domain_randomisation.py
    lighting: float = 0.2  # of the thesis's augmentation, see transforms.augment
    ema_decay: float = 0.0  # of the moving average of the weights that is validated and kept; 0: none
    seed: int = 42

    def __post_init__(self) -> None:
        vit = self.architecture in VITS
        rates = (self.lr, self.lr_head_alone, self.lr if self.lr_first is None else self.lr_first)
        for right, words in (
            (self.epochs >= 1, "epochs is to be 1 or more"),
            (0 <= self.freeze_epochs <= self.epochs, "freeze_epochs is to be from 0 to epochs"),
            (self.batch_size >= 2, "batch_size is to be 2 or more"),
            (
                1 <= self.gradient_accumulation_steps <= self.batch_size,
                "gradient_accumulation_steps is to be from 1 to batch_size",
            ),
            (self.image_size >= 32, "image_size is to be 32 or more"),
            (
                self.augmentation == "thesis" or self.image_size % 8 == 0,
                f"image_size is to be a multiple of 8 with {DOMAIN_RANDOMISATION}",  # JPEG's blocks
            ),
            (self.patch_size >= 4, "patch_size is to be 4 or more"),
            (not vit or self.image_size % self.patch_size == 0, "image_size is to be a multiple of patch_size"),
            (vit or not self.drop_path, f"drop_path is for {', '.join(VITS)}"),
            (
                all(0 < until <= 1 and 0 < share <= 1 for until, share in self.progressive_resizing),
                "progressive_resizing is to be of shares up to 1",
            ),
            (len(self.classes) != 1 and len(set(self.classes)) == len(self.classes), "classes is to be of two names or more"),
            (0 < len(self.sources) == len({name for name, _ in self.sources}), "sources is to name each laboratory once"),
            (len(self.sources) <= self.batch_size, "sources is to name no more laboratories than batch_size"),
            (all(0 < share <= 1 for _, share in self.sources), "sources is to be of shares above 0 and up to 1"),
            (math.isclose(sum(share for _, share in self.sources), 1, abs_tol=1e-6), "the shares of sources are to sum to 1"),
            (0 <= self.balance <= 1, "balance is to be from 0 to 1"),
            (0 <= self.seed < 2**32, "seed is to be from 0 to 4294967295"),
            (all(rate > 0 and math.isfinite(rate) for rate in rates), "learning rates are to be above 0"),
            (self.batch_norm == "learnt" or self.pretrained is not None, "batch_norm=kept is for a pretrained network"),
            (0 < self.warmup < 1, "warmup is to be between 0 and 1"),
            (0 <= self.label_smoothing < 1, "label_smoothing is to be from 0 to less than 1"),
            (0 <= self.ema_decay < 1, "ema_decay is to be from 0 to less than 1"),
            (0 <= self.lighting < 1, "lighting is to be from 0 to less than 1"),
            (0 <= self.drop_path < 1, "drop_path is to be from 0 to less than 1"),
            (
                min(self.weight_decay, self.max_grad_norm, self.mixup) >= 0,
                "weight_decay, max_grad_norm and mixup are to be 0 or more",
            ),
        ):
            if not right:
                raise RecipeError(f"{self.name}: {words}.")

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the network's outputs."""
        return self.classes or (LABELS if self.num_classes == len(LABELS) else SUBTYPE_LABELS)

    @property
    def recomputes_batch_norm(self) -> bool:
        """Whether the statistics of kept weights are those of clean pictures (see finalize), not of augmented ones.

        Clean pictures are not what a domain-randomised network is for: their statistics make it worse everywhere.
        """
        return self.augmentation == "thesis" and self.batch_norm == "learnt"

    @property
    def needs(self) -> str:
        """What a machine must have, in words."""
        wanted = ["a GPU"] * self.gpu
        if self.pretrained is not None:  # Hub ids have an owner, packages have none
            wanted.append(f"the Hub, for {self.pretrained}" if "/" in self.pretrained else f"the package {self.pretrained}")
        return " and ".join(wanted) or "nothing but the data"

    def size_at(self, epoch: int) -> int:
        """The side in pixels of the training pictures in an epoch: a multiple of 32, the networks' stride.

        The last epoch is always at image_size, since only such epochs are kept.
        """
        for until, share in self.progressive_resizing:
            if epoch < min(round(until * self.epochs), self.epochs - 1):
                return max(32, round(self.image_size * share / 32) * 32)
        return self.image_size

    def override(self, assignments: list[str]) -> "Recipe":
        """Return a copy with `key=value` texts applied. Raises RecipeError."""
        return dataclasses.replace(self, **dict(_parse(text) for text in assignments))

    def differences(self, other: dict) -> dict[str, object]:
        """What decides a run and is not the same in another recipe's JSON: key -> our value. Words about it do not count."""
        other = {OLD_KEYS.get(key, key): value for key, value in other.items()}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}  # a run may be older than a key
        ours, defaults = (json.loads(json.dumps(values)) for values in (dataclasses.asdict(self), _plain(defaults)))
        deciding = [key for key in ours if key not in (*WORDS, "gpu")]  # nor does the machine that is asked for
        return {key: getattr(self, key) for key in deciding if other.get(key, defaults.get(key)) != ours[key]}

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def _plain(defaults: dict) -> dict:
    """Without the keys that have no default."""
    return {key: value for key, value in defaults.items() if value is not dataclasses.MISSING}


def names() -> list[str]:
    """Every recipe there is: the modules of train/recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__))


def load(name: str) -> Recipe:
    """The recipe of that name. Raises RecipeError."""
    if name not in names():
        raise RecipeError(f"there is no recipe {name!r}; there are {', '.join(names())}.")
    return importlib.import_module(f"train.recipes.{name}").RECIPE


def _parse(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    key = OLD_KEYS.get(key, key)
    types = {key: kind for key, kind in get_type_hints(Recipe).items() if key not in WORDS}
    if not equals:
        raise RecipeError(f"{text!r} is not an override; write key=value, for example epochs=5.")
    if key not in types:
        raise RecipeError(f"a recipe has no {key!r}; it has {', '.join(types)}.")
    try:
        parsed = literal_eval(value)
    except (ValueError, SyntaxError):
        parsed = value  # a bare word
    if not _fits(parsed, types[key]):
        raise RecipeError(f"{key}={value}: it is to be {_spell(types[key])}.")
    return key, parsed


def _fits(value: object, kind: object) -> bool:
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        inner = inner[:1] * len(value) if isinstance(value, tuple) and inner[-1] is Ellipsis else inner
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if get_origin(kind) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if get_args(kind):  # a union
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is kind


def _spell(kind: object) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    return words.get(kind, str(kind).replace("NoneType", "None"))
