"""The backend of a model folder: chosen on validation pictures, scored on the test part once, and recorded so."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from cells.model.folder import CALIBRATION_FILE, ONNX_FILE, QUANTIZED_FILE, QUANTIZED_RECORD, may_quantize
from train import backend
from train.__main__ import main
from train.studies import onnx_check

VALIDATION, TEST = 13, 26


@pytest.fixture(scope="module")
def checked(model_folder, parquet, pbc_rows, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """(a model folder after the command, its table)."""
    root = tmp_path_factory.mktemp("check")
    folder = shutil.copytree(model_folder, root / "tiny")
    ids = pbc_rows["image_id"]
    parts = ["validation" if row % 12 == 0 else "test" if row % 12 < 3 else "train" for row in range(len(ids))]
    assert (parts.count("validation"), parts.count("test")) == (VALIDATION, TEST)
    pd.DataFrame({"image_id": ids, "split": parts}).to_csv(root / "split.csv", index=False)
    command = ["onnx_check", str(folder), "--data", parquet, "--split", str(root / "split.csv")]
    assert main([*command, "--out", str(root / "onnx_check.csv")]) == 0
    return folder, pd.read_csv(root / "onnx_check.csv")


def test_the_forms_are_compared_on_validation_and_only_the_one_that_serves_is_scored_on_test(checked):
    folder, table = checked
    compared, scored = table[table["part"] == "validation"], table[table["part"] == "test"]
    assert list(compared["form"]) == list(onnx_check.FORMS.values())
    assert set(compared["pictures"]) == {VALIDATION}
    serving = onnx_check.FORMS[backend.INT8 if may_quantize(folder) else backend.FP32]
    assert list(scored["form"]) == [serving]
    assert list(scored["pictures"]) == [TEST]
    assert scored[["fall", "same_answer"]].isna().all(axis=None)  # PyTorch does not see the test part


def test_the_record_is_of_validation_and_names_its_part(checked):
    folder, table = checked
    record = json.loads((folder / QUANTIZED_RECORD).read_text())
    row = table[(table["part"] == "validation") & (table["form"] == onnx_check.FORMS[backend.INT8])].iloc[0]
    assert (record["part"], record["pictures"]) == ("validation", VALIDATION)
    assert record["fall"] == pytest.approx(row["fall"], abs=1e-5)
    assert ("test" in record) == (folder / QUANTIZED_FILE).is_file() == may_quantize(folder)
    assert record.get("test", {"pictures": TEST})["pictures"] == TEST


def test_equal_ranges_are_equal_bytes(checked):
    text = (checked[0] / CALIBRATION_FILE).read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize(("wrong", "expected"), [(0, backend.INT8), (1, backend.FP32)])
def test_8_bits_are_refused_for_what_they_lose_on_validation(checked, parquet, tmp_path, monkeypatch, wrong, expected):
    folder = shutil.copytree(checked[0], tmp_path / "tiny")
    rows = datasets.Dataset.from_parquet(parquet, cache_dir=str(tmp_path)).select(range(20)).add_column("label", [0] * 20)
    networks = {backend.FP32: "32 bits", backend.INT8: "8 bits"}
    (folder / QUANTIZED_FILE).write_bytes(b"")
    monkeypatch.setattr(backend, "onnx_networks", lambda folder, training: iter(networks.items()))
    monkeypatch.setattr(backend, "classifier", lambda folder, network, rule=None: network)

    def measure(network, rows):
        answers = np.zeros(len(rows), dtype=int)
        answers[: wrong if network == "8 bits" else 0] = 1
        return np.eye(8)[answers], None

    monkeypatch.setattr(backend, "measure", measure)
    assert backend.choose(folder, rows, rows) == expected
    assert (folder / QUANTIZED_FILE).is_file() == (expected == backend.INT8)
    assert json.loads((folder / QUANTIZED_RECORD).read_text())["fall"] == wrong / 20


def test_pytorch_serves_what_cannot_be_exported(model_folder, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(model_folder, tmp_path / "tiny", ignore=shutil.ignore_patterns("onnx"))
    (folder / QUANTIZED_RECORD).write_text('{"fall": 0.0}')  # of an earlier network

    def export(folder):
        raise backend.ExportError("an operation is unknown")

    monkeypatch.setattr(backend, "export", export)
    assert backend.choose(folder, None, None) == backend.TORCH
    assert "an operation is unknown" in capsys.readouterr().out
    assert not (folder / ONNX_FILE).exists()
    assert not (folder / QUANTIZED_RECORD).exists()
