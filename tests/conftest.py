"""Fixtures that several files share. Everything is made here: no network, no dataset, no GPU."""

import asyncio
import os
import resource
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"  # networks are tiny here, and threads of processes that share two cores wait for each other

import datasets
import numpy as np
import pytest
import torch
from hub_server import Hub
from torch.optim.swa_utils import update_bn

from benchmarks import steps
from cells.classes import LABELS
from cells.synthetic import draw_cell
from train import recipe
from train.network import build, export

datasets.disable_progress_bars()

ROOT = Path(__file__).resolve().parent.parent
PER_SUBTYPE = 12
# The files that take longest come first: one of them at the end would run while the other process has nothing to do.
LONGEST = ("checkpoint", "browser", "faults", "cluster", "end_to_end", "training", "headers", "space", "hostile")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    """A test that reaches for the network fails, and says where to."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def pbc_rows() -> dict[str, list]:
    """Drawn cells with the columns of PBC: PER_SUBTYPE of each of the 13 subtypes."""
    return steps.pbc_rows(PER_SUBTYPE)


@pytest.fixture(scope="session")
def parquet(pbc_rows, tmp_path_factory) -> str:
    """The drawn cells as the Hub's dataset has them: one parquet file."""
    path = tmp_path_factory.mktemp("data") / "cells.parquet"
    steps.write_parquet(pbc_rows, path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_recipe() -> recipe.Recipe:
    """A small ResNet from nothing at the smallest size."""
    return recipe.load("resnet18_scratch").override(
        ["architecture=test_resnet", "image_size=32", "progressive_resizing=()", "epochs=2", "batch_size=32", "lr=0.05"]
    )


@pytest.fixture(scope="session")
def write_random():
    """write_random(recipe, folder) -> the folder of a model with random weights.

    Its batch-norm statistics are of drawn cells: without them every picture has the same answer.
    """

    def write(chosen: recipe.Recipe, folder: Path) -> Path:
        torch.manual_seed(0)
        network = build(chosen)
        side = chosen.image_size
        cells = [draw_cell(label, seed).convert("RGB").resize((side, side)) for label in LABELS for seed in range(2)]
        update_bn([torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2) / 127.5 - 1], network)
        export(network, folder)
        return folder

    return write


@pytest.fixture(scope="session")
def model_folder(tiny_recipe, write_random, tmp_path_factory):
    """A model folder with random weights."""
    return write_random(tiny_recipe, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def cell_files(tmp_path_factory) -> list[str]:
    """Three drawn cells on disk."""
    folder = tmp_path_factory.mktemp("cells")
    files = []
    for cell_type in ("neutrophil", "eosinophil", "platelet"):
        draw_cell(cell_type).save(folder / f"{cell_type}.png")
        files.append(str(folder / f"{cell_type}.png"))
    return files


@pytest.fixture
def run_async():
    """run_async(coroutine) in a thread of its own, since the browser has a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda coroutine: pool.submit(asyncio.run, coroutine).result()


@pytest.fixture
def hub():
    """The Hub on this machine."""
    server = Hub()
    yield server
    server.close()


@pytest.fixture
def hub_environment(hub, tmp_path) -> dict[str, str]:
    """What a process needs to take that server for the Hub, in a home of its own, signed in."""
    return os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": hub.token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


@pytest.fixture
def run(hub_environment):
    """run(*arguments) -> the finished `python -m hub ...`, signed in."""

    def call(*arguments: str, token: str | None = None, largest_file: int = -1) -> subprocess.CompletedProcess:
        own = hub_environment | ({"HF_TOKEN": token} if token else {})
        command = [sys.executable, "-m", "hub", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=own,
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY)),
        )
        assert "hf_" not in done.stdout + done.stderr  # no token, ever
        return done

    return call


@pytest.fixture(scope="session")
def browser():
    """Chromium, or a word on why there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set and no browser was found")
        pytest.skip("no browser was found: install Chromium to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
