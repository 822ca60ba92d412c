"""White cells in whole fields: their boxes, the pictures cut around them, and the rows of a batch with fields."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from locating import CELL as PURPLE
from locating import field, locator, network
from PIL import Image

from cells import labelled
from cells.__main__ import main
from cells.locate import find, parts
from cells.locate.find import Box, Locator, LocatorError
from cells.locate.parts import AUTO, CELL, FIELD
from cells.model.classifier import Classifier
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import coco, table

SIZES = [(360, 300), (1440, 900), (3001, 1999)]


@pytest.fixture(autouse=True)
def _discs(monkeypatch):
    """The embedded locator finds discs."""
    monkeypatch.setattr(parts, "embedded", locator)


def boxes(found: list[Box]) -> np.ndarray:
    return np.array([(box.x0, box.y0, box.x1, box.y1) for box in found])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("diameter", [40, 90])
def test_boxes_are_in_pixels_of_the_picture_whatever_its_size(size, diameter):
    discs = [(x * size[0], y * size[1], diameter) for y in (0.2, 0.7) for x in (0.15, 0.5, 0.8)]
    found = boxes(sorted(locator().find(field(size, *discs)), key=lambda box: (round(box.y0, -2), box.x0)))
    expected = [(x - d / 2, y - d / 2, x + d / 2, y + d / 2) for x, y, d in discs]
    assert found.shape == (6, 4)
    assert np.abs(found - expected).max() < 0.08 * diameter + 2


def test_a_cell_on_the_border_of_two_tiles_is_found_once():
    """At every offset, since the borders of the tiles lie somewhere."""
    for x in range(500, 660, 20):
        assert len(locator().find(field((1400, 1400), (x, 700, 60), (200, 200, 50)))) == 2


def test_specks_beside_a_cell_do_not_change_the_scale():
    asked = []

    def noting(pixels):
        asked.append(max(pixels.shape[2:]))
        return network(pixels)

    specks = [(100 * number, 100, 150) for number in range(1, 6)]
    find.find(field((1600, 1200), (800, 600, 500), *specks), noting, 0.5)
    assert max(asked) == find.FIRST_SIDE


def test_a_dim_and_bluish_field_reaches_the_network_like_any_other():
    seen = []
    plain = np.asarray(field((400, 300), (200, 150, 60)))
    for light in (1, 0.4, (0.3, 0.5, 0.8)):
        image = Image.fromarray((plain * light).astype(np.uint8))
        find.find(image, lambda pixels: seen.append(pixels) or network(pixels), 0.5)
    first, *others = (pixels for pixels in seen if max(pixels.shape[2:]) == find.FIRST_SIDE)
    assert len(others) == 2
    assert all(np.abs(first - other).max() < 0.05 for other in others)


@pytest.mark.parametrize("light", [(1, 1, 1), (0.3, 0.5, 0.8), (0.8, 0.4, 0.4)])
def test_what_has_the_outline_of_a_cell_and_no_purple_nucleus_is_not_found(light):
    red_cell, gap = (160, 100, 70), (100, 100, 95)
    for colour, expected in [(PURPLE, 1), (red_cell, 0), (gap, 0)]:
        plain = np.asarray(field((400, 300), (200, 150, 60), colour=colour))
        assert len(locator().find(Image.fromarray((plain * light).astype(np.uint8)))) == expected


def test_a_field_without_cells_has_no_boxes():
    assert locator().find(field((900, 700))) == []


def test_the_boxes_of_a_score_below_the_threshold_are_left_out():
    picture = field((400, 400), (200, 200, 150))
    assert len(locator().find(picture)) == 1
    assert locator().find(picture, threshold=0.95) == []


def test_a_folder_without_a_locator_is_said_in_a_sentence(tmp_path):
    (tmp_path / "locator.json").write_text(json.dumps({"threshold": 0.5}))
    with pytest.raises(LocatorError, match="is missing or damaged"):
        Locator.load(tmp_path)


@pytest.mark.parametrize(
    ("picture", "taken"),
    [
        (field((360, 363), (180, 180, 150)), CELL),
        (field((360, 363), (180, 180, 150), (20, 20, 100)), CELL),  # another cell at the edge
        (field((360, 363)), CELL),  # as of a platelet
        (field((1440, 900)), FIELD),
        (field((1440, 900), (400, 300, 150)), FIELD),
        (field((1440, 900), (720, 450, 500)), CELL),
        (field((575, 575), (280, 290, 100)), FIELD),  # too small to be what the picture is of
        (field((575, 575), (150, 150, 200), (400, 400, 200)), FIELD),
    ],
)
def test_auto_takes_a_picture_as_what_it_shows(picture, taken):
    found = parts.parts(picture, AUTO, locator())
    assert (len(found) == 1 and found[0][1] is None) == (taken == CELL)


def test_a_crop_shows_the_cell_as_pbc_frames_it():
    [(crop, place)] = parts.parts(field((900, 900), (300, 500, 100)), FIELD, locator())
    assert crop.size[0] == crop.size[1]
    assert place.box[2] - place.box[0] == pytest.approx(parts.FILLED * crop.width, abs=2)
    dark = np.argwhere(np.asarray(crop)[:, :, 1] < 128)
    assert np.abs(dark.mean(0) - crop.width / 2).max() < 4


@pytest.mark.parametrize(("diameter", "is_cut_anew"), [(40, True), (80, False), (200, False), (240, True), (300, True)])
def test_auto_cuts_a_single_cell_anew_where_it_is_framed_much_wider_or_closer_than_pbcs(diameter, is_cut_anew):
    picture = field((360, 363), (180, 180, diameter))
    [(cell, place)] = parts.parts(picture, AUTO, locator())
    assert place is None
    assert (cell is picture) == (not is_cut_anew)
    if is_cut_anew:
        columns = np.argwhere(np.asarray(cell)[cell.height // 2, :, 1] < 128)
        middle = columns[abs(columns - cell.width / 2) < diameter / 2 + 2]  # a reflected cell may lie beside it
        assert len(middle) == pytest.approx(parts.FILLED * cell.width, rel=0.1)
    assert parts.parts(picture, CELL, locator()) == [(picture, None)]


def test_a_labelled_cell_is_framed_as_it_is_classified(tmp_path):
    for name, diameter in (("well framed", 150), ("close", 300)):
        (tmp_path / name).mkdir()
        field((360, 363), (180, 180, diameter)).save(tmp_path / name / "a.png")
    close, well_framed = labelled.read_labelled(tmp_path)[0]
    assert well_framed.size == (360, 363)
    assert close.width == pytest.approx(300 / parts.FILLED, rel=0.1)


def test_a_cell_at_the_edge_is_cut_and_its_crop_is_reflected():
    found = parts.parts(field((900, 900), (0, 500, 100), (500, 500, 100)), FIELD, locator())
    assert [place.is_cut for _, place in found] == [True, False]
    pixels = np.asarray(found[0][0])
    assert (pixels[len(pixels) // 2, :, 1] < 128).mean() > 0.3
    assert pixels.min(2).max() > 0


def test_a_field_is_a_row_for_each_cell_and_an_empty_one_a_row_that_says_so(model_folder):
    classifier = Classifier.load(model_folder)
    sources = [
        field((900, 700), (200, 200, 90), (600, 500, 90), (899, 100, 90)),
        field((900, 700)),
        draw_cell("monocyte"),
        b"broken",
    ]
    rows = classifier.table(sources, ["a.png", "empty.png", "cell.png", "broken.png"], how=AUTO)
    assert rows["file"].tolist() == ["a.png"] * 3 + ["empty.png", "cell.png", "broken.png"]
    assert rows["field"].fillna("").tolist() == ["a.png"] * 3 + ["empty.png", "", ""]
    assert rows["cell"].tolist()[:3] == [1, 2, 3]
    assert rows["cell"].isna().tolist()[3:] == [True] * 3
    assert rows.loc[rows["x0"] == 155, ["y0", "x1", "y1"]].to_numpy().ravel() == pytest.approx([155, 245, 245], abs=8)
    assert rows["status"].tolist()[3:] == ["empty", rows["status"][4], "error"]
    assert rows["message"][3] == "No white cell was found in this field."
    assert "ok" not in rows["status"].tolist()[:1]  # the cell that the edge cuts comes first


def test_each_source_is_one_cell_unless_it_is_said_otherwise(model_folder):
    rows = Classifier.load(model_folder).table([field((900, 700), (200, 200, 90), (600, 500, 90))])
    assert len(rows) == 1
    assert list(rows.columns) == table.columns()


def test_a_coco_file_without_a_box_is_said(model_folder, tmp_path, capsys):
    draw_cell("ig").save(tmp_path / "a.png")
    out = tmp_path / "out.json"
    assert main(["classify", str(tmp_path / "a.png"), "--model", str(model_folder), "--as", "cell", "--out", str(out)]) == 0
    assert "out.json has no box" in capsys.readouterr().err


def test_boxes_and_types_go_to_coco_and_come_back(model_folder, tmp_path):
    field((900, 700), (200, 200, 90), (600, 500, 90)).save(tmp_path / "a.png")
    field((900, 700)).save(tmp_path / "empty.png")
    out = tmp_path / "out.json"
    assert (
        main(
            ["classify", str(tmp_path / "a.png"), str(tmp_path / "empty.png"), "--model", str(model_folder), "--out", str(out)]
        )
        == 0
    )
    value = json.loads(out.read_text())
    assert [(image["width"], image["height"]) for image in value["images"]] == [(900, 700)]
    [(file, found)] = coco.from_json(out.read_text()).items()
    assert file == str(tmp_path / "a.png")
    assert [round(one.box[0]) for one in found] == pytest.approx([155, 555], abs=4)
    assert {one.category for one in found} <= set(Classifier.load(model_folder).labels)
    zips = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for file in zips:
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(tmp_path / "a.png", "a.png")
    assert main(["classify", *map(str, zips), "--model", str(model_folder), "--out", str(out)]) == 0
    value = json.loads(out.read_text())
    assert [(image["id"], image["file_name"]) for image in value["images"]] == [
        (1, f"{zips[0]}/a.png"),
        (2, f"{zips[1]}/a.png"),
    ]
    assert [one["image_id"] for one in value["annotations"]] == [1, 1, 2, 2]


# The page reads them as well.
COCO = json.loads((Path(coco.__file__).parents[2] / "page" / "workbench" / "coco_cases.json").read_text())


@pytest.mark.parametrize("case", COCO, ids=lambda case: case["name"])
def test_what_a_coco_file_holds(case):
    text = json.dumps(case["file"])
    if case["images"] is None:
        with pytest.raises(coco.CocoError, match="no COCO JSON"):
            coco.from_json(text)
    else:
        found = {file: [[list(one.box), one.category] for one in boxes] for file, boxes in coco.from_json(text).items()}
        assert found == case["images"]


def test_what_is_no_json_is_no_coco():
    with pytest.raises(coco.CocoError, match="no COCO JSON"):
        coco.from_json("")


@pytest.fixture
def fields(tmp_path, monkeypatch) -> tuple[str, ...]:
    """A folder of five fields with one to five cells, and one without."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fields").mkdir()
    for number in range(6):
        discs = [(120 + 150 * k, 300, 80) for k in range(number)]
        field((900, 700), *discs).save(tmp_path / "fields" / f"{number}.png")
    return "fields", "--out", "out.csv", "--batch-size", "2"


