"""The laboratories: one reader each, and a run that learns from several of them."""

import csv
import io
import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_checkpoint import skip_figures

from cells.classes import LABELS
from cells.pbc import DataError, read_split
from cells.synthetic import draw_cell
from train import data, figures, recipe
from train import run as runs
from train.sources import boxed, pbc, raabin
from train.sources import jhu as jhu_source

ROOT = Path(__file__).parent.parent
FIVE = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")


def png(image: Image.Image) -> dict:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write(columns: dict[str, list], file: Path) -> str:
    datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image()).to_parquet(file)
    return str(file)


@pytest.fixture(scope="module")
def jhu(tmp_path_factory) -> str:
    """A folder with two parquet files: 20 patients with six cells each, blasts among them."""
    folder = tmp_path_factory.mktemp("jhu")
    kinds = [("blast", "Blast, no lineage spec"), ("neutrophil", "Segmented neutrophils"), ("ig", "Myelocyte")]
    rows = [
        (
            f"BL_{patient}_{number}",
            f"Patient_{patient:02}",
            png(draw_cell("monocyte", 6 * patient + number)),
            *kinds[number % 3],
        )
        for patient in range(20)
        for number in range(6)
    ]
    for number, some in enumerate((rows[:60], rows[60:])):
        image_id, patient, image, cell_type, subtype = map(list, zip(*some, strict=True))
        columns = {"image_id": image_id, "patient": patient, "image": image, "subtype": subtype, "type": cell_type}
        write(columns, folder / f"train-{number}.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> str:
    """60 fields of 20 slides with a boxed cell in the middle and one at the edge."""
    columns = {"image_id": [], "slide": [], "image": [], "boxes": [], "cell_types": []}
    for number in range(60):
        columns["image_id"].append(f"field_{number}")
        columns["slide"].append(f"slide_{number // 3}")
        columns["image"].append(png(Image.effect_noise((200, 150), 40)))
        columns["boxes"].append([[80.0, 60.0, 122.0, 90.0], [0.0, 0.0, 40.0, 42.0]])
        columns["cell_types"].append([FIVE[number % 5], FIVE[(number + 1) % 5]])
    return write(columns, tmp_path_factory.mktemp("chula") / "fields.parquet")


def test_jhu_is_read_from_parquet_and_from_the_patients_of_the_split_in_the_clone_alike(jhu, tmp_path):
    packed = data.load([f"jhu={jhu}"])
    assert packed["image_id"][:] == sorted(packed["image_id"][:])
    assert packed["image_id"][0].startswith("jhu:BL_")
    first, other = (
        packed.select([row for row, one in enumerate(packed["group"][:]) if one == name])
        for name in ("Patient_01", "Patient_03")
    )
    for row in (*first, *other):
        folder = tmp_path / "All" / "DeepAPL" / "Data" / "All" / row["group"] / "03-01" / "Signed slides" / row["cell_subtype"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['image_id'].removeprefix('jhu:')}.jpg").write_bytes(row["image"]["bytes"])
    artefact = folder.parent / "Artifact"
    artefact.mkdir()
    (artefact / "1.jpg").write_bytes(b"no cell")
    cloned = data.load([f"jhu={tmp_path / 'All' / 'DeepAPL'}"])
    kinds = [
        sorted(zip(*(rows[column][:] for column in ("group", "cell_type", "cell_subtype")), strict=True))
        for rows in (first, cloned)
    ]
    assert kinds[0] == kinds[1]
    assert data.decode(cloned, 16).float().mean() == pytest.approx(data.decode(first, 16).float().mean())


def test_pictures_with_a_wrong_label_are_left_out(tmp_path):
    with jhu_source.LEFT_OUT.open(newline="") as file:
        left_out = next(csv.DictReader(file))["image_id"]
    columns = {"image_id": [left_out, "BL_1"], "patient": ["Patient_01"] * 2, "image": [png(draw_cell("ig", 1))] * 2}
    columns |= {"subtype": ["Monocyte"] * 2, "type": ["monocyte"] * 2}
    rows = data.load([f"jhu={write(columns, tmp_path / 'jhu.parquet')}"])
    assert rows["image_id"][:] == ["jhu:BL_1"]


def test_the_split_of_the_laboratories_keeps_patients_and_pbc_s_parts():
    split = read_split(ROOT / "results/split_laboratories.csv")
    ours = {image_id: part for image_id, part in split.items() if ":" not in image_id}
    assert ours == read_split(ROOT / "results/split.csv")
    assert {part for image_id, part in split.items() if ":" in image_id} == {"train", "validation"}


def test_a_cell_fills_its_crop_as_in_pbc_and_edges_are_reflected(fields):
    rows = data.load([f"chula={fields}"])
    assert len(rows) == 120
    assert rows["image_id"][0] == "chula:field_0/0"
    assert set(rows["group"][:]) == {f"slide_{number}" for number in range(20)}
    assert Image.open(io.BytesIO(rows[0]["image"]["bytes"])).size == (100, 100)  # 42 / 0.42
    image = np.arange(200 * 150 * 3, dtype=np.uint32).reshape(150, 200, 3)
    middle, edge = boxed.crop(image, [80, 60, 122, 90]), boxed.crop(image, [0, 0, 40, 42])
    assert (middle == image[25:125, 51:151]).all()
    assert edge.shape == (100, 100, 3)
    assert (edge[29, 30:] == image[0, :70]).all()
    assert (edge[28, 30:] == image[1, :70]).all()  # above the edge, mirrored


def test_a_cell_of_raabin_has_the_type_that_was_seen(tmp_path):
    with raabin.TYPES.open(newline="") as file:
        typed = list(csv.DictReader(file))
    assert {row["cell_type"] for row in typed} == set(FIVE)
    field, _, number = typed[0]["image_id"].partition("/")
    boxes = [[10.0 + 5 * box, 60.0, 52.0 + 5 * box, 90.0] for box in range(int(number) + 2)]  # the last one has no type
    columns = {"image_id": [field, "of no type"], "image": [png(Image.effect_noise((200, 150), 40))] * 2, "boxes": [boxes] * 2}
    rows = data.load([f"raabin={write(columns, tmp_path / 'raabin.parquet')}"])
    assert rows["image_id"][:] == [f"raabin:{field}/{number}"]
    assert rows["cell_type"][:] == [typed[0]["cell_type"]]


def test_chula_is_read_from_the_clone_as_from_parquet(tmp_path):
    folder = tmp_path / "WBC_Dataset" / "WBC_Samples" / "train"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    Image.effect_noise((1440, 900), 40).convert("RGB").save(folder / "images" / "B-30_0047.jpg")
    (folder / "labels" / "B-30_0047.txt").write_text("2 0.148611 0.292222 0.116667 0.195556\n0 0.5 0.5 0.1 0.1\n")
    (folder / "labels" / "B-30_0048.txt").write_text("2 0.1 0.2 0.1 0.1\n")  # without its picture
    rows = data.load([f"chula={tmp_path / 'WBC_Dataset'}"])
    assert rows["image_id"][:] == ["chula:B-30_0047/0", "chula:B-30_0047/1"]
    assert rows["cell_type"][:] == ["basophil", "neutrophil"]
    assert rows["group"][:] == ["B-30", "B-30"]
    assert Image.open(io.BytesIO(rows[0]["image"]["bytes"])).size == (419, 419)  # a box of 168 x 176 pixels, by 0.42
    (folder / "labels" / "B-30_0047.txt").write_text("7 0.1 0.2 0.1 0.1\n")
    with pytest.raises(DataError, match="NUMBER up to 4"):
        data.load([f"chula={tmp_path / 'WBC_Dataset'}"])
    image_file = folder / "images" / "B-30_0047.jpg"
    (folder / "labels" / "B-30_0047.txt").write_text("2 0.1 0.2 0.1 0.1\n")
    image_file.write_bytes(image_file.read_bytes()[:2000])
    with pytest.raises(DataError, match="picture B-30_0047: "):
        data.load([f"chula={tmp_path / 'WBC_Dataset'}"])
    image_file.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"B-30_0047\.jpg cannot be read"):
        data.load([f"chula={tmp_path / 'WBC_Dataset'}"])


