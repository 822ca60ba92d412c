"""Fixtures that several files share. Everything is made here: no network, no dataset, no GPU."""

import io
import os
import socket

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["OMP_NUM_THREADS"] = "1"  # networks are tiny here, and threads of processes that share two cores wait for each other

import datasets
import pytest
import torch
from drawn import draw_cell

from cells.classes import SUBTYPES
from train import model, recipe

datasets.disable_progress_bars()

PER_SUBTYPE = 12


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
    rows = {"image_id": [], "image": [], "cell_type": [], "cell_subtype": []}
    for index, subtype in enumerate(SUBTYPES):
        for number in range(PER_SUBTYPE):
            buffer = io.BytesIO()
            draw_cell(subtype.cell_type, seed=100 * index + number).resize((96, 96)).save(buffer, "PNG")
            rows["image_id"].append(f"{subtype.code}_{1000 * index + number}")
            rows["image"].append({"bytes": buffer.getvalue(), "path": None})
            rows["cell_type"].append(subtype.cell_type)
            rows["cell_subtype"].append(subtype.code)
    return rows


@pytest.fixture(scope="session")
def parquet(pbc_rows, tmp_path_factory) -> str:
    """The drawn cells as the Hub's dataset has them: one parquet file."""
    path = tmp_path_factory.mktemp("data") / "cells.parquet"
    dataset = datasets.Dataset.from_dict(pbc_rows).cast_column("image", datasets.Image())
    dataset.to_parquet(path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_recipe() -> recipe.Recipe:
    """ResNet18 from nothing at the smallest size."""
    return recipe.load("resnet18_scratch").override(["image_size=32", "growth=()", "epochs=2", "batch_size=32", "lr=0.05"])


@pytest.fixture(scope="session")
def model_folder(tiny_recipe, tmp_path_factory):
    """A model folder with random weights."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    model.export(model.build(tiny_recipe), tiny_recipe, folder)
    return folder


@pytest.fixture(scope="session")
def cell_files(tmp_path_factory) -> list[str]:
    """Three drawn cells on disk."""
    folder = tmp_path_factory.mktemp("cells")
    files = []
    for cell_type in ("neutrophil", "eosinophil", "platelet"):
        draw_cell(cell_type).save(folder / f"{cell_type}.png")
        files.append(str(folder / f"{cell_type}.png"))
    return files
