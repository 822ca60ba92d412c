"""What the audit finds: one picture under two labels, two cells in one picture, a label that does not fit."""

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cells.classes import LABELS
from cells.synthetic import draw_cell
from train.__main__ import main
from train.run import train
from train.studies import audit


@pytest.fixture(scope="module")
def finds(tiny_recipe, pbc_rows, tmp_path_factory) -> pd.DataFrame:
    """The audit of a run on drawn cells, among them one picture under two names and two labels."""
    rows = {key: list(values) for key, values in pbc_rows.items()}
    source = rows["image"][rows["cell_subtype"].index("EO")]
    for key, value in (("image_id", "BNE_191112"), ("image", source), ("cell_type", "neutrophil"), ("cell_subtype", "BNE")):
        rows[key].append(value)
    folder = tmp_path_factory.mktemp("audit")
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(folder / "cells.parquet")
    assert train(tiny_recipe, [str(folder / "cells.parquet")], None, folder / "run") == 0
    assert main(["audit", str(folder / "run"), "--data", str(folder / "cells.parquet")]) == 0
    assert Image.open(folder / "run" / "audit" / "contact_sheet.png").size[0] > 600
    return pd.read_csv(folder / "run" / "audit" / "finds.csv")


def test_one_picture_under_two_labels_comes_first(finds):
    first = finds.iloc[0]
    assert first["kind"] == "same cells, two labels"
    assert {first["image_id"], first["other_image_id"]} == {"BNE_191112", "EO_1000"}
    assert {first["label"], first["other_label"]} == {"neutrophil", "eosinophil"}
    assert first["score"] == pytest.approx(1, abs=1e-3)


def test_finds_of_a_kind_come_surest_first(finds):
    assert set(finds["kind"]) <= set(audit.KINDS)
    for _, scores in finds.groupby("kind")["score"]:
        assert scores.is_monotonic_decreasing
    order = finds["kind"].map(audit.KINDS.index)
    assert order.is_monotonic_increasing


def test_a_label_that_does_not_fit_is_found():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 40)
    probabilities = rng.dirichlet(np.ones(8), len(labels)) * 0.1 + 0.9 * np.eye(8)[labels]
    labels[5] = 3  # it is a 0
    assert audit._wrong_labels(labels, probabilities)[0][:2] == ("label", 5)


@pytest.mark.parametrize("label", LABELS)
def test_one_cell_is_not_two(label):
    for seed in range(3):
        assert audit.second_nucleus(np.array(draw_cell(label, seed))) < audit.SECOND_NUCLEUS


def test_two_cells_are_seen():
    both = Image.new("RGB", (360, 363), (250, 232, 214))
    for seed, place in ((2, (20, 100)), (3, (200, 100))):
        both.paste(draw_cell("lymphocyte", seed).crop((110, 110, 250, 250)), place)
    assert audit.second_nucleus(np.array(both)) >= audit.SECOND_NUCLEUS
