"""The models that come with the repository: small, whole, loaded alike by three libraries, and described as measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from skimage import data
from test_classifier import load_in_libraries

from cells.classes import LABELS
from cells.measures import HOME, read_metrics, trained_on
from cells.model.classifier import Classifier
from cells.model.folder import may_quantize
from cells.model.torch_network import TorchNetwork
from cells.model.uncertainty import Uncertainty
from cells.synthetic import draw_cell
from hub import card, catalog
from train import metrics

ROOT = Path(__file__).resolve().parent.parent
NAMES = catalog.names()


def metrics_of(name: str) -> dict:
    return read_metrics(ROOT / "models" / name / "metrics.json")


def test_there_is_a_resnet18():
    assert "resnet18" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_whole(name):
    folder = ROOT / "models" / name
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    made = {file for file in files if file.startswith("onnx/")}  # on first use, and not tracked
    # One is of a ViT, one of a convolutional network, one of a run that notes what it learnt from.
    assert files - made - {"preprocessor_config.json", "calibration.json", "training_ids.txt"} == {
        *("config.json", "model.safetensors", "metrics.json", "trust.json", "trust.safetensors", "README.md"),
        *("figures/confusion.png", "figures/training.png", "quantized.json"),
    }
    largest = 12_000_000 if name == catalog.DEFAULT else 25_000_000
    assert sum((folder / file).stat().st_size for file in files - made) <= largest
    assert (folder / "trust.safetensors").stat().st_size <= 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_other_things_are_never_ok_and_unfamiliar_to_a_model_of_one_laboratory(name):
    rng = np.random.default_rng(0)
    grey, slide = Image.new("RGB", (360, 363), "gray"), Image.new("RGB", (360, 363), (245, 230, 215))
    noise = Image.fromarray(rng.integers(0, 256, (363, 360, 3), dtype=np.uint8))
    photographs = [Image.fromarray(photograph()) for photograph in (data.astronaut, data.cat, data.coffee, data.rocket)]
    for prediction in Classifier.load(name).predict([grey, slide, noise, *photographs], list("gsnabcd")):
        assert prediction.status != "ok", prediction.file
        if trained_on(metrics_of(name)) == [HOME]:
            assert prediction.status == "unfamiliar", prediction.file
            assert prediction.distance > 1
        assert prediction.prediction_set[0] == prediction.label


def no_cells(width: int, height: int) -> dict[str, Image.Image]:
    """Drawn things that are no cells, by what they are: fields of one colour, gradients, patterns, pages of text, noise."""
    colours = ("white", "black", "grey", "red", "#f5e6d7")  # the last is a slide without a cell
    made = {colour: Image.new("RGB", (width, height), colour) for colour in colours}
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    grey = {
        "gradient": x * 255 // width,
        "stripes": x // 20 % 2 * 255,
        "squares": (x // 30 + y // 30) % 2 * 255,
        "grey noise": rng.integers(0, 256, (height, width)),
    }
    made |= {what: Image.fromarray(values.astype(np.uint8)).convert("RGB") for what, values in grey.items()}
    pink = np.stack([200 + x * 55 // width, 150 + y * 80 // height, 180 + x * 40 // width], -1)
    coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    made["pink gradient"] = Image.fromarray(pink.astype(np.uint8))
    made["noise"] = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    made["coarse noise"] = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    for paper, ink in (("white", "black"), ("#f5e6d7", "#42247a")):
        made[f"text on {paper}"] = page = Image.new("RGB", (width, height), paper)
        for line in range(8, height, 14):
            ImageDraw.Draw(page).text((10, line), f"Line {line}: the platelets were counted by hand twice.", fill=ink)
    return made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(360, 363), (64, 64), (800, 300)], ids=str)
def test_what_is_no_cell_is_never_ok(name, size):
    things = no_cells(*size)
    said = Classifier.load(name).predict(things.values(), things)
    assert [f"{one.file}: {one.label}" for one in said if one.status == "ok"] == []


@pytest.mark.parametrize("name", NAMES)
def test_libraries_agree_on_every_picture(name):
    images = [draw_cell(label, seed).convert("RGB") for label in LABELS for seed in range(2)]
    folder = ROOT / "models" / name
    served = Classifier.load(name)
    ours = Classifier(folder, TorchNetwork(folder), served.uncertainty, name, served.version).probabilities(images)
    np.testing.assert_allclose(served.probabilities(images), ours, atol=0.1 if may_quantize(folder) else 1e-5)
    np.testing.assert_array_equal(served.probabilities(images).argmax(1), ours.argmax(1))
    for theirs in load_in_libraries(folder, images):
        # A ViT's pipeline resizes with torchvision, which rounds in other places than Pillow.
        np.testing.assert_allclose(theirs, ours, atol=1e-3 if (folder / "preprocessor_config.json").exists() else 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_its_card_is_made_from_its_files(name):
    folder = ROOT / "models" / name
    figures = json.loads((folder / "metrics.json").read_text())
    text = (folder / "README.md").read_text()
    assert text == card.text_of(folder)
    assert f"{figures['test']['accuracy']:.4f}" in text
    assert "CC BY 4.0" in text
    assert "not for diagnosis" in text
    assert "$" not in text


@pytest.mark.parametrize("name", NAMES)
def test_its_figures_derive_from_the_predictions_in_results(name):
    figures = metrics_of(name)
    runs = {run.parent: read_metrics(run) for run in ROOT.glob("results/*/metrics.json")}
    (folder,) = (run for run, measured in runs.items() if measured == figures)
    predictions = pd.read_csv(folder / "predictions.csv")
    again = metrics.summarise(predictions)
    assert again["confusion"] == figures["test"]["confusion"]
    rule = Uncertainty.load(ROOT / "models" / name / "trust.json")
    assert metrics.review(predictions, rule) == pytest.approx(figures["review"])
    assert metrics.unfamiliar(predictions) == pytest.approx(figures["unfamiliar"])
    assert metrics.prediction_set(predictions, rule) == pytest.approx(figures["prediction_set"])
    for key in ("accuracy", "accuracy_low", "balanced_accuracy", "kappa", "macro_f1", "ece", "nll"):
        assert again[key] == pytest.approx(figures["test"][key], abs=1e-4)
    split = pd.read_csv(ROOT / "results" / "split.csv")
    assert set(predictions["image_id"]) == set(split["image_id"][split["split"] == "test"])


def test_a_card_says_on_which_pictures_8_bits_were_measured():
    figures = {"pictures": 1232, "accuracy": 0.98, "fall": 0.001, "same_answer": 0.999, "unfamiliar": 0.01}
    older = card._quantized(figures, None)
    assert "1,232 test pictures" in older
    assert "0.10 points less than in PyTorch" in older
    record = {"part": "validation", **figures, "fall": 0.0}
    test = {"pictures": 3080, "accuracy": 0.97, "review": 0.04, "unfamiliar": 0.02}
    text = card._quantized(record | {"test": test}, "torch")
    assert "1,232 validation pictures: the accuracy is as in PyTorch" in text
    assert "3,080 test pictures the accuracy in 8 bits is 0.9700" in text
    assert "All figures above are those of 8 bits" in card._quantized(record, "int8")
    assert card._quantized(None, "torch") == ""
