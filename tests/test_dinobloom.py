"""The recipes of the foundation model DinoBloom-S, with random weights on a Hub of this machine."""

import json
import subprocess
import sys

import pytest
import timm
import torch
from conftest import ROOT
from safetensors.torch import load_file, save

from cells.model.classifier import Classifier
from train import recipe

# Training as the command runs it, but for figures and ONNX files.
SCRIPT = """
import sys
sys.path[:0] = ["tests"]
from test_checkpoint import backend, figures, program, skip_export, skip_figures
figures.draw_all, backend.choose = skip_figures, skip_export
sys.exit(program.main(sys.argv[1:]))
"""
SIDE = 56  # pixels: 16 patches, in place of 256
# The published folder names 518 pixels, and its weights have the positions of another size.
CONFIG = {
    "architecture": "vit_small_patch14_dinov2",
    "num_classes": 0,
    "global_pool": "token",
    "pretrained_cfg": {
        **{"input_size": [3, 518, 518], "fixed_input_size": True, "interpolation": "bicubic", "crop_pct": 1.0},
        **{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 0, "classifier": "head"},
    },
}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model(CONFIG["architecture"], img_size=SIDE, num_classes=0).state_dict()


def test_frozen_features_get_a_linear_head_and_stay_as_they_are(hub, hub_environment, weights, parquet, tmp_path):
    chosen = recipe.load("dinobloom_small_frozen")
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(weights, {"format": "pt"})}
    hub.add("model", chosen.pretrained, files)
    values = ["gpu=False", f"image_size={SIDE}", "epochs=1", "freeze_epochs=1", "batch_size=32"]
    command = [sys.executable, "-c", SCRIPT, chosen.name, *values, "--data", parquet, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=hub_environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    torch.testing.assert_close(
        {name: trained[name] for name in weights}, {name: value.half() for name, value in weights.items()}
    )
    assert trained["head.weight"].shape == (8, 384)
    model = Classifier.load(tmp_path / "run" / "model")
    summary = json.loads((model.folder / "metrics.json").read_text())
    assert summary["pretrained"] == chosen.pretrained
    assert " gpu=False" in summary["command"]  # it runs again on a machine of this kind
    assert not summary["batch_norm_recomputed"]  # a ViT has none


def test_the_fine_tuned_recipe_starts_from_the_same_weights():
    frozen, tuned = recipe.load("dinobloom_small_frozen"), recipe.load("dinobloom_small")
    assert (tuned.pretrained, tuned.architecture) == (frozen.pretrained, frozen.architecture)
    assert (frozen.freeze_epochs, tuned.freeze_epochs < tuned.epochs) == (frozen.epochs, True)
