"""The heatmap: its grid, its range, and that it stands where the evidence is, on networks built so that it is known."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from cells.classes import LABELS, SUBTYPE_LABELS
from cells.model.classifier import Classifier
from cells.model.saliency import heatmap, overlay
from cells.synthetic import draw_cell
from train import recipe
from train.network import adapter, build, export

CELL = draw_cell("neutrophil")
FOR, AGAINST, SILENT = "ig", "monocyte", "platelet"  # what a bright part says for, against and nothing of


def load(folder, network, its_recipe: recipe.Recipe) -> Classifier:
    """Through a model folder, as every network."""
    export(network, folder)
    return Classifier.load(folder)


def recipe_of(kind: str, *changes: str) -> recipe.Recipe:
    """A network whose grid is 4 x 4."""
    name, size = {"resnet": ("resnet18_scratch", []), "vit": ("vit_tiny_scratch", ["patch_size=32"])}[kind]
    return recipe.load(name).override(["image_size=128", "growth=()", *size, *changes])


@pytest.fixture(scope="module", params=["resnet", "vit"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def any_classifier(kind, tmp_path_factory) -> Classifier:
    """With random weights."""
    torch.manual_seed(0)
    its_recipe = recipe_of(kind)
    return load(tmp_path_factory.mktemp(kind) / "random", build(its_recipe), its_recipe)


@pytest.fixture(scope="module")
def brightness(kind, tmp_path_factory) -> Classifier:
    """Its first channel carries how bright a place is, all others nothing; that channel alone reaches the head."""
    its_recipe = recipe_of(kind)
    network = build(its_recipe)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.ndim != 1 or name.endswith("bias"):  # those left are the norms' ones
                weights.zero_()
        (_see_with_a_vit if kind == "vit" else _see_with_a_resnet)(network)
        head = adapter(network).head.weight
        head[LABELS.index(FOR), 0], head[LABELS.index(AGAINST), 0] = 1, -1
    return load(tmp_path_factory.mktemp(kind) / "brightness", network, its_recipe)


def _see_with_a_resnet(network) -> None:
    net = network.timm_model
    net.conv1.weight[0, :, 3, 3] = 1 / 3  # the place itself; the blocks add nothing, their shortcuts hand it on
    for stage in (net.layer2, net.layer3, net.layer4):
        stage[0].downsample[0].weight[0, 0] = 1


def _see_with_a_vit(network) -> None:
    patches = network.vit.embeddings.patch_embeddings.projection.weight
    patches[0] = 1 / patches[0].numel()
    network.vit.embeddings.cls_token[..., 1:3] = torch.tensor([1.0, -1.0])  # for the last norm to have something to measure by
    attention = adapter(network).blocks[-1].attention
    attention.v_proj.weight[0, 0] = attention.o_proj.weight[0, 0] = 1  # from all patches alike: the queries are zero


def bright_at(row: int, column: int) -> Image.Image:
    """Black, and white in one place of the 4 x 4; a bit up and to the left, where a ResNet's strides look."""
    image = Image.new("RGB", (128, 128))
    ImageDraw.Draw(image).rectangle((32 * column - 4, 32 * row - 4, 32 * column + 27, 32 * row + 27), "white")
    return image


def test_a_heatmap_is_the_networks_grid_from_0_to_1(any_classifier):
    grids = np.stack([heatmap(any_classifier, CELL, label) for label in LABELS])
    assert grids.shape == (len(LABELS), 4, 4)
    assert grids.min() >= 0
    most = grids.max((1, 2))
    assert (np.isclose(most, 1) | (most == 0)).all()  # the most is 1, unless nothing speaks for a class
    assert most.any()


def test_a_finer_network_has_a_finer_grid(tmp_path):
    for number, (kind, changes, side) in enumerate([("resnet", ["image_size=96"], 3), ("vit", ["patch_size=16"], 8)]):
        its_recipe = recipe_of(kind, *changes)
        classifier = load(tmp_path / str(number), build(its_recipe), its_recipe)
        assert heatmap(classifier, CELL, "ig").shape == (side, side)


@pytest.mark.parametrize("corner", [(0, 0), (0, 3), (3, 0), (3, 3), (1, 2)])
def test_the_evidence_is_where_the_network_found_it(brightness, corner):
    expected = np.zeros((4, 4))
    expected[corner] = 1
    np.testing.assert_allclose(heatmap(brightness, bright_at(*corner), FOR), expected, atol=1e-4)


def test_a_picture_of_another_shape_has_its_evidence_in_the_same_place(brightness):
    picture = bright_at(3, 0).resize((390, 260))
    assert np.unravel_index(heatmap(brightness, picture, FOR).argmax(), (4, 4)) == (3, 0)


def test_what_speaks_against_a_class_or_says_nothing_is_no_evidence(brightness):
    assert heatmap(brightness, bright_at(1, 2), AGAINST)[1, 2] == 0
    assert not heatmap(brightness, bright_at(1, 2), SILENT).any()


def test_the_built_network_sees_what_it_was_built_to_see(brightness):
    bright, dark = brightness.probabilities([Image.new("RGB", (128, 128), colour) for colour in ("white", "black")])
    assert bright[LABELS.index(FOR)] > bright[LABELS.index(SILENT)] > bright[LABELS.index(AGAINST)]
    assert bright[LABELS.index(FOR)] > dark[LABELS.index(FOR)]


def test_a_label_that_the_network_does_not_know_is_a_key_error(any_classifier):
    with pytest.raises(KeyError):
        heatmap(any_classifier, CELL, "SNE")


def test_a_network_of_subtypes_is_asked_for_a_subtype(tmp_path):
    its_recipe = recipe_of("resnet", "num_classes=13", "image_size=64")
    classifier = load(tmp_path / "subtypes", build(its_recipe), its_recipe)
    assert heatmap(classifier, CELL, SUBTYPE_LABELS[-1]).shape == (2, 2)


def test_a_heatmap_leaves_the_network_as_it_was(any_classifier):
    before = any_classifier.probabilities([CELL])
    heatmap(any_classifier, CELL, "ig")
    assert np.array_equal(any_classifier.probabilities([CELL]), before)
    assert all(weights.grad is None for weights in any_classifier.network.parameters())


def test_the_overlay_keeps_the_size_and_what_is_bright():
    seen = overlay(CELL, np.ones((4, 4), np.float32))
    assert (seen.size, seen.mode) == (CELL.size, "RGB")
    assert np.array_equal(np.asarray(seen), np.asarray(CELL))


def test_the_overlay_dims_what_is_no_evidence():
    grid = np.zeros((4, 4), np.float32)
    grid[:, :2] = 1  # the left half
    before, after = (np.asarray(image).astype(int) for image in (CELL, overlay(CELL, grid)))
    quarter = CELL.width // 4
    assert np.array_equal(after[:, : quarter // 2], before[:, : quarter // 2])
    assert after[:, -quarter:].mean() < before[:, -quarter:].mean() / 2
    dimmed = after[:, -quarter // 2 :]
    assert (dimmed.max(2) - dimmed.min(2)).max() <= 1  # without colour
