"""The pictures out of distribution, and the table of what a model says of them."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest

from cells.classes import LABELS
from cells.model.folder import UNCERTAINTY_FILE
from cells.model.uncertainty import Uncertainty
from cells.synthetic import draw_cell
from train.__main__ import main
from train.studies import ood_eval


def encoded(cell_type: str) -> bytes:
    buffer = io.BytesIO()
    draw_cell(cell_type).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_kind_is_the_same_twice_and_no_two_are_alike():
    sources = [encoded("neutrophil"), encoded("platelet")]
    made = [{kind: np.asarray(next(images)) for kind, images in ood_eval.kinds(sources).items()} for _ in range(2)]
    assert list(made[0]) == ["test cells", "photographs", "noise", "blank fields", *ood_eval.ALTERATIONS]
    for kind, pixels in made[0].items():
        np.testing.assert_array_equal(pixels, made[1][kind])
        others = [other for name, other in made[0].items() if name != kind]
        assert not any(np.array_equal(pixels, other) for other in others)


def test_photographs_need_no_network_and_are_rgb():
    pictures = list(ood_eval.photographs())
    assert len(pictures) == 5 * len(ood_eval.SAMPLES)
    assert {picture.mode for picture in pictures} == {"RGB"}
    assert np.asarray(pictures[5 * ood_eval.SAMPLES.index("horse")]).max() == 255  # of two values


def test_a_cell_of_half_size_lies_in_the_middle():
    image = draw_cell("lymphocyte")
    pixels = np.asarray(ood_eval.half_size(image, np.random.default_rng(0)), dtype=float)
    assert pixels.shape == np.asarray(image).shape
    assert pixels[:80].std((0, 1)).max() == 0
    dark = [(picture[..., 1] < 100).sum() for picture in (np.asarray(image, dtype=float), pixels)]
    assert dark[1] == pytest.approx(dark[0] / 4, rel=0.1)


@pytest.mark.parametrize("cell_type", LABELS)
def test_corners_hold_red_cells_only(cell_type):
    for seed in range(5):
        image = draw_cell(cell_type, seed)
        corner = ood_eval.red_cells(image, np.random.default_rng(seed))
        assert corner.size == image.size
        assert np.asarray(corner)[..., 1].min() > 120  # nuclei are darker


def test_a_picture_with_nuclei_in_every_corner_is_left_out():
    image = draw_cell("monocyte")
    for corner in ((0, 0), (280, 0), (0, 280), (280, 280)):
        image.paste((95, 55, 140), (*corner, corner[0] + 40, corner[1] + 40))
    assert ood_eval.red_cells(image, np.random.default_rng(0)) is None


def test_the_command_writes_a_row_per_model_and_kind(model_folder, parquet, pbc_rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ood_eval, "DRAWN", 3)
    monkeypatch.setattr(ood_eval, "SAMPLES", ("coffee",))
    split = pd.DataFrame({"image_id": pbc_rows["image_id"], "split": "train"})
    split.loc[:1, "split"] = "test"
    split.to_csv(tmp_path / "split.csv", index=False)
    folder = shutil.copytree(model_folder, tmp_path / "tiny")
    Uncertainty(review_below=0.0).save(folder / UNCERTAINTY_FILE)
    command = ["ood_eval", str(folder), "--data", parquet, "--split", str(tmp_path / "split.csv")]
    assert main([*command, "--out", str(tmp_path / "ood_eval.csv")]) == 0
    measured = pd.read_csv(tmp_path / "ood_eval.csv").set_index("kind")
    assert measured["pictures"].to_dict() == {
        **{"test cells": 2, "photographs": 5, "noise": 3, "blank fields": 3},
        **dict.fromkeys(ood_eval.ALTERATIONS, 2),
    }
    assert set(measured["model"]) == {"tiny"}
    assert (measured["unfamiliar"] == 0).all()  # it has no measure of it
    assert (measured["ok"] == 1).all()
    assert "blank fields" in capsys.readouterr().out
    (tmp_path / "split.csv").write_text("image_id,split\nBA_999,test\n")
    assert main([*command, "--out", str(tmp_path / "ood_eval.csv")]) == 2
    assert "none of its test pictures" in capsys.readouterr().err
