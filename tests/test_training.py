"""Training: networks from nothing and from pretrained folders, rates, steps, teachers, and the runs of ViTs and subtypes."""

import contextlib
import dataclasses
import io
import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import balanced_accuracy_score
from test_checkpoint import skip_figures
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
    pipeline,
)

from cells.__main__ import main as cells_main
from cells.classes import LABELS, SUBTYPE_LABELS, describe
from cells.model.classifier import Classifier
from cells.model.folder import CLASSES_FILE, read_classes
from cells.synthetic import draw_cell
from train import backend, checkpoint, figures, finalize, metrics, recipe
from train import run as runs
from train.__main__ import main
from train.batches import Batches, Pictures
from train.network import adapter, build_teacher, export
from train.network import build as build_network
from train.optim import build_optimizer, set_rates
from train.recipe import Recipe, RecipeError
from train.run import RunError, train
from train.step import distillation, train_step
from train.transforms import normalise

TINY = [
    "image_size=32",
    "progressive_resizing=()",
    "batch_size=32",
    "max_grad_norm=0.0",
    "label_smoothing=0.0",
    "ema_decay=0.0",
]


@pytest.fixture(scope="module")
def tiny_vit() -> Recipe:
    """ViT-Tiny from nothing at the smallest size: four patches."""
    return recipe.load("vit_tiny_scratch").override(TINY)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def pixels() -> Pictures:
    """16 drawn cells of 64 pixels, two of each type."""
    cells = [draw_cell(label, seed).resize((64, 64)) for seed in range(2) for label in LABELS]
    return Pictures(torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2).contiguous(), torch.arange(16) % 8)


def build(chosen: Recipe, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(chosen)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# Pretrained networks


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> dict[str, Path]:
    """Folders as the Hub has them: a ViT-Tiny with a head for 5 other things, and the body alone."""
    folder = tmp_path_factory.mktemp("pretrained")
    config = {**recipe.VITS["vit_tiny"], "image_size": 32, "patch_size": 16}
    torch.manual_seed(3)
    ViTForImageClassification(ViTConfig(**config, num_labels=5)).save_pretrained(folder / "classifier")
    ViTModel(ViTConfig(**config)).save_pretrained(folder / "body")
    return {path.name: path for path in folder.iterdir()}


def from_folder(folder: Path, *overrides: str) -> Recipe:
    values = ["architecture=vit_tiny", "image_size=32", "gpu=False", "epochs=1", "batch_size=56", f"pretrained={folder}"]
    return recipe.load("vit_base").override([*values, *overrides])


@pytest.mark.parametrize("kind", ["classifier", "body"])
def test_a_pretrained_vit_keeps_its_body_and_gets_our_head(pretrained, kind):
    theirs = AutoModelForImageClassification.from_pretrained(pretrained[kind], num_labels=8, ignore_mismatched_sizes=True)
    ours = build(from_folder(pretrained[kind]))
    for key, value in theirs.vit.state_dict().items():
        assert torch.equal(ours.vit.state_dict()[key], value), key
    assert ours.classifier.weight.shape == (8, 192)
    assert list(ours.config.id2label.values()) == list(LABELS)


@pytest.fixture(scope="module")
def fine_tuned(pretrained, parquet, tmp_path_factory) -> Path:
    """The run folder of two steps from a pretrained ViT."""
    run = tmp_path_factory.mktemp("fine_tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_all", skip_figures)
        patch.setattr(backend, "choose", lambda *arguments: backend.TORCH)  # an export takes longer than the training
        assert train(from_folder(pretrained["classifier"]), [parquet], None, run) == 0
    return run


def test_a_fine_tuned_vit_starts_from_the_body(fine_tuned, pretrained):
    """Two steps move it a little; a body that was lost would be another one."""
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrained["classifier"], fine_tuned / "model"))
    same = [key for key in before if key in after and before[key].ndim == 2 and "classifier" not in key]
    assert len(same) == 12 * 6
    for key in same:
        assert nn.functional.cosine_similarity(before[key].flatten(), after[key].float().flatten(), 0) > 0.99
    assert not all(torch.equal(before[key].half(), after[key]) for key in same)


