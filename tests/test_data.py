"""The dataset from each of its homes, its split, and what the user is told when it does not fit."""

from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from cells import pbc
from cells.classes import LABELS, SUBTYPE_LABELS, TYPE_OF_SUBTYPE
from cells.pbc import DataError
from cells.synthetic import draw_cell
from train import data, duplicates, split


def test_parquet_and_archive_give_the_same_rows(parquet, pbc_rows, tmp_path):
    for name, picture, cell_type in zip(pbc_rows["image_id"], pbc_rows["image"], pbc_rows["cell_type"], strict=True):
        (tmp_path / cell_type).mkdir(exist_ok=True)
        (tmp_path / cell_type / f"{name}.jpg").write_bytes(picture["bytes"])
    (tmp_path / "neutrophil" / ".DS_169665.jpg").write_bytes(b"the archive's junk file")
    packed, unpacked = data.load([parquet]), data.load([str(tmp_path)])
    for column in ("image_id", "cell_type", "cell_subtype"):
        assert packed[column][:] == unpacked[column][:]
    assert torch.equal(data.decode(packed, 32), data.decode(unpacked, 32))


def test_rows_come_in_the_order_of_their_ids_whatever_the_files(parquet, tmp_path):
    shuffled = datasets.Dataset.from_parquet(parquet, cache_dir=str(tmp_path)).shuffle(seed=3)
    shuffled.to_parquet(tmp_path / "shuffled.parquet")
    one, other = data.load([parquet]), data.load([str(tmp_path / "shuffled.parquet")])
    assert one["image_id"][:] == other["image_id"][:] == sorted(one["image_id"][:])
    assert split.split(one, np.arange(len(one)), 42) == split.split(other, np.arange(len(other)), 42)


def test_labels_are_the_types_or_the_subtypes(parquet):
    dataset = data.load([parquet])
    assert [LABELS[label] for label in data.label(dataset, LABELS)["label"][:]] == dataset["cell_type"][:]
    by_subtype = data.label(dataset, SUBTYPE_LABELS)["label"][:]
    assert [SUBTYPE_LABELS[label] for label in by_subtype] == dataset["cell_subtype"][:]


def test_pictures_without_a_subtype_are_left_out_where_subtypes_are_the_classes(pbc_rows, tmp_path):
    rows = pbc_rows | {"cell_subtype": [None, "", *pbc_rows["cell_subtype"][2:]]}
    file = tmp_path / "some.parquet"
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(file)
    dataset = data.load([str(file)])
    assert len(data.label(dataset, SUBTYPE_LABELS)) == len(dataset) - 2
    assert len(data.label(dataset, LABELS)) == len(dataset)


def test_decoding_is_the_model_folders_preprocessing(parquet, pbc_rows, model_folder):
    """Otherwise validation would measure something else than what users get."""
    from cells.model.classifier import Classifier
    from train.transforms import normalise

    dataset = data.load([parquet])
    ours = normalise(data.decode(dataset.select([0]), 32).float() / 255)
    image = datasets.Image().decode_example(dataset[0]["image"])
    theirs = torch.from_numpy(Classifier.load(model_folder).preprocess(image.convert("RGB")))[None]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0, check_stride=False)


def test_split_is_a_fifth_and_a_tenth_stratified_with_groups_whole(parquet):
    dataset = data.load([parquet])
    groups = np.arange(len(dataset)) // 2  # neighbours show the same cell
    parts = np.array(split.split(dataset, groups, seed=42))
    counts = Counter(parts)
    n = len(dataset)
    assert counts["test"] == pytest.approx(n / 5, abs=8)
    assert counts["validation"] == pytest.approx(n * 4 / 5 / 10, abs=8)
    for group in range(groups.max() + 1):
        assert len(set(parts[groups == group])) == 1
    subtypes = np.array(dataset["cell_subtype"][:])
    for subtype in TYPE_OF_SUBTYPE:
        assert 1 <= sum(parts[subtypes == subtype] == "test") <= 4


def test_split_depends_on_the_seed(parquet):
    dataset = data.load([parquet])
    groups = np.arange(len(dataset))
    assert split.split(dataset, groups, 42) != split.split(dataset, groups, 43)


def test_split_file_survives_a_round_trip(tmp_path):
    pbc.write_split(tmp_path / "split.csv", ["BA_1", "EO_2"], ["test", "train"])
    assert pbc.read_split(tmp_path / "split.csv") == {"BA_1": "test", "EO_2": "train"}


def as_pixels(*images: Image.Image) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(image.resize((128, 128)))).permute(2, 0, 1) for image in images])


def test_copies_and_overlapping_crops_are_one_group():
    cells = [draw_cell(label, seed) for label in LABELS for seed in range(3)]
    big = Image.new("RGB", (460, 460), (250, 232, 214))
    big.paste(draw_cell("monocyte", 50).resize((460, 460)))
    moved = [big.crop((0, 0, 360, 363)), big.crop((70, 40, 430, 403))]  # one field, two crops
    groups = duplicates.groups(as_pixels(*cells, cells[4], *moved)).tolist()
    n = len(cells)
    assert groups[n] == groups[4]
    assert groups[n + 1] == groups[n + 2]
    assert len(set(groups)) == n + 1  # and nothing else is taken for the same


@pytest.mark.parametrize("change", ["rename", "type", "twice", "broken", "label", "missing"])
def test_data_that_do_not_fit_are_one_sentence(pbc_rows, tmp_path, change):
    rows = {key: list(values[:20]) for key, values in pbc_rows.items()}
    if change == "rename":
        rows["picture_type"] = rows.pop("cell_type")
    elif change == "type":
        rows["cell_type"][3] = "blast"
    elif change == "twice":
        rows["image_id"][1] = rows["image_id"][0]
    elif change == "label":
        rows["label"] = [9] * 20
    elif change == "broken":
        rows["image"][3] = {"bytes": b"not a picture", "path": None}
    file = tmp_path / "odd.parquet"
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(file)
    words = {
        "rename": "no column cell_type",
        "type": "'blast'",
        "twice": "occur twice",
        "broken": "picture BA_3",
        "label": "label 9 stands beside 'basophil', which is 0",
        "missing": "no picture of erythroblast, ig",
    }
    with pytest.raises(DataError, match=words[change]) as caught:
        data.label(data.load([str(file)]), LABELS) if change == "missing" else data.decode(data.load([str(file)]), 32)
    assert "\n" not in str(caught.value)


def test_places_with_no_data_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.parquet").write_bytes(b"no parquet")
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    for source, words in (
        (tmp_path / "missing.parquet", "no such file"),
        (tmp_path / "empty", "no .jpg"),
        (tmp_path / "no.parquet", "cannot be read"),
        ("nowhere", "takes a Hub id"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            data.load([source])
        assert "\n" not in str(caught.value)
    for file in (tmp_path / "no.csv", tmp_path / "none.csv"):
        with pytest.raises(DataError, match="image_id and split"):
            pbc.read_split(file)


def test_too_few_pictures_for_a_split(parquet):
    with pytest.raises(DataError, match="too few"):
        split.split(data.load([parquet]).select(range(3)), np.arange(3), 42)