def call(fields, model_folder) -> int:
    return main(["classify", fields[0], "--model", str(model_folder), *fields[1:]])


def test_a_csv_of_fields_is_carried_on_wherever_it_was_cut(fields, model_folder, tmp_path):
    assert call(fields, model_folder) == 0
    whole = (tmp_path / "out.csv").read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 1 + 1 + 15
    for kept in range(1, len(lines)):
        (tmp_path / "out.csv").unlink()
        (tmp_path / "out.csv.part").write_bytes(b"".join(lines[:kept]) + lines[kept][:-5])
        assert call(fields, model_folder) == 0
        assert (tmp_path / "out.csv").read_bytes() == whole


def test_the_command_says_how_many_pictures_are_fields(fields, model_folder, capsys):
    assert call(fields, model_folder) == 0
    assert "6 of 6 pictures are fields, with 15 white cells" in capsys.readouterr().err
    assert call((*fields, "--as", "cell"), model_folder) == 0
    assert "fields, with" not in capsys.readouterr().err
    assert len(pd.read_csv("out.csv")) == 6


def test_a_review_keeps_the_places_of_its_cells(model_folder):
    classifier = Classifier.load(model_folder)
    predictions = classifier.predict([field((900, 700), (200, 200, 90), (600, 500, 90))], how=FIELD)
    from cells.review import cell_to_json

    cells = [cell_to_json(Cell(prediction, id=str(number))) for number, prediction in enumerate(predictions)]
    value = {"format": 1, "cells": cells, "steps": [], "labels": list(classifier.labels), "second_labels": []}
    value |= {"model": "m", "second_model": "", "review_below": 0.9, "comment": ""}
    review = Review.from_json(json.loads(json.dumps(value)))
    assert [cell.prediction.place.number for cell in review.cells] == [1, 2]
    assert table.to_frame(review)["x0"].tolist() == [155, 555]


def test_a_large_picture_is_looked_at_in_tiles():
    """So that the memory that the network takes does not grow with the picture."""
    sizes = []

    def noting(pixels):
        sizes.append(pixels.shape[2] * pixels.shape[3])
        return network(pixels)

    find.find(Image.new("RGB", (5000, 4000), "white"), noting, 0.5)
    assert max(sizes) <= find.TILE**2
