"""Batch-norm statistics of the batch: when they answer, what they change, and that they leave the classifier as it is."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_any_network import write

from benchmarks import steps
from cells.__main__ import main
from cells.model import adapted_network, batch_statistics
from cells.model.batch_norm import convolutions, exchanged
from cells.model.batch_statistics import for_batch
from cells.model.classifier import Classifier
from cells.model.export import export
from cells.model.folder import ONNX_FILE
from cells.model.uncertainty import OK, REVIEW, UNFAMILIAR, Familiar, Uncertainty
from cells.synthetic import draw_cell
from train.__main__ import main as train
from train.network import build

FEWEST = batch_statistics.FEWEST


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Two more than a sample needs."""
    cells = [draw_cell(name).convert("RGB").resize((48, 48)) for name in ("neutrophil", "platelet", "lymphocyte")]
    return [cells[place % 3].rotate(7 * place) for place in range(FEWEST + 2)]


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory) -> Path:
    """The pictures on disk."""
    place = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures):
        picture.save(place / f"{number:02}.png")
    return place


def with_distance(source: Path, folder: Path, above: float) -> Path:
    """A copy of a model folder: a picture is unfamiliar above this distance, every other one is ok."""
    shutil.copytree(source, folder)
    classifier = Classifier.load(source)
    zeros = np.zeros((len(classifier.labels), classifier.measure([draw_cell("ig")])[1].shape[1]), np.float32)
    familiar = Familiar(zeros[0], zeros[0] + 1, np.eye(zeros.shape[1], dtype=np.float32), zeros)
    Uncertainty(review_below=0.0, unfamiliar_above=above, familiar=familiar).save(folder / "trust.json")
    return folder


@pytest.fixture(scope="module")
def far(model_folder, tmp_path_factory) -> Path:
    """A model to which every picture is unfamiliar."""
    return with_distance(model_folder, tmp_path_factory.mktemp("far") / "tiny", 1e-6)


@pytest.fixture(scope="module")
def near(model_folder, tmp_path_factory) -> Path:
    """A model to which no picture is unfamiliar."""
    return with_distance(model_folder, tmp_path_factory.mktemp("near") / "tiny", 1e6)


def answers(classifier: Classifier, pictures: list) -> np.ndarray:
    return np.stack([prediction.probabilities for prediction in classifier.predict(pictures)])


def test_familiar_pictures_keep_the_classifier(near, pictures):
    classifier = Classifier.load(near)
    assert {prediction.status for prediction in classifier.predict(pictures)} == {OK}
    assert for_batch(classifier, pictures) is classifier


def test_too_few_readable_pictures_keep_the_classifier(far, pictures):
    classifier = Classifier.load(far)
    assert for_batch(classifier, []) is classifier
    assert for_batch(classifier, pictures[: FEWEST - 1]) is classifier
    assert for_batch(classifier, [*pictures[: FEWEST - 1], b"", b"no picture"]) is classifier


def test_a_network_without_batch_norm_layers_keeps_the_classifier(pictures, tmp_path):
    vit = write(tmp_path / "net", "vit_tiny_patch16_224", img_size=64)
    classifier = Classifier.load(with_distance(vit, tmp_path / "far", 1e-6))
    assert {prediction.status for prediction in classifier.predict(pictures)} == {UNFAMILIAR}
    assert for_batch(classifier, pictures) is classifier
    assert not batch_statistics.has_statistics(classifier)


def test_unfamiliar_pictures_are_classified_with_their_own_statistics(far, pictures):
    classifier = Classifier.load(far)
    assert batch_statistics.has_statistics(classifier)
    before, name = answers(classifier, pictures), str(classifier)
    sources = [b"no picture", *pictures]
    first, second = for_batch(classifier, sources), for_batch(classifier, sources)
    assert str(first) == f"{name.rpartition('/')[0]}/torch+batch"
    assert first.labels == classifier.labels
    np.testing.assert_array_equal(answers(first, pictures), answers(second, pictures))
    assert np.abs(answers(first, pictures) - before).max() > 1e-4
    np.testing.assert_array_equal(answers(classifier, pictures), before)
    assert str(classifier) == name


def test_its_cells_are_never_ok(far, near, pictures):
    for model, expected in ((far, UNFAMILIAR), (near, REVIEW)):
        classifier = batch_statistics.adapted(Classifier.load(model), pictures)
        assert {prediction.status for prediction in classifier.predict(pictures)} == {expected}


