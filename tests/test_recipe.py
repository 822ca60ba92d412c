"""Recipes: known keys, typed values, sizes that grow."""

import pytest

from train import recipe
from train.recipe import RecipeError


def test_every_recipe_loads_under_its_own_name():
    assert {"resnet18", "resnet18_scratch"} <= set(recipe.names())
    for name in recipe.names():
        assert recipe.load(name).name == name


def test_overrides_are_typed():
    base = recipe.load("resnet18_scratch")
    changed = base.override(["epochs=5", "lr=1", "optimizer=adamw", "pretrained=some/model", "growth=((0.5, 0.5),)"])
    assert (changed.epochs, changed.lr, changed.optimizer) == (5, 1, "adamw")
    assert (changed.pretrained, changed.growth) == ("some/model", ((0.5, 0.5),))
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
        ("average_decay=2", "from 0 to less than 1"),
    ],
)
def test_a_wrong_override_says_what_would_be_right(text, words):
    with pytest.raises(RecipeError, match=words):
        recipe.load("resnet18_scratch").override([text])


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(RecipeError, match="resnet18_scratch"):
        recipe.load("resnet999")


def test_pictures_grow_to_the_full_size():
    growing = recipe.load("resnet18_scratch").override(["epochs=10", "image_size=128", "growth=((0.5, 0.5), (0.8, 0.75))"])
    assert [growing.size_at(epoch) for epoch in range(10)] == [64] * 5 + [96] * 3 + [128] * 2
    assert growing.override(["epochs=1"]).size_at(0) == 128  # what is kept was trained at the full size
