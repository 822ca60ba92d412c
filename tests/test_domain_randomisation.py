"""Domain randomisation: pictures change as far as they may, and are the same whenever they are drawn."""

import numpy as np
import pytest
import torch

from cells.synthetic import draw_cell
from train import domain_randomisation, recipe
from train.batches import Batches, Pictures
from train.domain_randomisation import Draw, randomise


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """uint8 (24, 3, 64, 64)."""
    images = [np.array(draw_cell("neutrophil", seed).convert("RGB").resize((64, 64))) for seed in range(24)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pictures_are_the_same_whenever_they_are_drawn(pixels):
    first, again, other = (randomise(pixels, 48, generator(seed)) for seed in (1, 1, 2))
    assert first.shape == (24, 3, 48, 48)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(first).all()
    assert 0 <= first.min() < first.max() <= 1


def test_a_third_of_a_batch_stays_like_the_pictures(pixels):
    """Colours: the mean of a mild picture moves less than that of a strong one."""
    before = pixels.float().mean((2, 3)) / 255
    moved = torch.stack([(randomise(pixels, 64, generator(seed)).mean((2, 3)) - before).abs().mean(1) for seed in range(20)])
    strong = torch.stack([Draw(24, generator(seed), pixels.device).strong for seed in range(20)])
    assert (~strong).float().mean().item() == pytest.approx(1 / 3)
    assert moved[~strong].mean() < 0.5 * moved[strong].mean()


def test_a_batch_of_one_and_a_grey_picture_are_drawn():
    for seed in range(20):  # some draw none of a kind of change
        images = randomise(torch.full((1, 3, 32, 32), 128, dtype=torch.uint8), 32, generator(seed))
        assert torch.isfinite(images).all()


@pytest.mark.parametrize("name", ["style", "stain", "colour", "light", "haze", "blur", "sharpen", "noise", "jpeg"])
def test_each_change_changes_and_keeps_the_range(pixels, name):
    images = pixels.float() / 255
    draw = Draw(24, generator(), pixels.device)
    changed = getattr(domain_randomisation, name)(images.clone(), draw)
    assert changed.shape == images.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert (changed != images).flatten(1).any(1).sum() >= 3


def test_jpeg_at_fine_steps_is_nearly_the_picture(pixels):
    images = pixels.float() / 255
    changed = domain_randomisation.jpeg(images.clone(), Draw(24, generator(), pixels.device))
    assert (changed - images).abs().mean() < 0.02


def test_smaller_pictures_are_drawn_from_the_whole_ones(pixels):
    chosen = recipe.load("efficientnet_lite0").override(["sources=(('pbc', 1.0),)", "batch_size=8"])
    batches = Batches.of({"pbc": Pictures(pixels, torch.arange(24) % 10)}, chosen).resized(32)
    images, targets = batches.at(0)
    assert images.shape == (8, 3, 32, 32)
    assert targets.shape == (8,)
    assert batches.pictures.images.shape[-1] == 64  # zooming in shows what they show
    assert torch.equal(images, Batches.of({"pbc": batches.pictures}, chosen).resized(32).at(0)[0])
