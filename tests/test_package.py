"""The installable package: what is in the wheel, and that an installed copy works without the clone."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT, embedded, embedded_folder
from cells.synthetic import draw_cell

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
PACKAGES = ("cells", "hub", "page", "train")
SOURCES = ("app.py", "pyproject.toml", "LICENSE", "models", *PACKAGES)
# The page's templates and words, and the card's, are data of their packages.
SCRIPT = """
import app, cells, hub.card, hub.catalog
from page import static, views
from train import recipe
assert "resnet18_scratch" in recipe.names()
assert "resnet18" in views.workbench("es", ["resnet18"])
assert {"main.js", "review.js", "view.js"} <= static.modules().keys() and static.css()
assert not list(static.FOLDER.glob("*.test.js"))
assert hub.card.TEMPLATE.is_file() and hub.catalog.LIST.is_file()
print(cells.__file__)
"""


def test_every_folder_with_code_is_a_package_of_the_wheel():
    folders = {file.parent for name in PACKAGES for file in (ROOT / name).rglob("*.py")}
    assert set(SETUPTOOLS["packages"]) == {".".join(folder.relative_to(ROOT).parts) for folder in folders} | {"cells.models"}


def test_the_licence_names_each_models_folder_beside_what_its_card_says():
    """The first sentence on weights is on those of PBC alone, the second on the others."""
    of_pbc, others = re.findall(r"The weights in [^:]*?(?= The|:)", " ".join((ROOT / "LICENSE").read_text().split()))
    assert "CC BY 4.0" in of_pbc
    for card in (ROOT / "models").glob("*/README.md"):
        licence = yaml.safe_load(card.read_text().split("---")[1])["license"]
        assert f"models/{card.parent.name}" in {"cc-by-4.0": of_pbc, "other": others}[licence]
    assert PROJECT["project"]["license"] == "MIT AND CC-BY-4.0 AND LicenseRef-model-cards"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package, built from a copy of the clone (a build leaves files beside the code) and installed."""
    source, wheels, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "target"))
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("onnx", "__pycache__", "*--*", ".pull-*"))
        else:
            shutil.copy(ROOT / name, source / name)
    (source / "models" / "user--cells").mkdir()
    (source / "models" / "user--cells" / "config.json").write_text("{}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, source], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, *wheels.iterdir()], check=True)
    return target


def call(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    """A command of the installed copy, in a folder of its own: nothing of the clone is on sys.path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_an_installed_copy_classifies_from_its_console_command(installed, tmp_path):
    Classifier.load(DEFAULT)  # exports the network, as the installed copy would; a copy of the files saves it the time
    exported = embedded_folder(DEFAULT) / "onnx"
    if exported.is_dir():
        shutil.copytree(exported, installed / "cells" / "models" / DEFAULT / "onnx")
    draw_cell("neutrophil").save(tmp_path / "cell.png")
    done = call(installed, tmp_path, str(installed / "bin" / "blood-cells"), "classify", "cell.png", "--out", "cells.csv")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "cells.csv")
    assert table["prediction"].tolist() == ["neutrophil"]
    assert table["model"][0].startswith(f"{DEFAULT}@")


def test_an_installed_copy_has_page_training_and_models_and_leaves_pulled_ones_out(installed, tmp_path):
    done = call(installed, tmp_path, sys.executable, "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(installed / "cells" / "__init__.py")
    models = {path.parent.name for path in (installed / "cells" / "models").glob("*/config.json")}
    assert models == {name for name in embedded() if "--" not in name}
    (metadata,) = installed.glob("*.dist-info/METADATA")
    assert f"License-Expression: {PROJECT['project']['license']}\n" in metadata.read_text()
    done = call(installed, tmp_path, sys.executable, "-m", "hub", "space", "user/page", "--dry-run")
    assert done.returncode == 2
    assert "needs a clone" in done.stderr