def test_seoul_is_read_as_single_cells(tmp_path):
    columns = {"image_id": ["0-1", "0-2"], "image": [png(draw_cell("ig", 1)), png(draw_cell("ig", 2))]}
    columns |= {"cell_type": ["ig", "ig"], "cell_subtype": ["myelocyte", "promyelocyte"]}
    rows = data.load([f"seoul={write(columns, tmp_path / 'seoul.parquet')}"])
    assert rows["cell_subtype"][:] == ["myelocyte", "promyelocyte"]
    assert rows["group"][:] == ["0-1", "0-2"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("jhu=/nowhere", "give the clone of DeepAPL"),
        ("jhu=/nowhere.parquet", "there is no parquet file"),
        ("chula=/nowhere", "give the clone of WBC_Dataset"),
        ("chula={parquet}", "no column slide, boxes, cell_types"),
    ],
)
def test_places_that_are_no_such_laboratory_are_one_line(parquet, place, words):
    with pytest.raises(DataError, match=words) as caught:
        data.load([place.format(parquet=parquet)])
    assert "\n" not in str(caught.value)


def of_three(*overrides: str) -> recipe.Recipe:
    classes = (*LABELS, "blast")
    shares = "sources=(('pbc', 0.5), ('jhu', 0.3), ('chula', 0.2))"
    values = ["image_size=32", "progressive_resizing=()", "epochs=2", "batch_size=20", "lr=0.05", f"classes={classes}", shares]
    return recipe.load("resnet18_scratch").override([*values, "balance=0.4", *overrides])


