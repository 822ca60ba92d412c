"""The exported network: it answers as PyTorch does, and PyTorch serves wherever it cannot."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cells.classes import LABELS
from cells.model import classifier as core
from cells.model import device, onnx_network, threads
from cells.model import export as export_module
from cells.model import folder as model_folder
from cells.model.classifier import Classifier, classify_all
from cells.model.export import ExportError, calibrate, export, quantize
from cells.model.folder import ONNX_FILE, QUANTIZED_FILE, QUANTIZED_RECORD
from cells.model.onnx_network import OnnxNetwork
from cells.model.torch_network import TorchNetwork
from cells.synthetic import draw_cell
from train import recipe
from train.network import build
from train.network import export as export_folder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", params=["resnet", "vit"])
def exported(request, tmp_path_factory) -> Path:
    """A model folder with random weights and the exported network."""
    chosen = recipe.load("resnet18_scratch" if request.param == "resnet" else "vit_tiny_scratch")
    folder = tmp_path_factory.mktemp("exported") / request.param
    torch.manual_seed(0)
    chosen = chosen.override(["image_size=32", "growth=()", "teacher=None"])
    export_folder(build(chosen), folder)
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


@pytest.mark.parametrize(("has_driver", "usable"), [(False, True), (True, False), (True, True)])
def test_a_gpu_is_one_that_has_a_driver_and_that_pytorch_can_use(tmp_path, monkeypatch, has_driver, usable):
    asked = []
    monkeypatch.setattr(device, "DRIVERS", (tmp_path / "nvidiactl",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked.append(1) or usable)
    if has_driver:
        (tmp_path / "nvidiactl").touch()
    device.has_gpu.cache_clear()
    try:
        assert [device.has_gpu() for _ in range(3)] == [has_driver and usable] * 3
        assert len(asked) == has_driver  # once
    finally:
        device.has_gpu.cache_clear()


def test_to_look_for_a_gpu_starts_no_program_and_writes_no_file(exported, cell_files, tmp_path):
    """ctypes.util.find_library ran a compiler on a file in the temporary folder."""
    code = (
        "import sys\n"
        "def listen(event, arguments):\n"
        "    assert event not in ('subprocess.Popen', 'os.system', 'os.posix_spawn', 'os.exec'), arguments\n"
        "    assert event != 'open' or not str(arguments[0]).startswith(sys.argv[1]), arguments\n"
        "sys.addaudithook(listen)\n"
        "from cells.model.classifier import Classifier\n"
        f"list(Classifier.load({str(exported)!r}).predict({cell_files!r}))\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment, check=True)


@pytest.fixture
def own(exported, tmp_path, monkeypatch) -> Path:
    """An embedded model that was not exported yet."""
    monkeypatch.setattr(model_folder, "EMBEDDED", tmp_path / "models")
    return shutil.copytree(exported, tmp_path / "models" / "own", ignore=shutil.ignore_patterns("onnx"))


def test_many_at_once_export_an_embedded_model_once_and_all_use_it(own, monkeypatch):
    exports = []
    monkeypatch.setattr(core, "export", lambda folder: exports.append(folder) or export(folder))
    with ThreadPoolExecutor(6) as visitors:
        loaded = list(visitors.map(Classifier.load, ["own"] * 6))
    assert [one.backend.name for one in loaded] == ["fp32"] * 6
    assert len(exports) == 1


def test_networks_are_exported_one_after_the_other(exported, tmp_path, monkeypatch):
    inside, most = [], []

    def watched(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)  # so that another, which does not wait, comes in
        inside.pop()
        raise RuntimeError("no export in this test")

    monkeypatch.setattr(export_module, "_to_onnx", watched)
    folders = [shutil.copytree(exported, tmp_path / name, ignore=shutil.ignore_patterns("onnx")) for name in "abc"]
    with ThreadPoolExecutor(3) as visitors:
        results = [visitors.submit(export, folder) for folder in folders]
    assert [type(result.exception()) for result in results] == [ExportError] * 3
    assert most == [1, 1, 1]


def test_many_at_once_load_pytorchs_network_once(copy, monkeypatch):
    loads = []
    monkeypatch.setattr(core, "_torch_network", lambda folder: loads.append(folder) or TorchNetwork(folder))
    classifier = Classifier.load(copy)
    with ThreadPoolExecutor(6) as visitors:
        networks = list(visitors.map(lambda _: classifier.network, range(6)))
    assert len(loads) == 1
    assert all(network is networks[0] for network in networks)


def test_where_the_export_is_not_used_the_log_says_so_in_one_line(own, monkeypatch, caplog):
    def fail(folder):
        raise ExportError(f"{folder.name} cannot be exported: no such operator")

    monkeypatch.setattr(core, "export", fail)
    with caplog.at_level(logging.INFO):
        assert Classifier.load("own").backend.name == "torch"
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("cells")]
    assert line == "own: PyTorch answers, since the network could not be exported (own cannot be exported: no such operator)"


def test_the_log_names_an_exported_network_that_cannot_be_used(copy, caplog):
    (copy / ONNX_FILE).write_bytes(b"broken")
    assert Classifier.load(copy).backend.name == "torch"
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("cells")]
    assert line.startswith("copy: model.onnx is not used (")
    assert str(copy.parent) not in line


def test_an_embedded_model_is_one_however_its_folder_is_written(own, exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(core, "export", lambda folder: shutil.copytree(exported / "onnx", folder / "onnx"))
    (tmp_path / "link").symlink_to(own)
    for place in ("own", "models/own", "./models/../models/own/", own, "link"):
        shutil.rmtree(own / "onnx", ignore_errors=True)
        classifier = Classifier.load(place)
        assert (classifier.name, classifier.backend.name) == ("own", "fp32"), place


def test_a_classifier_goes_on_after_a_fork(exported, cell_files):
    """Of a pool of threads a fork takes the queue along, not the threads."""
    code = (
        "import os, signal, sys; from cells.model.classifier import Classifier\n"
        f"classifier = Classifier.load({str(exported)!r})\n"
        f"before = list(classifier.predict({cell_files!r}))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(60)\n"
        f"    os._exit(list(classifier.predict({cell_files!r})) != before)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_classifiers_share_one_pool_of_as_many_threads_as_cores():
    assert threads.pool() is threads.pool()
    assert threads.pool()._max_workers == threads.count()


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
    export_folder(build(tiny_recipe), tmp_path)
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
