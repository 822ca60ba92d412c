"""The k-NN and the linear probe of a model folder."""

import numpy as np
import pandas as pd
import pytest
import torch

from cells import pbc
from cells.classes import LABELS
from cells.model.classifier import Classifier
from train import data, split
from train.__main__ import main
from train.evaluation import compute_logits, head_inputs
from train.network import adapter
from train.studies import probe


@pytest.fixture(scope="module")
def split_file(parquet, tmp_path_factory) -> str:
    dataset = data.load([parquet])
    file = tmp_path_factory.mktemp("split") / "split.csv"
    pbc.write_split(file, dataset["image_id"][:], split.split(dataset, np.arange(len(dataset))))
    return str(file)


def test_head_inputs_are_what_the_head_makes_the_logits_of(model_folder):
    network = Classifier.load(model_folder).network
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        logits = adapter(network).head(torch.from_numpy(head_inputs(network, images)))
    torch.testing.assert_close(logits, compute_logits(network, images))


def test_both_probes_of_a_model_folder_are_scored(model_folder, parquet, split_file, tmp_path):
    out = tmp_path / "probe.csv"
    assert main(["probe", str(model_folder), "--data", parquet, "--split", split_file, "--out", str(out)]) == 0
    rows = pd.read_csv(out)
    assert list(rows["probe"]) == ["k-NN", "linear"]
    assert set(rows["test_pictures"]) == {sum(part == "test" for part in pbc.read_split(split_file).values())}
    # The drawn types differ in colour: even features of random weights tell most of them apart.
    assert (rows["test_balanced_accuracy"] > 2 / len(LABELS)).all()


def test_the_setting_is_chosen_on_validation_alone(model_folder, parquet, split_file, monkeypatch):
    """A candidate that knows the test labels, and nothing else, is not chosen."""

    class Knowing:
        def fit(self, features, labels):
            return self

        def predict(self, features):
            return truth if len(features) == len(truth) else np.zeros(len(features), dtype=int)

    parts = {part: data.part(data.load([parquet]), split_file, part) for part in probe.PARTS}
    truth = np.array(data.label(parts["test"], LABELS)["label"][:])
    honest = probe.probes()["k-NN"]
    monkeypatch.setattr(probe, "probes", lambda: {"k-NN": {"knowing": Knowing(), **honest}})
    (row,) = probe.measure(Classifier.load(model_folder), parts)
    assert row["setting"] in honest
