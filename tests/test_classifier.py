"""Model folder -> predictions: order, errors in their rows, and the three libraries that load the same folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from cells.classes import LABELS
from cells.model.classifier import Classifier
from cells.model.folder import ModelError
from cells.model.uncertainty import Uncertainty
from cells.synthetic import draw_cell


@pytest.fixture(scope="module")
def classifier(model_folder) -> Classifier:
    return Classifier.load(model_folder)


def test_predictions_keep_the_input_order_whatever_the_batch(classifier, cell_files):
    sources = [*cell_files, "missing.png", *reversed(cell_files)]
    one, all_at_once = (list(classifier.predict(sources, batch_size=size)) for size in (2, 100))
    assert [prediction.file for prediction in one] == sources
    for a, b in zip(one, all_at_once, strict=True):
        assert (a.file, a.status, a.message) == (b.file, b.status, b.message)
        if a.probabilities is not None:
            np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-6)
    np.testing.assert_allclose(one[0].probabilities, one[-1].probabilities, atol=1e-6)


def test_an_unreadable_file_is_a_row_and_the_others_go_on(classifier, cell_files, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    first, error, last = classifier.predict([cell_files[0], str(broken), cell_files[1]])
    assert (error.status, error.label, error.probability, error.ranking) == ("error", None, None, ())
    assert "empty" in error.message
    assert first.label in LABELS
    assert last.label in LABELS


def test_ranking_is_by_probability(classifier, cell_files):
    (prediction,) = classifier.predict(cell_files[:1])
    shares = [share for _, share in prediction.ranking]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert (prediction.label, prediction.probability) == prediction.ranking[0]
    assert prediction.probability == pytest.approx(prediction.probabilities[LABELS.index(prediction.label)])


def test_pictures_and_bytes_are_taken_as_well_as_paths(classifier, cell_files):
    with open(cell_files[0], "rb") as file:
        sources = [cell_files[0], file.read(), Image.open(cell_files[0]).convert("RGB")]
    rows = [prediction.probabilities for prediction in classifier.predict(sources, ["a", "b", "c"])]
    np.testing.assert_allclose(rows[1:], [rows[0]] * 2, atol=1e-6)


def test_weights_are_stored_as_float16_and_computed_in_float32(classifier, model_folder):
    assert next(classifier.network.parameters()).dtype == torch.float32
    assert (model_folder / "model.safetensors").stat().st_size < 25e6
    assert AutoModelForImageClassification.from_pretrained(model_folder).dtype == torch.float32


def test_version_follows_the_weights(classifier, model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    assert Classifier.load(copy).version == classifier.version
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    assert Classifier.load(copy).version != classifier.version
    assert str(classifier) == f"tiny@{classifier.version}/torch"


def load_in_libraries(folder, images: list[Image.Image]) -> list[np.ndarray]:
    """The probabilities (n, 8) of AutoModel, pipeline and, of a network of timm's, timm."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        auto = network(**processor(images, return_tensors="pt")).logits.softmax(1).numpy()
    rows = pipeline("image-classification", model=str(folder), device="cpu")(images, top_k=len(LABELS))
    piped = np.array([[{entry["label"]: entry["score"] for entry in row}[label] for label in LABELS] for row in rows])
    if (Path(folder) / "preprocessor_config.json").exists():  # a ViT of transformers'
        return [auto, piped]
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    with torch.inference_mode():
        plain = net(torch.stack([transform(image) for image in images])).softmax(1).numpy()
    return [auto, piped, plain]


def test_three_libraries_load_the_folder_and_agree(classifier, model_folder):
    images = [draw_cell(label, seed).convert("RGB") for label in LABELS for seed in range(2)]
    ours = classifier.probabilities(images)
    for theirs in load_in_libraries(model_folder, images):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    assert timm.create_model(f"local-dir:{model_folder}", pretrained=True).pretrained_cfg["crop_pct"] == 1.0


def test_labels_in_another_order_are_brought_into_ours(model_folder, classifier, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["label_names"] = config["label_names"][::-1]
    (copy / "config.json").write_text(json.dumps(config))
    image = [draw_cell("ig").convert("RGB")]
    reordered = Classifier.load(copy).probabilities(image)
    np.testing.assert_allclose(reordered[:, ::-1], classifier.probabilities(image), atol=1e-6)


@pytest.mark.parametrize("source", ["resnet999", "./nowhere", "/nowhere/at/all"])
def test_a_model_that_is_not_there_is_one_sentence(source):
    with pytest.raises(ModelError, match="There is no model") as caught:
        Classifier.load(source)
    assert "resnet18" in str(caught.value)


def test_a_hub_model_out_of_reach_is_one_line():
    with pytest.raises(ModelError, match="someone/something cannot be loaded") as caught:
        Classifier.load("someone/something")
    assert "\n" not in str(caught.value)


def test_a_model_of_other_things_is_refused(model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    for labels, words in (([f"cat {number}" for number in range(8)], r"other labels .*cat"), (["ig"] * 8, "a label twice")):
        (copy / "config.json").write_text(json.dumps(config | {"label_names": labels}))
        with pytest.raises(ModelError, match=words) as caught:
            Classifier.load(copy)
        assert "cannot be loaded" not in str(caught.value)


def test_a_broken_folder_is_one_line(model_folder, tmp_path):
    for name, content in (("trust.json", "{"), ("config.json", "{}"), ("model.safetensors", "no weights")):
        copy = shutil.copytree(model_folder, tmp_path / name)
        (copy / name).write_text(content)
        with pytest.raises(ModelError, match="cannot be loaded") as caught:
            Classifier.load(copy)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_with_a_layer_missing_is_refused(model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    del weights["fc.weight"]
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(ModelError, match="lacks weights"):
        Classifier.load(copy)


def test_a_folder_with_a_pickle_alone_is_refused(model_folder, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be loaded.*model\.safetensors"):
        Classifier.load(copy)


def test_the_folder_decides_the_threshold(model_folder, cell_files, tmp_path):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    for threshold, status in ((0.0, "ok"), (1.1, "review")):
        Uncertainty(review_below=threshold).save(copy / "trust.json")
        assert next(Classifier.load(copy).predict(cell_files[:1])).status == status
