"""The exported network: it answers as PyTorch does, and PyTorch serves wherever it cannot."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cells.classes import LABELS
from cells.model import classifier as core
from cells.model import folder as model_folder
from cells.model import onnx_network, threads
from cells.model.classifier import Classifier, classify_all
from cells.model.export import ExportError, calibrate, export, quantize
from cells.model.folder import ONNX_FILE, QUANTIZED_FILE, QUANTIZED_RECORD
from cells.model.onnx_network import OnnxNetwork
from cells.model.torch_network import TorchNetwork
from cells.synthetic import draw_cell
from train import network as model
from train import recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=["resnet", "vit"])
def exported(request, tmp_path_factory) -> Path:
    """A model folder with random weights and the exported network."""
    chosen = recipe.load("resnet18_scratch" if request.param == "resnet" else "vit_tiny_scratch")
    folder = tmp_path_factory.mktemp("exported") / request.param
    torch.manual_seed(0)
    chosen = chosen.override(["image_size=32", "growth=()", "teacher=None"])
    model.export(model.build(chosen), chosen, folder)
    export(folder)
    return folder


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "copy")


@pytest.fixture(scope="module")
def images() -> list:
    return [draw_cell(label, seed).convert("RGB") for label in LABELS for seed in range(2)]


def quantize_as_measured(folder: Path, images: list) -> None:
    """As `python -m train onnx_check` does."""
    if (folder / "preprocessor_config.json").is_file():  # a ViT
        quantize(folder)
    else:
        calibrate(folder, images)


def test_it_serves_and_answers_as_pytorch_does(exported, images):
    served = Classifier.load(exported)
    assert isinstance(served.backend, OnnxNetwork)
    reference = Classifier(exported, TorchNetwork(exported), served.uncertainty, served.name, served.version)
    for ours, theirs in zip(served.measure(images), reference.measure(images), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert served.network.config.num_labels == len(LABELS)  # PyTorch's is there for who asks


def test_it_lies_where_other_libraries_look_and_has_what_they_ask_for(exported):
    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx")
    assert [one.name for one in session.get_inputs()] == ["pixel_values"]
    assert session.get_outputs()[0].name == "logits"
    for n in (1, 3):
        assert session.run(["logits"], {"pixel_values": np.zeros((n, 3, 32, 32), np.float32)})[0].shape == (n, len(LABELS))


def test_neither_pytorch_nor_transformers_is_imported_to_classify(exported, cell_files):
    code = (
        "import sys; from cells.model.classifier import Classifier\n"
        f"print(*[one.label for one in Classifier.load({str(exported)!r}).predict({cell_files!r})])\n"
        "print(sorted({'torch', 'transformers', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    answers, imported = done.stdout.splitlines()
    assert set(answers.split()) <= set(LABELS)
    assert imported == "[]"


def test_onnx_runtime_tells_nobody(exported, cell_files, tmp_path):
    """Its telemetry begins by leaving an identifier in the temporary folder, before anything is sent."""
    code = (
        "import os; from cells.model.classifier import Classifier\n"
        f"list(Classifier.load({str(exported)!r}).predict({cell_files!r}))\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'"
    )
    places = dict.fromkeys(("TMPDIR", "HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"), str(tmp_path))
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment | places, check=True)
    assert list(tmp_path.iterdir()) == []


def test_one_of_other_weights_does_not_serve(copy):
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert isinstance(Classifier.load(copy).backend, TorchNetwork)


def test_a_broken_one_does_not_serve(copy):
    file = copy / ONNX_FILE
    file.write_bytes(file.read_bytes()[:5000])
    assert isinstance(Classifier.load(copy).backend, TorchNetwork)


def test_without_onnx_runtime_pytorch_serves_the_same(copy, images, monkeypatch):
    with_it = Classifier.load(copy)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    without = Classifier.load(copy)
    assert isinstance(without.backend, TorchNetwork)
    assert (str(without), str(with_it)) == (f"copy@{with_it.version}/torch", f"copy@{with_it.version}/fp32")
    np.testing.assert_allclose(without.probabilities(images), with_it.probabilities(images), atol=1e-5)


def test_beside_a_gpu_pytorch_serves(copy, monkeypatch):
    monkeypatch.setattr(core, "has_gpu", lambda: True)
    assert isinstance(Classifier.load(copy).backend, TorchNetwork)


def test_an_embedded_models_is_made_on_first_use_and_kept(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported, tmp_path / "models" / "own", ignore=shutil.ignore_patterns("onnx"))
    monkeypatch.setattr(model_folder, "EMBEDDED", tmp_path / "models")
    assert isinstance(Classifier.load("own").backend, OnnxNetwork)
    written = (folder / ONNX_FILE).stat().st_mtime_ns
    assert isinstance(Classifier.load("own").backend, OnnxNetwork)
    assert (folder / ONNX_FILE).stat().st_mtime_ns == written
    assert [path.name for path in (folder / "onnx").iterdir()] == ["model.onnx"]


def test_an_embedded_models_in_8_bits_is_that_which_was_measured(copy, images, tmp_path, monkeypatch):
    quantize_as_measured(copy, images)
    (copy / QUANTIZED_RECORD).write_text(json.dumps({"fall": 0.0}))
    folder = shutil.copytree(copy, tmp_path / "models" / "own", ignore=shutil.ignore_patterns("onnx"))
    monkeypatch.setattr(model_folder, "EMBEDDED", tmp_path / "models")
    assert isinstance(Classifier.load("own").backend, OnnxNetwork)
    assert (folder / QUANTIZED_FILE).read_bytes() == (copy / QUANTIZED_FILE).read_bytes()


def test_where_it_cannot_be_written_pytorch_serves(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported, tmp_path / "models" / "own", ignore=shutil.ignore_patterns("onnx"))
    (folder / "onnx").write_text("in the way")
    monkeypatch.setattr(model_folder, "EMBEDDED", tmp_path / "models")
    assert isinstance(Classifier.load("own").backend, TorchNetwork)


@pytest.mark.parametrize(("fall", "file"), [(0.001, QUANTIZED_FILE), (0.003, ONNX_FILE)])
def test_the_quantised_network_serves_where_its_accuracy_was_found_to_stand_that(
    exported, images, tmp_path, monkeypatch, fall, file
):
    folder = shutil.copytree(exported, tmp_path / "copy")
    quantize_as_measured(folder, images)
    (folder / QUANTIZED_RECORD).write_text(json.dumps({"fall": fall}))
    opened = []
    monkeypatch.setattr(onnx_network, "OnnxNetwork", lambda path, source: opened.append(path))
    onnx_network.load(folder)
    assert opened == [folder / file]


def test_the_quantised_network_is_close_and_another_version(exported, copy, images):
    quantize_as_measured(copy, images)
    (copy / QUANTIZED_RECORD).write_text(json.dumps({"fall": 0.0}))
    ours, plain = Classifier.load(copy), Classifier.load(exported)
    np.testing.assert_allclose(ours.probabilities(images), plain.probabilities(images), atol=0.05)
    assert not np.array_equal(ours.probabilities(images), plain.probabilities(images))
    assert (ours.backend.name, plain.backend.name) == ("int8", "fp32")
    assert ours.version != plain.version


def test_preprocessing_of_another_kind_is_not_exported(tiny_recipe, tmp_path):
    model.export(model.build(tiny_recipe), tiny_recipe, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"crop_pct": 0.875, "crop_mode": "center"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="preprocessing"):
        export(tmp_path)
    assert isinstance(Classifier.load(tmp_path).backend, TorchNetwork)


def test_each_picture_is_read_once_for_all_models_and_its_thumbnail(exported, cell_files, monkeypatch):
    read = []
    monkeypatch.setattr(core, "read_image", lambda source: read.append(source) or core.Image.open(source).convert("RGB"))
    classifier = Classifier.load(exported)
    rows = list(classify_all([classifier, classifier], cell_files, thumbnail_side=20))
    assert sorted(read) == sorted(cell_files)
    for file, (small, first, second) in zip(cell_files, rows, strict=True):
        assert first.file == second.file == file
        assert first.label == second.label
        assert small.startswith(b"\xff\xd8")  # a JPEG


def test_who_stops_asking_stops_the_work(exported, cell_files, monkeypatch):
    read = []
    monkeypatch.setattr(core, "read_image", lambda source: read.append(source) or core.Image.open(source).convert("RGB"))
    predictions = Classifier.load(exported).predict(cell_files * 100, batch_size=2)
    next(predictions)
    predictions.close()
    threads.pool().submit(lambda: None).result()  # what was queued before is done
    assert len(read) <= 2 * 2 + threads.count()


@pytest.mark.parametrize(
    ("quota", "asked", "expected"),
    [("200000 100000", "", 2), ("max 100000", "", 8), ("50000 100000", "", 1), ("", "3", 3), ("400000 100000", "16", 4)],
)
def test_the_cores_are_those_that_the_process_may_use(tmp_path, monkeypatch, quota, asked, expected):
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    if quota:
        threads.QUOTA.write_text(quota)
    assert threads.count() == expected
