"""`hub dataset`, with the real client against the Hub on this machine, and `load_dataset` of the result."""

import io
import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from PIL import Image

from cells.classes import LABELS
from hub import card, dataset, publish
from hub.__main__ import main
from train.data import load

SCRIPT = """
import json, sys
from datasets import load_dataset
loaded = load_dataset(sys.argv[1])
print(json.dumps({part: [rows["image_id"][:], rows["label"][:], rows.features["label"].names, rows[0]["image"].size]
                  for part, rows in loaded.items()}))
"""


@pytest.fixture
def split(parquet, tmp_path):
    """Parts of all but five of the drawn cells."""
    ids = sorted(load([parquet])["image_id"][:])[:-5]
    parts = pd.DataFrame({"image_id": ids, "split": [("train", "test", "validation")[i % 3] for i in range(len(ids))]})
    parts.to_csv(tmp_path / "split.csv", index=False)
    return parts.set_index("image_id")["split"]


def test_parquet_goes_up_in_one_commit_and_loads(hub, run, hub_environment, parquet, split, tmp_path):
    done = run("dataset", parquet, "user/pbc", "--split", str(tmp_path / "split.csv"))
    assert done.returncode == 0, done.stderr
    repo = hub.repos["dataset", "user/pbc"]
    assert len(repo.commits) == 2
    files = repo.files()
    parts = ("train", "validation", "test", "unassigned")
    examples = {f"examples/{label}.png" for label in LABELS}
    assert set(files) == {".gitattributes", "README.md", "audit.csv", *(f"data/{part}.parquet" for part in parts), *examples}
    assert {Image.open(io.BytesIO(files[name])).size for name in examples} == {(96, 96)}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "user/pbc"], env=hub_environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    ours = load([parquet])
    types = dict(zip(ours["image_id"][:], ours["cell_type"][:], strict=True))
    assert sorted(image_id for ids, *_ in loaded.values() for image_id in ids) == sorted(types)
    for part, (ids, labels, names, size) in loaded.items():
        assert names == list(LABELS)
        assert size == [96, 96]
        assert [names[label] for label in labels] == [types[image_id] for image_id in ids]
        assert {split.get(image_id, "unassigned") for image_id in ids} == {part}

    card = files["README.md"].decode()
    assert "license: cc-by-4.0" in card
    assert "BNE_191112" in card
    assert "acevedo2020dataset" in card
    basophils = [sum(types[image_id] == "basophil" for image_id in loaded[part][0]) for part in parts]
    assert f"| basophil | {' | '.join(map(str, basophils))} |" in card
    assert 'load_dataset("user/pbc")' in card


def test_pictures_stay_byte_for_byte_and_a_second_push_sends_nothing(hub, run, parquet, split, tmp_path):
    line = ("dataset", parquet, "user/pbc", "--split", str(tmp_path / "split.csv"), "--private")
    assert run(*line).returncode == 0
    repo = hub.repos["dataset", "user/pbc"]
    assert repo.private
    train = pd.read_parquet(io.BytesIO(repo.files()["data/train.parquet"]))
    ours = {row["image_id"]: row["image"]["bytes"] for row in load([parquet])}
    assert all(image["bytes"] == ours[image_id] for image_id, image in zip(train["image_id"], train["image"], strict=True))
    done = run(*line)
    assert "up to date" in done.stdout
    assert len(repo.commits) == 2


def test_a_published_card_follows_the_parts_that_there_are(parquet, split, tmp_path):
    """`load_dataset` reads what the card lists."""
    with dataset.upload([parquet], "user/pbc", tmp_path / "split.csv") as before:
        split.reset_index()[["image_id", "split"]].replace("validation", "test").to_csv(tmp_path / "split.csv", index=False)
    with dataset.upload([parquet], "user/pbc", tmp_path / "split.csv") as now:
        front = yaml.safe_load(card.merge(before.readme.replace("n<1K", "10K<n<100K"), now.readme).split("---")[1])
        listed = {part["path"] for part in front["configs"][0]["data_files"]}
        assert listed == {path for path in now.files if path.endswith(".parquet")}
        assert front["size_categories"] == ["n<1K"]


def test_examples_of_an_earlier_upload_are_removed_and_others_stay(parquet, split, tmp_path):
    with dataset.upload([parquet], "user/pbc", tmp_path / "split.csv") as upload:
        assert {path for path in upload.files if path.startswith("examples/")} <= upload.own
        present = ["examples/platelet.jpeg", "examples/mine.png"]
        assert publish._removed("user/pbc", present, upload, False, print) == ["examples/platelet.jpeg"]


def test_a_dry_run_lists_the_parts_and_sends_nothing(hub, run, parquet, split, tmp_path):
    done = run("dataset", parquet, "user/pbc", "--split", str(tmp_path / "split.csv"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("data/train.parquet", "audit.csv", "license: cc-by-4.0"))
    assert hub.requests == []


def test_the_unpacked_archive_is_taken_and_what_is_wrong_is_one_line(hub, run, tmp_path):
    for name in ("basophil/BA_1.jpg", "neutrophil/BNE_2.jpg", "neutrophil/.DS_169665.jpg"):
        (tmp_path / "pbc" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "pbc" / name)
    done = run("dataset", str(tmp_path / "pbc"), "user/pbc")
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(io.BytesIO(hub.repos["dataset", "user/pbc"].files()["data/unassigned.parquet"]))
    assert rows["image_id"].tolist() == ["BA_1", "BNE_2"]
    assert rows["image"][0]["path"] == "BA_1.jpeg"
    done = run("dataset", str(tmp_path / "none"), "user/pbc")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_a_picture_that_cannot_be_read_is_named_in_one_line(content, tmp_path, capsys):
    broken = tmp_path / "pbc" / "basophil" / "BA_1.jpg"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(content)
    assert main(["dataset", str(tmp_path / "pbc"), "user/pbc"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {broken}: Th")
    assert error.count("\n") == 1


def test_without_the_library_datasets_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "hub.dataset", raising=False)
    monkeypatch.delattr("hub.dataset", raising=False)
    assert main(["dataset", "pbc", "user/pbc"]) == 2
    expected = "error: This command needs the library datasets; `pip install -r requirements-dev.txt` installs it.\n"
    assert capsys.readouterr().err == expected
