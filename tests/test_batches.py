"""Batches: what a step sees depends on the seed and the step alone; sources have their shares, classes their weight."""

from collections import Counter

import pytest
import torch

from train import recipe
from train.batches import Batches, Pictures, split_batch
from train.recipe import Recipe, RecipeError


def pictures(n: int, seed: int = 0) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return Pictures(images, torch.arange(n) % 8)


@pytest.fixture
def chosen() -> Recipe:
    return recipe.load("vit_tiny_scratch").override(["batch_size=32", "mixup=0.4"])


def test_one_source_is_drawn_as_in_the_published_runs(chosen):
    """Computed by the code that trained the embedded models: another order or augmentation would not repeat their results."""
    batches = Batches.of({"pbc": pictures(100)}, chosen)
    for step, rows, sum_of_images, target in (
        (0, [48, 58, 2, 46, 77, 13], 6519.704844, {0: 0.0996116, 6: 0.9003884}),
        (2, [6, 70, 50, 21, 22, 44], 4867.701988, {1: 0.5552796, 6: 0.4447204}),
        (4, [66, 45, 42, 88, 50, 0], 4772.199370, {2: 1.0}),  # of the second epoch
    ):
        assert batches.rows(step)[:6].tolist() == rows
        images, targets = batches.at(step)
        assert images.double().sum().item() == pytest.approx(sum_of_images, rel=1e-4)
        expected = torch.zeros(8)
        expected[list(target)] = torch.tensor(list(target.values()))
        torch.testing.assert_close(targets[0], expected, atol=1e-5, rtol=0)


def test_a_batch_is_the_same_whenever_it_is_drawn(chosen):
    shared = chosen.override(["sources=(('pbc', 0.75), ('jhu', 0.25))", "balance=0.4"])
    sources = {"pbc": pictures(100), "jhu": pictures(20, 1)}
    for one, own in ((chosen, {"pbc": sources["pbc"]}), (shared, sources)):
        in_order, later = Batches.of(own, one), Batches.of(own, one)
        drawn = [in_order.at(step) for step in range(8)]
        for step in (7, 0):
            images, targets = later.at(step)
            assert torch.equal(images, drawn[step][0])
            assert torch.equal(targets, drawn[step][1])
        assert not torch.equal(drawn[0][0], drawn[1][0])


def test_the_processes_share_a_batch(chosen):
    plain = chosen.override(["mixup=0.0"])
    whole, _ = Batches.of({"pbc": pictures(100)}, plain).at(5)
    parts = [Batches.of({"pbc": pictures(100)}, plain, process=number, processes=2).at(5)[0] for number in range(2)]
    torch.testing.assert_close(torch.stack(parts, 1).flatten(0, 1), whole)


def test_every_batch_has_the_share_of_each_source(chosen):
    shared = chosen.override(["sources=(('pbc', 0.6), ('jhu', 0.3), ('chula', 0.1))"])
    batches = Batches.of({"pbc": pictures(100), "jhu": pictures(50, 1), "chula": pictures(7, 2)}, shared)
    assert batches.steps == 100 // 19
    seen = Counter()
    for step in range(batches.steps):
        rows = batches.rows(step)
        assert [int((rows < 100).sum()), int(((rows >= 100) & (rows < 150)).sum()), int((rows >= 150).sum())] == [19, 10, 3]
        seen.update(rows.tolist())
        assert set((rows[::2] < 100).tolist()) == {True, False}  # each of two processes has pictures of both
    assert all(seen[row] <= 1 for row in range(150))  # a pass takes each picture once
    assert max(seen.values()) <= 3  # a small source is passed over more often


def test_shares_become_whole_pictures():
    assert split_batch(64, [1.0]) == (64,)
    assert split_batch(64, [0.6, 0.3, 0.1]) == (39, 19, 6)
    assert split_batch(4, [0.98, 0.01, 0.01]) == (2, 1, 1)


@pytest.mark.parametrize(("balance", "expected"), [("balance=1.0", 9.0), ("balance=0.5", 3.0), ("balance=0.0", 1.0)])
def test_classes_are_drawn_by_their_number_to_a_power(chosen, balance, expected):
    """One class has nine times as many pictures as the other."""
    images = pictures(1000).images
    uneven = Pictures(images, (torch.arange(1000) % 10 == 0).long())
    batches = Batches.of({"pbc": uneven}, chosen.override([balance]))
    drawn = Counter(uneven.labels[torch.cat([batches.rows(step) for step in range(300)])].tolist())
    assert drawn[0] / drawn[1] == pytest.approx(expected, rel=0.1)


def test_pictures_of_another_size_are_the_same_pictures(chosen):
    batches = Batches.of({"pbc": pictures(100)}, chosen)
    small = batches.resized(8)
    assert small.size == 8
    assert torch.equal(small.rows(3), batches.rows(3))


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ("(('pbc', 0.6), ('jhu', 0.6))", "sum to 1"),
        ("(('pbc', 0.5), ('pbc', 0.5))", "each laboratory once"),
        ("(('pbc', 1.0), ('jhu', 0.0))", "above 0"),
        ("()", "each laboratory once"),
    ],
)
def test_shares_that_cannot_be_say_what_would_be_right(chosen, sources, words):
    with pytest.raises(RecipeError, match=words):
        chosen.override([f"sources={sources}"])
