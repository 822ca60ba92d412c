"""Networks of either library: every parameter learns, the published grouping stays, a recipe is all that a new one takes."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from cells.synthetic import draw_cell
from train import recipe
from train.network import adapter, build, check, export
from train.optim import build_optimizer
from train.recipe import Recipe, RecipeError
from train.transforms import MEAN, normalise

TIMMS = ["tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224", "resnet18", "mobilenetv3_small_050"]
TIMMS += ["xcit_nano_12_p16_224"]  # built for a size, and takes any


def of_timm(architecture: str, *overrides: str) -> Recipe:
    return recipe.load("resnet18_scratch").override(
        [f"architecture={architecture}", "image_size=64", "progressive_resizing=()", *overrides]
    )


@pytest.mark.parametrize("name", [*TIMMS, "vit_tiny"])
def test_every_parameter_is_in_one_group_of_the_optimizer(name):
    """cls_token and pos_embed of timm's ViTs among them."""
    chosen = of_timm(name, "lr_first=1e-4", "lr=1e-2")
    network = build(chosen)
    optimizer = build_optimizer(network, chosen)
    counts = Counter(parameter for group in optimizer.param_groups for parameter in group["params"])
    assert counts == Counter(network.parameters())
    peaks = {parameter: group["peak"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {peaks[parameter] for parameter in adapter(network).head.parameters()} == {max(peaks.values())}
    assert len(set(peaks.values())) >= 7


def test_a_parameter_in_no_group_is_an_error(monkeypatch):
    chosen = of_timm("resnet18")
    network = build(chosen)
    network.timm_model.extra = nn.Parameter(torch.zeros(1))
    build_optimizer(network, chosen)  # one beside the layers is found
    kind = type(adapter(network))
    monkeypatch.setattr(kind, "layers", property(lambda self: [list(self.network.timm_model.fc.parameters())]))
    with pytest.raises(AssertionError, match=r"timm_model\.extra"):
        build_optimizer(network, chosen)


def test_a_resnets_groups_are_those_of_the_published_runs():
    """The optimizer's state in their checkpoints, and the rates of their layers, follow this order."""
    chosen = recipe.load("resnet18").override(["pretrained=None"])
    network = build(chosen)
    names = {parameter: name.removeprefix("timm_model.") for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, chosen).param_groups
    parts = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert len(groups) == 2 * len(parts)
    for depth, part in enumerate(parts):
        matrices, others = ([names[parameter] for parameter in group["params"]] for group in groups[2 * depth : 2 * depth + 2])
        own = [name for name in names.values() if name.split(".")[0] == part]
        is_matrix = {name: parameter.ndim in (2, 4) for parameter, name in names.items()}
        assert matrices == [name for name in own if is_matrix[name]]
        assert others == [name for name in own if not is_matrix[name]]
        peak = 1e-5 * 30 ** (depth / 6)
        assert [group["peak"] for group in groups[2 * depth : 2 * depth + 2]] == pytest.approx([peak, peak])
        assert [group["weight_decay"] for group in groups[2 * depth : 2 * depth + 2]] == [0.01, 0.0]


@pytest.mark.parametrize("name", TIMMS)
def test_a_folder_of_any_network_loads_in_transformers_and_answers_alike(name, tmp_path):
    chosen = of_timm(name)
    torch.manual_seed(0)
    network = build(chosen)
    check(network, None, chosen)
    network.half().float()  # what the folder stores
    export(network, tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert list(loaded.config.id2label.values()) == list(chosen.labels)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        ours, other = (one.eval()(pixel_values=pixels).logits for one in (network, loaded))
        features = adapter(loaded).features(pixels)
    torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-3)
    assert features.isfinite().all()
    assert adapter(loaded).input_size == 64


@pytest.fixture(scope="module")
def lite0(tmp_path_factory) -> Path:
    """A folder as the Hub has it: another normalisation than ours, a head for other things."""
    folder = tmp_path_factory.mktemp("pretrained") / "lite0"
    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model("tf_efficientnet_lite0", num_classes=10), folder, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    config.get("model_args", {}).pop("num_classes", None)
    (folder / "config.json").write_text(json.dumps(config))
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    return folder


def test_pretrained_weights_keep_their_normalisation(lite0, tmp_path):
    chosen = recipe.load("efficientnet_lite0").override([f"pretrained={lite0}", "image_size=64", "progressive_resizing=()"])
    network = build(chosen)
    statistics = adapter(network).statistics
    assert statistics == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    export(network, tmp_path)
    image = draw_cell("monocyte").convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    ours = normalise(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255, *statistics)
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    torch.testing.assert_close(
        processor(image, return_tensors="pt")["pixel_values"], ours, atol=1e-5, rtol=0, check_stride=False
    )
    assert adapter(build(of_timm("tf_efficientnet_lite0"))).statistics[0] == MEAN  # from nothing


def test_a_teacher_of_another_normalisation_is_refused(lite0):
    chosen = of_timm("resnet18")
    other = build(of_timm("tf_efficientnet_lite0", f"pretrained={lite0}"))
    with pytest.raises(RecipeError, match="normalises its pictures by"):
        check(build(chosen), other, chosen)


def test_what_cannot_be_trained_to_its_end_is_refused_before_training():
    growing = of_timm("vit_tiny_patch16_224", "progressive_resizing=((0.5, 0.5),)")
    with pytest.raises(RecipeError, match="takes no pictures of 32 pixels") as caught:
        check(build(growing), None, growing)
    assert "\n" not in str(caught.value)
    chosen = of_timm("resnet18")
    network = build(chosen)
    network.timm_model.forward_intermediates = None
    with pytest.raises(RecipeError, match="gives no features"):
        check(network, None, chosen)