def test_patients_and_slides_stay_in_one_part(parquet, jhu, fields):
    prepared = data.prepare(of_three(), [parquet, f"jhu={jhu}", f"chula={fields}"], None, lambda text: None)
    rows = prepared.dataset.select_columns(["source", "group"]).to_pandas().assign(part=prepared.parts)
    assert rows["source"].unique().tolist() == ["pbc", "jhu", "chula"]
    own = rows[rows["group"] != ""]
    assert (own.groupby(["source", "group"])["part"].nunique() == 1).all()
    assert (rows.groupby("source")["part"].nunique() == 3).all()
    subset = prepared.subset("validation", "cpu")
    assert {name: len(pictures.labels) for name, pictures in subset.items()} == (
        rows[rows["part"] == "validation"].groupby("source", sort=False).size().to_dict()
    )


def test_a_split_file_decides_for_the_laboratories_that_it_names(parquet, jhu, fields, tmp_path):
    places = [parquet, f"jhu={jhu}", f"chula={fields}"]
    first = data.prepare(of_three(), places, None, lambda text: None)
    file = tmp_path / "split.csv"
    parts = pd.Series(first.parts, first.dataset["image_id"][:], name="split")
    parts[~parts.index.str.contains(":")].replace({"test": "train", "train": "test"}).to_csv(file, index_label="image_id")
    second = data.prepare(of_three(), places, file, lambda text: None)
    again = pd.Series(second.parts, second.dataset["image_id"][:], name="split")
    assert (again[again.index.str.contains(":")] == parts[parts.index.str.contains(":")]).all()
    assert again[parts.index[parts == "test"][0]] == "train"


@pytest.mark.parametrize(
    ("override", "places", "words"),
    [
        ("seed=1", [], "say where it is: --data ... jhu=PLACE"),
        ("sources=(('pbc', 0.5), ('utrecht', 0.5))", [], "no laboratory is called 'utrecht'; there are pbc, chula, jhu"),
        ("sources=(('pbc', 1.0),)", ["jhu={jhu}"], "which resnet18_scratch does not learn from"),
    ],
)
def test_sources_without_a_place_and_places_without_a_source_are_one_line(parquet, jhu, override, places, words):
    with pytest.raises(DataError) as caught:
        data.prepare(of_three(override), [parquet, *(place.format(jhu=jhu) for place in places)], None)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_laboratory_without_a_picture_of_a_class_is_one_line(parquet, jhu):
    """Else the card would name a laboratory that the model did not learn from."""
    chosen = of_three("classes=()", "sources=(('pbc', 0.7), ('jhu', 0.3))", "num_classes=13")
    with pytest.raises(DataError, match="no picture of jhu shows one of the classes: BA, EO"):
        data.prepare(chosen, [parquet, f"jhu={jhu}"], None, lambda text: None)


def test_a_publishers_split_is_used_where_no_other_is_given(pbc_rows, monkeypatch):
    everything = datasets.Dataset.from_dict(pbc_rows).cast_column("image", datasets.Image(decode=False))
    parts = {"train": range(2, len(everything), 1), "validation": range(1), "test": range(1, 2)}
    found = datasets.DatasetDict({name: everything.select(rows) for name, rows in parts.items()})
    monkeypatch.setattr(pbc.datasets, "load_dataset", lambda place: found)
    rows = data.load(["someone/cells"])
    ids = {name: set(part["image_id"][:]) for name, part in found.items()}
    assert all(image_id in ids[part] for image_id, part in zip(rows["image_id"][:], rows["split"][:], strict=True))
    said = []
    chosen = recipe.load("resnet18_scratch").override(["image_size=32", "batch_size=16"])
    prepared = data.prepare(chosen, ["someone/cells"], None, said.append)
    assert prepared.ids("test") == found["test"]["image_id"][:]
    assert "pbc: the split of its publisher is used." in said
    monkeypatch.setattr(pbc.datasets, "load_dataset", lambda place: datasets.DatasetDict({"train": everything}))
    assert set(data.load(["someone/cells"])["split"][:]) == {""}


@pytest.fixture(scope="module")
def stopped(parquet, jhu, fields, tmp_path_factory) -> tuple[Path, list[str]]:
    """(a run of three laboratories after its first epoch, their places)."""
    run, places = tmp_path_factory.mktemp("three"), [parquet, f"jhu={jhu}", f"chula={fields}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_all", skip_figures)
        steps = []
        assert runs.train(of_three(), places, None, run, lambda step: steps.append(step) or len(steps) == 13) == 130
    return run, places


def test_validation_is_reported_for_each_laboratory(stopped):
    run, _ = stopped
    history = pd.read_csv(run / "history.csv")
    each = history[[f"validation_balanced_accuracy_{name}" for name in ("pbc", "jhu", "chula")]]
    assert history["validation_balanced_accuracy"][0] == pytest.approx(each.mean(axis=1)[0], rel=1e-3)
    assert {"validation_loss", "validation_accuracy", "validation_loss_jhu"} <= set(history)
    split = pd.read_csv(run / "split.csv")
    assert split["image_id"].str.startswith("jhu:").sum() == 120
    assert json.loads((run / "recipe.json").read_text())["classes"] == [*LABELS, "blast"]