def test_three_ways_to_load_a_vits_folder_agree(fine_tuned):
    folder = fine_tuned / "model"
    images = [draw_cell(label, 7).convert("RGB") for label in LABELS]
    ours = Classifier.load(folder).probabilities(images)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        auto = network(**processor(images, return_tensors="pt")).logits.softmax(1).numpy()
    rows = pipeline("image-classification", model=str(folder), device="cpu")(images, top_k=8)
    piped = [[{entry["label"]: entry["score"] for entry in row}[label] for label in LABELS] for row in rows]
    np.testing.assert_allclose(auto, ours, atol=1e-5)
    np.testing.assert_allclose(piped, ours, atol=1e-3)  # it resizes with torchvision, which rounds in another way than Pillow


def test_the_predictions_of_a_run_are_those_of_its_folder(fine_tuned, parquet, pbc_rows):
    table = pd.read_csv(fine_tuned / "predictions.csv")
    images = {name: picture["bytes"] for name, picture in zip(pbc_rows["image_id"], pbc_rows["image"], strict=True)}
    again = Classifier.load(fine_tuned / "model").predict([images[name] for name in table["image_id"]], table["image_id"])
    np.testing.assert_allclose(metrics.probabilities_of(table), [one.probabilities for one in again], atol=1e-5)


