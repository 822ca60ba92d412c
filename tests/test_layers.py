"""The rooms of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NETWORK = {"requests", "httpx", "urllib", "http", "huggingface_hub", "aiohttp", "socket"}

FORBIDDEN = {
    "cells": {"app", "train", "hub", "page", "gradio", *NETWORK},
    "train": {"app", "hub", "page", "gradio", *NETWORK},
    "hub": {"app", "train", "page", "gradio"},
    "page": {"app", "train", *NETWORK},
}
GRADIO = {"layout.py", "api.py", "gradio_internals.py"}  # of page: the others are functions of plain values


def imports(file: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        assert not imports(file) & FORBIDDEN[room], file


def test_three_files_of_page_know_gradio_and_one_its_private_parts():
    files = sorted((ROOT / "page").glob("*.py"))
    assert {file.name for file in files if "gradio" in imports(file)} == GRADIO
    private = {"queueing", "route_utils", "context", "state_holder", "_queue", "upload_file_set", "temp_file_sets"}
    for file in (*files, ROOT / "app.py"):
        words = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        words |= {alias.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
                  for alias in node.names}  # fmt: skip
        assert not words & private or file.name == "gradio_internals.py", file


def test_app_py_is_short():
    assert len((ROOT / "app.py").read_text().splitlines()) <= 150


def test_ray_is_imported_in_one_file_of_cells_only():
    files = (file for room in (*FORBIDDEN, ".") for file in (ROOT / room).glob("**/*.py" if room != "." else "*.py"))
    assert [file.name for file in files if "ray" in imports(file)] == ["cluster.py"]


def test_the_app_does_not_import_training():
    assert "train" not in imports(ROOT / "app.py")


def test_cells_brings_neither_gradio_nor_training_nor_ray_along():
    code = "import sys, cells.__main__; print(sorted({'gradio', 'datasets', 'train', 'hub', 'app', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_opens_before_anything_heavy_is_imported():
    code = "import sys, app; print(sorted({'torch', 'transformers', 'timm', 'onnxruntime', 'captum'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_shadows_a_library():
    names = {file.stem for file in ROOT.rglob("*.py") if ".venv" not in file.parts}
    assert not names & {"evaluate", "datasets", "torch", "timm", "accelerate", "transformers", "utils"}


def test_no_pickle_is_read_or_written():
    for room in (*FORBIDDEN, "."):
        for file in (ROOT / room).glob("**/*.py" if room != "." else "*.py"):
            assert not imports(file) & {"pickle", "joblib", "dill"}, file
            assert "torch.load" not in file.read_text(), file
            assert "torch.save" not in file.read_text(), file
