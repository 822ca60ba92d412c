"""What models say of cells of a type that they do not know: the command's rows and the page of them."""

from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest

from cells.classes import LABELS
from cells.model.prediction import Prediction
from train import backend
from train.studies import compare, unknown_types

TEN = (*LABELS, "blast", "smudge")


@pytest.fixture
def dataset() -> datasets.Dataset:
    """Two promonocytes of a patient, one of another who is for test, a blast, a monocyte, and a cell without a label."""
    types = ["promonocyte", "promonocyte", "promonocyte", "blast", "monocyte", ""]
    columns = {"image_id": list("abcdef"), "cell_type": types, "source": ["jhu"] * 6, "group": ["1", "1", "2", "1", "1", "1"]}
    return datasets.Dataset.from_dict(columns)


@pytest.fixture
def rows(dataset, monkeypatch):
    """rows(labels) -> what is measured of a model that calls the first cell of a type a monocyte, ok, and others suspected."""

    def call(labels: tuple[str, ...]) -> list[dict]:
        def answers(model, cells) -> list[Prediction]:
            sure = np.eye(len(labels))[labels.index("monocyte")]
            first = Prediction("cell", sure, "ok", "", labels)
            others = Prediction("cell", sure[::-1], "review", "", labels, suspected_blast="blast" in labels)
            return [first, *[others] * (len(cells) - 1)]

        monkeypatch.setattr(backend, "predict", answers)
        return list(unknown_types.measure(SimpleNamespace(labels=labels), dataset, {"c": "test", "a": "train"}))

    return call


def test_a_row_is_of_a_type_that_the_model_does_not_know(rows):
    (one,) = rows(TEN)
    assert (one["laboratory"], one["cell_type"], one["pictures"], one["groups"]) == ("jhu", "promonocyte", 2, 1)
    assert (one["ok"], one["unfamiliar"], one["suspected_blast"]) == (0.5, 0, 0.5)
    assert one["answers"].startswith("monocyte 50%; ")


def test_blasts_are_unknown_to_a_model_of_eight_types_which_suspects_none(rows):
    found = {one["cell_type"]: one for one in rows(LABELS)}
    assert list(found) == ["blast", "promonocyte"]
    assert found["blast"]["ok"] == 1
    assert np.isnan(found["blast"]["suspected_blast"])


def test_they_are_on_the_page(rows, tmp_path):
    measured = [{"model": "ten"} | one for one in rows(TEN)] + [{"model": "eight"} | one for one in rows(LABELS)]
    pd.DataFrame(measured).to_csv(tmp_path / "unknown_types.csv", index=False)
    page = compare._unknown_types(tmp_path)
    assert "| `ten` | promonocyte | 2 | 1 | 50.0% | 0.0% | 50.0% | monocyte 50%;" in page
    assert "| `eight` | blast | 1 | 1 | 100.0% | 0.0% |  | monocyte 100% |" in page
    assert "unknown_types ten eight --data" in page
