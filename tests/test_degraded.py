"""Damaged pictures, the table of what they cost a model, and its figure."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from cells.model.classifier import Classifier
from cells.model.prediction import Prediction
from cells.synthetic import draw_cell
from train.__main__ import main
from train.studies import compare, degraded
from train.studies.degraded import DAMAGES

ROWS = 1 + 4 * len(DAMAGES)


@pytest.fixture
def command(model_folder, parquet, pbc_rows, tmp_path) -> list[str]:
    """The call that measures the tiny model on 4 test pictures."""
    split = pd.DataFrame({"image_id": pbc_rows["image_id"], "split": "train"})
    split.loc[::40, "split"] = "test"
    split.to_csv(tmp_path / "split.csv", index=False)
    command = ["degraded", str(model_folder), "--data", parquet, "--split", str(tmp_path / "split.csv")]
    return [*command, "--out", str(tmp_path / "degraded.csv")]


@pytest.fixture
def predicted(monkeypatch) -> list[int]:
    """How many pictures each call of classify_all was asked for."""
    asked, classify_all = [], degraded.classify_all

    def counted(classifiers, sources):
        sources = list(sources)
        asked.append(len(sources))
        return classify_all(classifiers, sources)

    monkeypatch.setattr(degraded, "classify_all", counted)
    return asked


def difference(image: Image.Image, other: Image.Image) -> float:
    """Root mean square, in grey levels."""
    return float(np.sqrt(((np.asarray(image, dtype=float) - np.asarray(other, dtype=float)) ** 2).mean()))


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_strength_is_worse_than_the_one_before_and_the_same_twice(damage):
    image = draw_cell("neutrophil")
    before = image.copy()
    made = [degraded.damaged(image, damage, strength, "BNE_1") for strength in (1, 2, 3, 4)]
    assert {(one.size, one.mode) for one in made} == {(image.size, "RGB")}
    differences = [difference(image, one) for one in made]
    assert differences == sorted(set(differences))
    assert differences[0] > 0
    assert degraded.damaged(image, damage, 2, "BNE_1") == made[1]
    assert image == before


@pytest.mark.parametrize("damage", ["noise", "illumination"])
def test_what_chance_decides_depends_on_the_picture(damage):
    image = Image.new("RGB", (40, 40), (128, 128, 128))
    assert degraded.damaged(image, damage, 3, "BNE_1") != degraded.damaged(image, damage, 3, "BNE_2")


def test_noise_has_its_strength_in_grey_levels():
    image = Image.new("RGB", (200, 200), (128, 128, 128))
    for strength, grey_levels in enumerate(DAMAGES["noise"].levels, 1):
        assert np.asarray(degraded.damaged(image, "noise", strength, "A")).std() == pytest.approx(grey_levels, rel=0.03)


def test_blur_does_not_depend_on_the_size_of_the_picture():
    large = draw_cell("lymphocyte").resize((720, 720)).filter(ImageFilter.GaussianBlur(2))
    small = large.resize((360, 360), Image.Resampling.BOX)
    blurred = degraded.damaged(large, "blur", 4, "A").resize((360, 360), Image.Resampling.BOX)
    assert difference(blurred, degraded.damaged(small, "blur", 4, "A")) < 0.1 * difference(blurred, small)


def test_light_changes_the_gain_up_and_down_and_slopes():
    image = Image.new("RGB", (60, 60), (100, 100, 100))
    gains = set()
    for number in range(20):
        pixels = np.asarray(degraded.damaged(image, "illumination", 4, f"A_{number}"), dtype=float)
        gains.add(round(pixels.mean() / 100, 1))
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1], 0]
        assert np.ptp(corners) == pytest.approx(0.5 * pixels.mean(), rel=0.05)
    assert gains == {1.5, 0.7}


def test_the_scores_count_subtypes_as_types_and_know_none_of_no_ok():
    def prediction(label: str, status: str) -> Prediction:
        return Prediction("a", np.array([1.0]), status, "", (label,))

    answers = [prediction("SNE", "ok"), prediction("monocyte", "ok"), prediction("ig", "review"), prediction("blast", "ok")]
    types = ["neutrophil", "monocyte", "ig", "lymphocyte"]
    assert degraded.scores(answers, types) == {"accuracy": 0.75, "ok": 0.75, "ok_right": pytest.approx(2 / 3)}
    assert np.isnan(degraded.scores(answers[2:3], types[2:3])["ok_right"])


def test_the_command_writes_a_row_per_damage_and_strength_and_a_figure(command, model_folder, tmp_path, capsys):
    assert main(command) == 0
    table = pd.read_csv(tmp_path / "degraded.csv")
    assert list(table.columns) == degraded.COLUMNS
    assert len(table) == ROWS
    assert table["damage"].value_counts().to_dict() == {"none": 1, **dict.fromkeys(DAMAGES, 4)}
    assert set(table["pictures"]) == {4}
    assert set(table["version"].astype(str)) == {Classifier.load(model_folder).version}
    assert table["accuracy"].between(0, 1).all()
    assert Image.open(tmp_path / "degraded.png").width > 900
    assert "sigma 2.4% of the width" in capsys.readouterr().out
    assert main([*command, "--every", "3"]) == 0
    assert set(pd.read_csv(tmp_path / "degraded.csv")["pictures"]) == {2}


def test_a_killed_call_carries_on_where_it_stopped_and_keeps_other_models(command, predicted, tmp_path):
    file = tmp_path / "degraded.csv"
    assert main(command) == 0
    whole = file.read_bytes()
    assert predicted == [4] * ROWS
    predicted.clear()
    lines = whole.decode().splitlines(keepends=True)
    other = lines[1].replace("tiny,", "another,", 1)
    file.write_text("".join(lines[:4]) + other)
    assert main(command) == 0
    assert predicted == [4] * (ROWS - 3)
    assert file.read_bytes() == whole + other.encode()
    predicted.clear()
    (tmp_path / "degraded.png").unlink()
    assert main(command) == 0
    assert predicted == []
    assert file.read_bytes() == whole + other.encode()
    assert (tmp_path / "degraded.png").exists()


def test_rows_of_another_version_of_the_model_are_measured_again(command, model_folder, predicted, tmp_path):
    assert main(command) == 0
    version = Classifier.load(model_folder).version
    text = (tmp_path / "degraded.csv").read_text()
    (tmp_path / "degraded.csv").write_text(text.replace(version, "0" * len(version)))
    predicted.clear()
    assert main(command) == 0
    assert len(predicted) == ROWS
    assert (tmp_path / "degraded.csv").read_text() == text


def test_another_file_is_left_as_it_is(command, tmp_path, capsys):
    (tmp_path / "degraded.csv").write_text("model,kind\n")
    assert main(command) == 2
    assert "is no table of this command" in capsys.readouterr().err
    assert (tmp_path / "degraded.csv").read_text() == "model,kind\n"


def test_two_models_of_one_name_are_refused(command, model_folder, capsys):
    with pytest.raises(SystemExit):
        main([*command[:2], str(model_folder), *command[2:]])
    assert "have one name" in capsys.readouterr().err


def test_the_results_page_has_the_table_and_the_command_of_each_model(tmp_path):
    row = {"version": "1", "backend": "int8", "damage": "none", "strength": 0, "setting": "as stored", "accuracy": 0.5}
    rows = [
        {"model": "a", "pictures": 6, "every": 1, "ok": 0.25, "ok_right": 1} | row,
        {"model": "b", "pictures": 2, "every": 3, "ok": 0, "ok_right": np.nan} | row,
    ]
    pd.DataFrame(rows, columns=degraded.COLUMNS).to_csv(tmp_path / "degraded.csv", index=False)
    (tmp_path / "degraded.md").write_text("What it means.\n")
    section = compare._degraded(tmp_path)
    assert "| none, as stored | 50.0%, 25.0%, 100.0% | 50.0%, 0.0% |" in section
    assert "What it means." in section
    assert "degraded a --data chehablab/PBC --split results/split.csv\n" in section
    assert "degraded b --data chehablab/PBC --split results/split.csv --every 3\n" in section
