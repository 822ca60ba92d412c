"""No pickle is ever read and no code of a Hub repo ever run: not by what this code calls, and not when a model tries."""

import ast
import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cells.model import onnx_network
from cells.model.classifier import Classifier
from cells.model.folder import ONNX_FILE, QUANTIZED_FILE, ModelError
from cells.synthetic import draw_cell
from hub import publish

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app.py", "cells", "page", "hub", "train", "benchmarks")
MODULES = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "runpy"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "torch.jit.load", "torch.hub.load"}
CALLS |= {"pd.read_pickle", "np.loadtxt", "yaml.load", "evaluate.load", "os.system", "allow_pickle"}
# Weights that a package brings, by torch's weights-only loader, where their digest is the known one: tests/test_packages.py.
ALLOWED = {"train/packages.py": {"torch.load"}}


def files() -> list[Path]:
    found = [file for room in ROOMS for file in ([ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py"))]
    assert len(found) > 50
    return found


def uses(file: Path) -> set[str]:
    """Modules that a file imports, functions that it calls by their dotted names, and the names of arguments that it gives."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call):
            found |= {ast.unparse(node.func), *(keyword.arg for keyword in node.keywords if keyword.arg)}
    return found


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_reads_a_pickle_or_runs_what_it_was_given(file):
    assert not uses(file) & (MODULES | CALLS) - ALLOWED.get(str(file.relative_to(ROOT)), set())


@pytest.mark.parametrize("room", ["cells", "train", "hub"])
def test_transformers_is_told_everywhere_to_run_no_code_of_a_repo(room):
    """Untold, it asks at a terminal, where a hasty "y" runs it."""
    for file in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and re.search(r"\.from_pretrained$|^pipeline$", ast.unparse(node.func)):
                assert "trust_remote_code=False" in ast.unparse(node)
            assert not (
                isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False"
            )


class Bomb:
    """Of a pickle: whoever reads it, runs it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


CODE = "from pathlib import Path\nPath({mark!r}).touch()\nclass Config: pass\nclass Model: pass\n"


@pytest.fixture
def hostile(model_folder, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """(a model's folder with programs wherever one can hide, the file that appears when one of them runs)."""
    folder, mark = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "it ran"
    bomb = pickle.dumps(Bomb(mark))
    for name in ("pytorch_model.bin", "model.bin", "training_args.bin", "optimizer.pt", "model.pkl", "trust.npy", "trust.npz"):
        (folder / name).write_bytes(bomb)
    code = CODE.format(mark=str(mark))
    for name in ("modeling_hostile.py", "configuration_hostile.py", "processing_hostile.py", "__init__.py", "conftest.py"):
        (folder / name).write_text(code)
    places = {"AutoConfig": "configuration_hostile.Config", "AutoModelForImageClassification": "modeling_hostile.Model"}
    places |= {"AutoImageProcessor": "processing_hostile.Model"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": places}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # whoever asks, may
    return folder, mark


def test_programs_in_a_models_folder_are_ignored(hostile, model_folder):
    folder, mark = hostile
    ours, theirs = (Classifier.load(one).probabilities([draw_cell("ig").convert("RGB")]) for one in (model_folder, folder))
    assert (ours == theirs).all()
    assert not mark.exists()


def test_a_model_whose_kind_is_its_own_code_is_refused(hostile):
    folder, mark = hostile
    config = json.loads((folder / "config.json").read_text())
    for kind in ("hostile", "../hostile", ""):
        (folder / "config.json").write_text(json.dumps(config | {"model_type": kind, "architectures": ["Model"]}))
        with pytest.raises(ModelError, match="cannot be loaded"):
            Classifier.load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("left", [(), ("pytorch_model.bin",)])
def test_weights_that_are_a_pickle_are_refused(hostile, left):
    folder, mark = hostile
    bomb = (folder / "pytorch_model.bin").read_bytes()
    (folder / "model.safetensors").unlink()
    if not left:  # not even under the name of the other kind
        (folder / "model.safetensors").write_bytes(bomb)
    with pytest.raises(ModelError, match="cannot be loaded"):
        Classifier.load(folder)
    assert not mark.exists()


def test_an_exported_network_that_is_a_pickle_is_not_read(hostile):
    folder, mark = hostile
    bomb = (folder / "pytorch_model.bin").read_bytes()
    for name in (ONNX_FILE, QUANTIZED_FILE):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bomb)
    (folder / "trust.safetensors").write_bytes(bomb)
    assert onnx_network.load(folder) is None
    Classifier.load(folder)
    assert not mark.exists()


def test_a_checkpoint_that_is_a_pickle_is_refused(hostile, tmp_path):
    from train import checkpoint

    folder, mark = hostile
    shutil.copy(folder / "pytorch_model.bin", tmp_path / checkpoint.LAST)
    with pytest.raises(checkpoint.CheckpointError, match="is broken"):
        checkpoint.read(tmp_path / checkpoint.LAST)
    assert not mark.exists()


def test_neither_programs_nor_pickles_are_published(hostile, model_folder):
    folder, _ = hostile
    for name in publish.NEEDED:
        if not (folder / name).exists():
            (folder / name).write_text("{}")
    assert not [name for name in publish.contents(folder) if name.endswith((".py", ".bin", ".pt", ".pkl", ".npy", ".npz"))]


def test_the_embedded_weights_are_tensors_alone():
    for file in ROOT.glob("models/*/*.safetensors"):
        assert all(isinstance(one, torch.Tensor) for one in load_file(file).values())
    kinds = {file.suffix for file in (ROOT / "models").rglob("*") if file.is_file()}
    assert kinds <= {".json", ".safetensors", ".md", ".png", ".csv", ".onnx", ".txt"}