def spoilt(folder: Path, place: Path, how: str) -> Path:
    copy = Path(shutil.copytree(folder, place / how))
    file = copy / "model.safetensors"
    if how == "pickle":
        torch.save(load_file(file), copy / "pytorch_model.bin")
        file.unlink()
    elif how == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "layer":
        tensors = load_file(file)
        save_file({key: value for key, value in tensors.items() if ".3." not in key}, file, {"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("how", "override", "words"),
    [
        ("pickle", "seed=1", r"cannot be loaded: .*model\.safetensors"),
        ("cut", "seed=1", "cannot be loaded"),
        ("layer", "seed=1", r"lacks weights, vit\.layers\.3\."),
        ("whole", "patch_size=8", "is not a vit_tiny with patches of 8 in pictures of 32 pixels"),
        ("whole", "image_size=64", "in pictures of 64 pixels"),
        ("whole", "architecture=vit_small", "is not a vit_small"),
        ("whole", "architecture=resnet18", "is not a resnet18"),
    ],
)
def test_a_folder_that_is_not_the_network_is_one_line(pretrained, tmp_path, how, override, words):
    folder = spoilt(pretrained["classifier"], tmp_path, how)
    with pytest.raises(RecipeError, match=words) as caught:
        build_network(from_folder(folder, override))
    assert "\n" not in str(caught.value)


# Learning rates


@pytest.mark.parametrize("name", ["vit_tiny_scratch", "resnet18_scratch"])
def test_every_parameter_is_in_one_layer(name):
    network = build(recipe.load(name).override(["image_size=32"]))
    found = [id(parameter) for layer in adapter(network).layers for parameter in layer]
    assert len(found) == len(set(found))
    assert set(found) == {id(parameter) for parameter in network.parameters()}


def peaks(network: nn.Module, chosen: Recipe) -> dict[str, float]:
    """The highest rate of each parameter, by name."""
    groups = build_optimizer(network, chosen).param_groups
    peak = {id(parameter): group["peak"] for group in groups for parameter in group["params"]}
    return {name: peak[id(parameter)] for name, parameter in network.named_parameters()}


def test_rates_grow_from_a_vits_first_layers_to_its_head(tiny_vit):
    chosen = tiny_vit.override(["lr=1e-3", "lr_first=1e-5"])
    rates = peaks(build(chosen), chosen)
    places = ["vit.embeddings.", *(f"vit.layers.{index}." for index in range(12)), "vit.layernorm.", "classifier."]
    steps = [{rate for name, rate in rates.items() if name.startswith(place)} for place in places]
    assert [len(step) for step in steps] == [1] * len(places)
    ladder = [step.pop() for step in steps]
    assert (ladder[0], ladder[-1]) == (pytest.approx(1e-5), pytest.approx(1e-3))
    ratios = [higher / lower for lower, higher in itertools.pairwise(ladder)]
    assert ratios == pytest.approx([100 ** (1 / 14)] * 14)


def test_muon_is_for_the_matrices_of_a_vits_blocks(tiny_vit):
    chosen = tiny_vit.override(["optimizer=muon"])
    network = build(chosen)
    groups = build_optimizer(network, chosen).param_groups
    taken = {id(parameter) for group in groups if not group["use_fallback"] for parameter in group["params"]}
    named = {name: parameter for name, parameter in network.named_parameters() if id(parameter) in taken}
    assert all(name.startswith("vit.layers.") and parameter.ndim == 2 for name, parameter in named.items())
    assert len(named) == 12 * 6  # query, key, value, output, and two of the MLP


def test_rates_of_a_resnet_grow_to_its_head_and_follow_two_cycles():
    thesis = recipe.load("resnet18").override(["pretrained=None"])
    network = build(thesis)
    rates = peaks(network, thesis)
    assert rates["timm_model.conv1.weight"] == pytest.approx(1e-5)
    assert rates["timm_model.layer1.0.conv1.weight"] < rates["timm_model.layer4.0.conv1.weight"]
    assert rates["timm_model.fc.weight"] == pytest.approx(3e-4)
    optimizer = build_optimizer(network, thesis)

    def heads_rate(epoch: float) -> float:
        set_rates(optimizer, thesis, epoch)
        return optimizer.param_groups[-1]["lr"]

    assert heads_rate(thesis.freeze_epochs * thesis.warmup) == pytest.approx(thesis.lr_head_alone, rel=1e-4)
    assert heads_rate(thesis.freeze_epochs - 1e-9) < thesis.lr_head_alone / 1000
    assert heads_rate(thesis.freeze_epochs + 13 * thesis.warmup) == pytest.approx(thesis.lr, rel=1e-4)
    assert heads_rate(thesis.epochs - 1e-9) < thesis.lr / 1000


def test_the_head_is_trained_alone_first(tiny_recipe, parquet, tmp_path):
    chosen = tiny_recipe.override(["freeze_epochs=1", "ema_decay=0.0"])
    torch.manual_seed(chosen.seed)
    start = dict(build_network(chosen).named_parameters())
    for stop, moved in ((3, {"fc"}), (4, {"fc", "conv1", "bn1", "layer1", "layer2", "layer3", "layer4"})):
        assert train(chosen, [parquet], None, tmp_path, lambda step, stop=stop: step == stop) == 130
        tensors, _ = checkpoint.read(tmp_path / "checkpoints" / checkpoint.LAST)
        changed = {name for name, value in start.items() if not torch.equal(tensors[f"network.{name}"], value)}
        assert {name.split(".")[1] for name in changed} == moved


# A step


def test_mixup_shares_pictures_and_labels_alike(tiny_vit, pixels):
    seven = {"pbc": Pictures(pixels.images[:7], pixels.labels[:7])}  # of seven types
    chosen = tiny_vit.override(["batch_size=7"])
    plain, labels = Batches.of(seven, chosen).at(5)
    mixed, targets = Batches.of(seven, chosen.override(["mixup=0.4"])).at(5)
    assert targets.shape == (7, 8)
    torch.testing.assert_close(targets.sum(1), torch.ones(7))
    shares = targets[range(7), labels]
    assert ((shares > 0) & (shares < 1)).all()
    others = (targets - nn.functional.one_hot(labels, 8) * shares[:, None]).argmax(1)
    partners = [labels.tolist().index(other) for other in others]
    share = shares[:, None, None, None]
    torch.testing.assert_close(mixed, share * plain + (1 - share) * plain[partners], atol=1e-5, rtol=0)


def stepped(chosen: Recipe, pixels: Pictures, accelerator: Accelerator, teacher: nn.Module | None = None) -> nn.Module:
    """The network after one step."""
    network = build(chosen)
    optimizer = accelerator.prepare_optimizer(build_optimizer(network, chosen))
    batches = Batches.of({"pbc": pixels.resized(32)}, chosen.override(["batch_size=16"]))
    images, targets = batches.at(0)
    train_step(network, teacher, optimizer, images, targets, chosen, accelerator)
    return network


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_is_the_same_step(tiny_vit, pixels, accelerator, parts):
    chosen = tiny_vit.override(["optimizer=sgd", "lr=1.0", "mixup=0.4", "label_smoothing=0.1", "max_grad_norm=1.0"])
    whole, split = (stepped(chosen.override([f"gradient_accumulation_steps={n}"]), pixels, accelerator) for n in (1, parts))
    assert (weights(whole) - weights(build(chosen))).abs().max() > 1e-3
    torch.testing.assert_close(weights(split), weights(whole), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kept", [True, False])
def test_a_step_keeps_batch_norms_statistics_where_the_recipe_says_so(tiny_recipe, pixels, accelerator, tmp_path, kept):
    export(build(tiny_recipe), tmp_path)
    chosen = tiny_recipe.override([f"pretrained={tmp_path}", f"batch_norm={'kept' if kept else 'learnt'}"])
    before, after = build(chosen).state_dict(), stepped(chosen, pixels, accelerator).state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert statistics
    assert statistics & same == (statistics if kept else set())
    assert any(name not in same for name in before.keys() - statistics)
    assert not (chosen.recomputes_batch_norm and kept)


def test_blocks_are_left_out_in_training_alone(tiny_vit, pixels, tmp_path):
    chosen = tiny_vit.override(["drop_path=0.5"])
    plain, dropping = build(tiny_vit), build(chosen)
    images = normalise(pixels.resized(32).images.float() / 255)

    @torch.inference_mode()
    def logits(network: nn.Module) -> torch.Tensor:
        return network(pixel_values=images).logits

    torch.testing.assert_close(logits(dropping.eval()), logits(plain.eval()))
    assert torch.equal(logits(dropping), logits(dropping))
    assert torch.equal(logits(plain.train()), logits(plain.eval()))
    dropping.train()
    assert not torch.equal(logits(dropping), logits(dropping))
    export(dropping, tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).train()
    torch.testing.assert_close(logits(loaded), logits(plain.eval()), atol=5e-3, rtol=0)  # float16
    assert torch.equal(logits(loaded), logits(loaded))


# Teachers


@pytest.mark.parametrize(("override", "words"), [("image_size=64", "takes 32 pixels"), ("num_classes=13", "and name BA, EO")])
def test_a_teacher_of_other_pictures_or_labels_is_one_line(tiny_vit, model_folder, override, words):
    with pytest.raises(RecipeError, match=words) as caught:
        build_teacher(tiny_vit.override([f"teacher={model_folder}", override]))
    assert "\n" not in str(caught.value)


def test_a_teacher_that_is_not_whole_is_one_line(tiny_vit, model_folder, tmp_path):
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["fc.weight"]
    save_file(tensors, folder / "model.safetensors")
    for place, words in ((folder, "lacks weights"), (tmp_path / "nowhere", "cannot be loaded")):
        with pytest.raises(RecipeError, match=words) as caught:
            build_teacher(tiny_vit.override([f"teacher={place}"]))
        assert "\n" not in str(caught.value)


def test_distillation_is_the_distance_to_the_teachers_answers():
    answers = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 3.0]])
    further = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert distillation(answers, answers) == pytest.approx(0, abs=1e-6)
    assert distillation(answers + 5, answers) == pytest.approx(0, abs=1e-6)  # the same probabilities
    distances = [distillation(answers + share * further, answers).item() for share in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances)
    assert distances[1] > 0.01


