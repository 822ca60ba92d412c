"""Any network of timm's: its folder classifies, is exported, and has a heatmap, or says in one sentence that it has none."""

import json

import numpy as np
import pytest
import timm
import torch

from cells.classes import LABELS
from cells.model.classifier import Classifier
from cells.model.export import export
from cells.model.folder import ModelError
from cells.model.layers import TimmLayers
from cells.model.saliency import heatmap
from cells.synthetic import draw_cell

CELL = draw_cell("neutrophil").convert("RGB")


def write(folder, architecture: str, size: int = 64, **options):
    """A model folder of a timm network with random weights."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=len(LABELS), **options)
    network.pretrained_cfg = {
        **{"architecture": architecture, "input_size": [3, size, size], "interpolation": "bilinear", "crop_pct": 1.0},
        **{"crop_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": len(LABELS)},
    }
    folder.mkdir()
    timm.models.save_for_hf(network, folder, model_config={"label_names": list(LABELS)}, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    config["model_args"].pop("num_classes", None)
    config["model_args"] |= options
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite0", "convnext_atto"])
def test_it_classifies_is_exported_and_has_a_heatmap(architecture, tmp_path):
    folder = write(tmp_path / "net", architecture)
    by_torch = Classifier.load(folder)
    grids = np.stack([heatmap(by_torch, CELL, label) for label in LABELS])
    assert grids.shape == (len(LABELS), 2, 2)
    assert grids.any()
    export(folder)
    exported = Classifier.load(folder)
    assert (by_torch.backend.name, exported.backend.name) == ("torch", "fp32")
    for ours, theirs in zip(exported.measure([CELL] * 3), by_torch.measure([CELL] * 3), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_array_equal(heatmap(exported, CELL, "ig"), heatmap(by_torch, CELL, "ig"))


@pytest.mark.parametrize(
    ("architecture", "options", "side"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64}, 4),
        ("swin_tiny_patch4_window7_224", {"img_size": 64}, 2),  # keeps the channels last
        ("mobilenetv3_small_050", {}, 2),
    ],
)
def test_the_heatmap_is_the_grid_of_the_last_layer_with_places(architecture, options, side, tmp_path):
    classifier = Classifier.load(write(tmp_path / "net", architecture, **options))
    grids = np.stack([heatmap(classifier, CELL, label) for label in LABELS])
    assert grids.shape == (len(LABELS), side, side)
    assert grids.any()


def test_a_network_whose_last_layer_is_not_known_has_no_heatmap_and_says_so(tmp_path, monkeypatch):
    classifier = Classifier.load(write(tmp_path / "net", "convnext_atto"))
    net = classifier.network.timm_model
    for info in ([], [{"num_chs": 320}], [{"num_chs": 320, "module": "nowhere"}], [{"num_chs": 7, "module": "stages.3"}]):
        monkeypatch.setattr(net, "feature_info", info)
        with pytest.raises(ModelError, match=r"\(convnext_atto\).*no heatmap") as caught:
            heatmap(classifier, CELL, "ig")
        assert caught.value.code == "no_saliency"
    assert next(classifier.predict(CELL)).label in LABELS


def test_a_network_without_hidden_states_is_refused_in_one_sentence(tmp_path, monkeypatch):
    folder = write(tmp_path / "net", "convnext_atto")
    monkeypatch.delattr(timm.models.ConvNeXt, "forward_intermediates")
    with pytest.raises(ModelError, match=r"cannot be loaded: its network \(convnext_atto\) gives no features"):
        Classifier.load(folder)


def test_two_tokens_beside_a_square_are_no_grid(tmp_path):
    layers = TimmLayers(Classifier.load(write(tmp_path / "net", "vit_tiny_patch16_224", img_size=64)).network)
    assert layers.grid(torch.zeros(17, 192)).shape == (192, 4, 4)
    with pytest.raises(ModelError, match="no heatmap"):
        layers.grid(torch.zeros(19, 192))