def test_of_weight_0_are_the_statistics_of_the_training_pictures(near, pictures):
    classifier = Classifier.load(near)
    same = batch_statistics.adapted(classifier, pictures, weight=0.0)
    for ours, theirs in zip(same.network.buffers(), classifier.network.buffers(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.fixture(scope="module")
def exported(near, tmp_path_factory) -> Path:
    """The model to which no picture is unfamiliar, with its exported network."""
    folder = shutil.copytree(near, tmp_path_factory.mktemp("exported") / "tiny")
    export(folder)
    return folder


def test_an_exported_network_answers_with_the_same_statistics_as_pytorch(near, exported, pictures):
    ours, theirs = (batch_statistics.adapted(Classifier.load(folder), pictures) for folder in (exported, near))
    assert (ours.backend.name, theirs.backend.name) == ("fp32+batch", "torch+batch")
    for one, other in zip(ours.measure(pictures), theirs.measure(pictures), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(ours.measure(pictures)[0] - Classifier.load(exported).measure(pictures)[0]).max() > 1e-4
    for one, other in zip(ours.network.buffers(), theirs.network.buffers(), strict=True):  # of which saliency is
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"broken")])
def test_pytorch_answers_where_the_exported_file_is_gone(exported, pictures, tmp_path, damage):
    classifier = Classifier.load(shutil.copytree(exported, tmp_path / "tiny"))
    damage(classifier.folder / ONNX_FILE)
    assert batch_statistics.adapted(classifier, pictures).backend.name == "torch+batch"


def test_statistics_go_into_no_file_of_other_weights(exported, tiny_recipe):
    torch.manual_seed(1)
    other = build(tiny_recipe).eval()
    layers = [layer for layer in other.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    before = {layer: (layer.running_mean, layer.running_var) for layer in layers}
    found = convolutions(other, torch.zeros(1, 3, 32, 32))
    assert list(found) == layers
    with pytest.raises(ValueError, match="folded"):
        exchanged(exported / ONNX_FILE, before, found)
    with pytest.raises(ValueError, match="follows no convolution"):
        exchanged(exported / ONNX_FILE, before, {})


def test_each_named_class_has_the_same_share_of_the_statistics():
    values = torch.tensor([1.0, 1.0, 1.0, 5.0])[:, None, None, None] + torch.tensor([-1.0, 1.0])  # (4 pictures, 1, 1, 2 places)
    shares = adapted_network._balanced(torch.tensor([7, 7, 7, 2]))
    mean, variance = adapted_network._moments(values, shares)
    assert shares.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert mean.item() == pytest.approx(3)
    assert variance.item() == pytest.approx(1 + 4)  # within a picture, and between them


def test_a_sample_is_taken_evenly_from_the_whole_batch():
    assert batch_statistics.sample(range(3)) == [0, 1, 2]
    assert batch_statistics.sample([]) == []
    assert batch_statistics.some(iter(range(3))) == [0, 1, 2]
    drawn = batch_statistics.some(iter(range(1000)))
    assert (len(set(drawn)), max(drawn) > 500, drawn) == (batch_statistics.SAMPLE, True, batch_statistics.some(range(1000)))
    chosen = batch_statistics.sample(range(1000))
    assert (len(chosen), len(set(chosen)), chosen[0]) == (batch_statistics.SAMPLE, batch_statistics.SAMPLE, 0)
    assert {b - a for a, b in itertools.pairwise(chosen)} == {3, 4}


def test_the_command_line_says_so_and_a_resumed_csv_has_the_same_statistics(far, folder, tmp_path, capsys):
    out = tmp_path / "cells.csv"
    call = ["classify", str(folder), "--model", str(far), "--out", str(out), "--batch-size", "20"]
    assert main(call) == 0
    assert "batch-norm statistics" in capsys.readouterr().err
    whole = out.read_bytes()
    assert pd.read_csv(out)["model"].str.endswith("/torch+batch").all()
    out.rename(tmp_path / "cells.csv.part").write_bytes(b"".join(whole.splitlines(keepends=True)[:21]))
    assert main(call) == 0
    assert out.read_bytes() == whole


def test_the_command_line_can_do_without(far, near, folder, tmp_path, capsys):
    out = tmp_path / "cells.csv"
    for call in (["--model", str(far), "--no-batch-statistics"], ["--model", str(near)]):
        assert main(["classify", str(folder), "--out", str(out), *call]) == 0
        assert "statistics" not in capsys.readouterr().err
        assert not pd.read_csv(out)["model"].str.contains("batch").any()


def test_the_study_measures_each_weight_and_keeps_other_rows(far, tmp_path):
    cells, out, split = tmp_path / "cells.parquet", tmp_path / "out.csv", tmp_path / "split.csv"
    steps.write_parquet(steps.pbc_rows(4), cells)
    split.write_text("image_id,split\nnone,train\n")
    earlier = [{"model": model, "laboratory": "pbc", "weight": 0.5} for model in ("18", "run")]
    pd.DataFrame(earlier).to_csv(out, index=False)
    shutil.copytree(far, tmp_path / "run" / "model")
    (tmp_path / "run" / "model" / "metrics.json").write_text('{"sources": ["jhu"]}')  # so that it has not seen pbc
    assert (
        train(["batch_statistics", str(tmp_path / "run"), "--data", str(cells), "--split", str(split), "--out", str(out)]) == 0
    )
    rows = pd.read_csv(out, dtype={"model": str})
    assert rows["model"].tolist() == ["18"] + ["run"] * 4
    assert rows["weight"].tolist() == [0.5, 0, 0.2, batch_statistics.WEIGHT, 0.7]
    assert rows["unfamiliar_share"].tolist()[1:] == [1] * 4
    assert rows["used"].tolist()[1:] == [True] * 4
    assert rows["trained"].tolist()[1:] == [False] * 4
    assert rows["five_accuracy"][1:].between(0, 1).all()