def test_a_teacher_turns_the_step_and_stays_as_it_is(tiny_vit, model_folder, pixels, accelerator):
    teacher = build_teacher(tiny_vit.override([f"teacher={model_folder}"]))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    alone, taught = (stepped(tiny_vit, pixels, accelerator, one) for one in (None, teacher))
    assert (weights(alone) - weights(taught)).abs().max() > 1e-4
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


class Silent(nn.Module):
    """A teacher that remembers the sizes of the pictures that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.config = SimpleNamespace(pretrained_cfg={})  # pictures are normalised as ours

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        self.sizes.append(pixel_values.shape[-1])
        return SimpleNamespace(logits=torch.zeros(len(pixel_values), 8))


def test_a_teacher_is_asked_at_its_own_size_alone(tiny_vit, parquet, tmp_path, monkeypatch):
    teacher = Silent()
    monkeypatch.setattr(runs, "build_teacher", lambda chosen: teacher)
    chosen = tiny_vit.override(["image_size=64", "progressive_resizing=((0.5, 0.5),)", "epochs=2"])
    assert train(chosen, [parquet], None, tmp_path, lambda step: step == 5) == 130
    assert teacher.sizes == [64, 64]  # three steps at 32 pixels come first


# What stops a run, and what a batch may be


def test_a_run_that_diverges_stops_at_that_step_and_says_what_to_try(tiny_recipe, parquet, tmp_path):
    with pytest.raises(RecipeError, match=r"the loss is not finite at step \d+ \(epoch 1\).*try lr=1e\+37") as caught:
        train(tiny_recipe.override(["lr=1e38", "epochs=50"]), [parquet], None, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "checkpoints").exists()  # nothing that could be carried on is lost


def test_no_part_of_a_batch_is_a_single_picture(pixels, accelerator):
    """ResNet18 ends in one pixel at this size: batch-norm has no statistics of one picture of it."""
    chosen = recipe.load("resnet18_scratch").override([*TINY, "batch_size=5", "gradient_accumulation_steps=4"])
    network = build(chosen)
    batches = Batches.of({"pbc": pixels.resized(32)}, chosen)
    optimizer = accelerator.prepare_optimizer(build_optimizer(network, chosen))
    loss = train_step(network, None, optimizer, *batches.at(0), chosen, accelerator)
    assert loss.isfinite()


def test_batch_norm_takes_any_number_of_pictures(pixels, monkeypatch):
    chosen = recipe.load("resnet18_scratch").override([*TINY, "batch_size=4"])
    network = build(chosen)
    some = Pictures(pixels.resized(32).images[:9], pixels.labels[:9])
    monkeypatch.setattr(finalize, "EVALUATION_BATCH", 4)
    finalize.recompute_batch_norm(network, Batches.of({"pbc": some}, chosen))
    assert network.timm_model.bn1.running_var.isfinite().all()


@pytest.mark.parametrize(("classes", "is_described"), [(("ig", "sezary"), True), (("ig", "blast"), False)])
def test_a_model_folder_describes_its_classes_where_one_is_not_known(classes, is_described, pixels, tmp_path, monkeypatch):
    chosen = dataclasses.replace(recipe.load("resnet18_scratch").override(TINY), classes=classes)
    network, some = build(chosen), {"pbc": Pictures(pixels.resized(32).images, pixels.labels % 2)}
    monkeypatch.setattr(checkpoint, "read_best", lambda folder: (network.state_dict(), {"epoch": 1}))
    finalize.write_model(chosen, network, some, some, tmp_path)
    assert (tmp_path / "model" / CLASSES_FILE).is_file() == is_described
    assert read_classes(tmp_path / "model", classes) == describe(classes)


def test_several_processes_need_two_pictures_each(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", 32)
    with pytest.raises(RunError, match="each of the 32 processes needs two pictures"):
        runs.start(tiny_recipe, tmp_path)


@pytest.mark.parametrize(("configured", "expected"), [(None, "bf16"), ("no", None), ("fp16", None)])
def test_the_precision_that_accelerate_is_told_is_left_to_it(tiny_recipe, tmp_path, monkeypatch, configured, expected):
    """None leaves it to Accelerate, which reads the same variable; its launcher sets it."""
    given = {}

    def note(**options: object) -> SimpleNamespace:
        given.update(options)
        return SimpleNamespace(num_processes=1)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(runs, "Accelerator", note)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if configured:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", configured)
    runs.start(tiny_recipe, tmp_path)
    assert given["mixed_precision"] == expected


# A ViT of subtypes, whose pictures grow


@pytest.fixture(scope="module")
def subtypes(pbc_rows, tmp_path_factory) -> tuple[Path, str]:
    """(the run folder, what it printed): the 13 subtypes, without which two of the pictures are."""
    folder = tmp_path_factory.mktemp("subtypes")
    rows = pbc_rows | {"cell_subtype": [None, "", *pbc_rows["cell_subtype"][2:]]}
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(folder / "cells.parquet")
    values = ["num_classes=13", "image_size=64", "progressive_resizing=((0.5, 0.5),)", "epochs=2", "batch_size=32"]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        line = ["vit_tiny_scratch", *values, "--data", str(folder / "cells.parquet"), "--out", str(folder / "run")]
        assert main(line) == 0
    return folder / "run", output.getvalue()


def test_pictures_without_a_subtype_are_left_out_and_counted(subtypes, pbc_rows):
    run, output = subtypes
    assert "2 pictures without a subtype left out." in output
    assert len(pd.read_csv(run / "split.csv")) == len(pbc_rows["image_id"]) - 2


def test_a_run_of_subtypes_predicts_and_measures_subtypes(subtypes):
    run, _ = subtypes
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    assert metrics.labels_of(table) == list(SUBTYPE_LABELS)
    assert (table["label"] == table["subtype"]).all()
    assert set(table["prediction"]) <= set(SUBTYPE_LABELS)
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert test["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(table["label"], table["prediction"]))
    assert set(test["recall"]) == set(table["label"]) == set(SUBTYPE_LABELS)
    assert (run / "figures" / "confusion.png").exists()


def test_a_folder_of_subtypes_classifies_into_subtypes(subtypes, cell_files, tmp_path):
    run, _ = subtypes
    assert cells_main(["classify", *cell_files, "--model", str(run / "model"), "--out", str(tmp_path / "cells.csv")]) == 0
    table = pd.read_csv(tmp_path / "cells.csv")
    assert [column for column in table if column.startswith("p_")] == [
        f"p_{code}" for code in (*SUBTYPE_LABELS, "blast", "smudge")
    ]
    assert table[["p_blast", "p_smudge"]].isna().all(axis=None)  # it does not know them
    assert set(table["prediction"]) <= set(SUBTYPE_LABELS)


def test_a_vit_that_grew_up_takes_pictures_of_the_full_size(subtypes):
    run, _ = subtypes
    assert pd.read_csv(run / "history.csv")["size"].tolist() == [32, 64]
    assert AutoModelForImageClassification.from_pretrained(run / "model").config.image_size == 64
    processor = AutoImageProcessor.from_pretrained(run / "model", backend="pil")
    assert processor(Image.new("RGB", (360, 363)), return_tensors="pt")["pixel_values"].shape == (1, 3, 64, 64)
    assert json.loads((run / "metrics.json").read_text())["best_epoch"] == 2  # an epoch at another size is not kept
