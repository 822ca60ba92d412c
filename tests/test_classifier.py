"""Model folder -> predictions: order, errors in their rows, and the three libraries that load the same folder."""

import dataclasses
import json
import pickle
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


def test_one_source_or_any_iterable_is_taken(classifier, cell_files):
    several = [prediction.label for prediction in classifier.predict(cell_files)]
    for sources in (tuple(cell_files), iter(cell_files), (Path(file) for file in cell_files), dict.fromkeys(cell_files)):
        assert [prediction.label for prediction in classifier.predict(sources)] == several
    data = Path(cell_files[0]).read_bytes()
    for source in (cell_files[0], Path(cell_files[0]), data, Image.open(cell_files[0])):
        assert [prediction.label for prediction in classifier.predict(source)] == several[:1]
    assert list(classifier.predict([])) == list(classifier.predict(iter(()))) == []
    assert [prediction.file for prediction in classifier.predict(data, "cell")] == ["cell"]


def test_what_has_no_path_is_named_by_its_position(classifier, cell_files):
    data, made = Path(cell_files[0]).read_bytes(), draw_cell("ig")
    sources = [cell_files[0], Path(cell_files[1]), data, made, Image.open(cell_files[2])]
    names = [prediction.file for prediction in classifier.predict(sources, batch_size=2)]
    assert names == [cell_files[0], cell_files[1], "picture 3", "picture 4", cell_files[2]]


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c", "d"], "abc"])
def test_another_number_of_names_is_an_error_before_any_work(classifier, cell_files, names):
    with pytest.raises(ValueError, match="a name for each source"):
        classifier.predict(cell_files, names)


def test_another_number_of_names_is_an_error_of_generators_too(classifier, cell_files):
    for sources, names in ((iter(cell_files), ["a", "b"]), (cell_files, iter("abcd"))):
        with pytest.raises(ValueError, match="argument 2"):
            list(classifier.predict(sources, names))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"])
def test_a_picture_of_pillows_is_taken_in_any_mode(classifier, mode):
    grey = Image.fromarray(np.linspace(0, 255, 99 * 99).reshape(99, 99).astype(np.uint8))
    picture = grey.convert("RGB").convert(mode) if mode not in ("I;16", "LA") else grey.convert(mode)
    before = picture.copy()
    (prediction,) = classifier.predict(picture)
    assert prediction.label in LABELS
    assert (picture.mode, picture.tobytes()) == (before.mode, before.tobytes())


def test_a_transparent_and_turned_picture_of_pillows_answers_as_its_file_does(classifier, tmp_path):
    picture = draw_cell("neutrophil").convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "cell.png", exif=exif)
    opened, file = classifier.predict([Image.open(tmp_path / "cell.png"), str(tmp_path / "cell.png")])
    np.testing.assert_array_equal(opened.probabilities, file.probabilities)


def test_a_picture_of_pillows_that_cannot_be_read_is_a_row_and_the_others_go_on(classifier, cell_files, tmp_path):
    cut, closed = tmp_path / "cut.png", Image.open(cell_files[0])
    cut.write_bytes(Path(cell_files[0]).read_bytes()[:2000])
    closed.close()
    sources = [cell_files[0], Image.open(cut), closed, Image.new("RGB", (0, 5)), Image.new("L", (5000, 1)), cell_files[1]]
    first, *broken, last = classifier.predict(sources)
    assert [prediction.status for prediction in broken] == ["error"] * 4
    assert all("damaged" in prediction.message for prediction in broken[:3])
    assert "5000 x 1" in broken[3].message
    assert None not in (first.label, last.label)


def test_predictions_compare_hash_and_print(classifier, cell_files):
    one, other, different = classifier.predict([cell_files[0], cell_files[0], cell_files[1]], ["a", "a", "a"])
    assert one == other
    assert hash(one) == hash(other)
    assert one != different
    assert one != dataclasses.replace(one, status="unfamiliar")
    assert one != dataclasses.replace(one, probabilities=one.probabilities * (1 + 1e-6))
    assert one != dataclasses.replace(one, probabilities=None)
    assert one != "a"
    assert len({one, other}) == 1
    assert repr(one).startswith(f"Prediction('a', {one.label!r}, {one.probability:.4f}, ")
    (unread,) = classifier.predict("missing.png")
    assert repr(unread) == "Prediction('missing.png', 'error', 'There is no such file.')"
    assert unread == next(classifier.predict("missing.png"))
    assert pickle.loads(pickle.dumps(one)) == one


def test_the_ranking_is_made_once(classifier, cell_files):
    (prediction,) = classifier.predict(cell_files[0])
    assert prediction.ranking is prediction.ranking


def test_a_probability_that_is_no_number_is_never_ok(classifier):
    status, _ = Uncertainty(review_below=0.5).status(np.full(8, np.nan))
    assert status == "review"


def test_a_table_has_the_rows_and_columns_of_the_csv(classifier, cell_files):
    frame = classifier.table([*cell_files, "missing.png"], ["a", "b", "c", "d"])
    assert frame["file"].tolist() == list("abcd")
    assert frame["status"].tolist()[3] == "error"
    assert frame["model"].unique().tolist() == [str(classifier)]
    assert [column for column in frame if column.startswith("p_")] == [f"p_{label}" for label in (*LABELS, "blast", "smudge")]
    assert classifier.table(cell_files[0]).shape[0] == 1


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
    """The probabilities (n, classes) of AutoModel, pipeline and, of a network of timm's, timm."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    network = AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        auto = network(**processor(images, return_tensors="pt")).logits.softmax(1).numpy()
    labels = [network.config.id2label[index] for index in range(network.config.num_labels)]
    rows = pipeline("image-classification", model=str(folder), device="cpu")(images, top_k=len(labels))
    piped = np.array([[{entry["label"]: entry["score"] for entry in row}[label] for label in labels] for row in rows])
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
