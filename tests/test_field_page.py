"""Fields in a real browser: their boxes, a cell that a person adds, and a picture that is taken in another way."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from field_app import BOXES
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import started
from test_browser import EN, PHONE, ROOT, classify, download, drop, finished, opened, press, unbroken

from cells.synthetic import draw_cell

SIZE = (1200, 800)
MISSED = (500, 500, 640, 640)  # a cell that no box is around


@pytest.fixture(scope="module")
def field_url(tmp_path_factory):
    with started(ROOT, tmp_path_factory.mktemp("log"), str(Path(__file__).with_name("field_app.py"))) as (url, _):
        yield url


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    """A field of three drawn cells, and a single cell."""
    folder = tmp_path_factory.mktemp("pictures")
    field = Image.new("RGB", SIZE, "#f4e6e0")
    for label, box in zip(("neutrophil", "lymphocyte", "monocyte"), [*BOXES, None], strict=True):
        x, y = (box.x0, box.y0) if box else MISSED[:2]
        field.paste(draw_cell(label).resize((300, 300)), (round(x) - 90, round(y) - 90))
    field.save(folder / "field.png")
    draw_cell("ig").save(folder / "single.png")
    return [str(folder / "field.png"), str(folder / "single.png")]


@pytest.fixture
def page(browser, field_url, request):
    with unbroken(browser, field_url, **getattr(request, "param", {})) as page:
        yield page


def cell(page, id_: str):
    return page.locator(f'#gallery [data-cell="{id_}"]')


def box(page, id_: str):
    return page.locator(f'#field [data-box="{id_}"]')


def ids(page) -> set[str]:
    return set(page.locator("#gallery [data-cell]").evaluate_all("all => all.map(one => one.dataset.cell)"))


def decisions(page) -> dict[str, str]:
    found = page.locator("#gallery [data-cell]").evaluate_all("all => all.map(one => [one.dataset.cell, one.dataset.decision])")
    return {one: decision for one, decision in found if decision}


def draw(page, x0: float, y0: float, x1: float, y1: float) -> None:
    """Drag from corner to corner, in pixels of the field."""
    seen = page.locator("#field svg image").bounding_box()
    across, down = seen["width"] / SIZE[0], seen["height"] / SIZE[1]
    page.mouse.move(seen["x"] + x0 * across, seen["y"] + y0 * down)
    page.mouse.down()
    page.mouse.move(seen["x"] + x1 * across, seen["y"] + y1 * down, steps=3)
    page.mouse.up()


def added(page) -> str:
    """The id of the cell that a person added."""
    page.wait_for_function("document.querySelectorAll('#field [data-box]').length === 3")
    (found,) = ids(page) - {"1.1", "1.2", "2"}
    return found


def test_a_field_shows_its_boxes_and_a_box_leads_to_its_cell(page, pictures, tmp_path):
    classify(page, pictures)
    assert page.locator("#batch").inner_text().startswith("1 field with 2 cells, 1 single cell · ")
    assert ids(page) == {"1.1", "1.2", "2"}
    cell(page, "1.1").click()
    assert page.locator("#detail .file span").inner_text() == "field.png · 1"
    box(page, "1.2").click()
    assert cell(page, "1.2").get_attribute("aria-pressed") == "true"
    assert box(page, "1.2").get_attribute("class") == "selected"
    press(page, "n")
    assert decisions(page) == {"1.2": "not_a_cell"}
    assert "rejected" in box(page, "1.2").get_attribute("class")
    cell(page, "2").click()
    assert page.locator("#field").is_hidden()
    table = pd.read_csv(download(page, "#csv", tmp_path / "cells.csv"), dtype=str, keep_default_na=False)
    assert table[["field", "cell", "x0"]].to_numpy().tolist() == [
        *[["field.png", "1", "200"], ["field.png", "2", "800"], ["", "", ""]],
    ]
    cell(page, "1.1").click()
    for part in ("#give button >> nth=9", "#take_as", "#saliency", "#csv"):
        place = page.locator(part).bounding_box()
        assert place["y"] + place["height"] <= 900, part


def test_a_person_adds_a_missed_cell_and_takes_it_away_again(page, pictures, tmp_path):
    classify(page, pictures)
    cell(page, "1.1").click()
    press(page, "3")
    cell(page, "1.1").click()
    page.click("#field_add")
    draw(page, *MISSED)
    new = added(page)
    page.locator(f'#gallery [data-cell="{new}"][aria-pressed=true]').wait_for()
    saved = json.loads(download(page, "#save", tmp_path / "review.json").read_text())
    (place,) = [one["place"] for one in saved["cells"] if one["id"] == new]
    assert (place["number"], place["found"]) == (3, 0)
    assert place["box"] == pytest.approx(MISSED, abs=5)
    assert saved["fields"]["1"]["width"] == SIZE[0]
    page.reload()
    finished(page)
    assert ids(page) == {"1.1", "1.2", "2", new}
    cell(page, new).click()
    assert page.locator("#field [data-box]").count() == 3
    press(page, "u")
    page.wait_for_function("document.querySelectorAll('#gallery [data-cell]').length === 3")
    press(page, "U")
    cell(page, new).wait_for()
    page.reload()
    finished(page)
    assert ids(page) == {"1.1", "1.2", "2", new}
    cell(page, new).click()
    press(page, "u")
    page.wait_for_function("document.querySelectorAll('#gallery [data-cell]').length === 3")
    assert list(decisions(page)) == ["1.1"]
    press(page, "u")
    assert decisions(page) == {}
    page.reload()
    finished(page)
    assert ids(page) == {"1.1", "1.2", "2"}


def annotated(page, path: Path) -> Path:
    """Boxes of the field as COCO JSON, as Label Studio gives them back: a type is another, and the missed cell has a box."""
    value = json.loads(download(page, "#coco", path).read_text())
    number = {one["name"]: one["id"] for one in value["categories"]}
    assert [one["file_name"] for one in value["images"]] == ["field.png"]
    value["images"] = [value["images"][0] | {"file_name": "images/0a1b2c3d-field.png"}, {"id": 9, "file_name": "other.png"}]
    value["categories"].append({"id": 99, "name": "Red cell"})
    value["annotations"][1]["category_id"] = number["monocyte"]
    x0, y0, x1, y1 = MISSED
    more = ((1, "lymphocyte", [x0, y0, x1 - x0, y1 - y0]), (1, None, [10, 10, 50, 50]), (9, "ig", [0, 0, 9, 9]))
    for image, category, box in more:
        value["annotations"].append({"image_id": image, "category_id": number.get(category, 99), "bbox": box})
    path.write_text(json.dumps(value))
    return path


def test_boxes_and_types_go_to_another_program_and_come_back(page, pictures, tmp_path):
    classify(page, pictures)
    file = annotated(page, tmp_path / "boxes.json")
    cell(page, "1.1").click()
    press(page, "n")  # the file gives it a type
    drop(page, "#gallery", file)
    page.locator("#said", has_text="read").wait_for()
    assert page.locator("#said").inner_text() == (
        "4 boxes read: 1 decided, 1 added, 1 left as you decided it, 1 with an unknown type (Red cell) passed over; "
        "1 box is in no field of this batch."
    )
    cell(page, "1.2").click()
    new = added(page)
    wanted = {"1.1": "not_a_cell", "1.2": "monocyte", new: "lymphocyte"}
    assert decisions(page) == wanted
    page.reload()
    finished(page)
    assert decisions(page) == wanted
    packed = tmp_path / "task.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:  # as CVAT exports
        archive.write(file, "annotations/instances_default.json")
    drop(page, "#gallery", packed)  # again: nothing is decided or added twice
    page.locator("#said", has_text="4 boxes read: 2 already decided so, 1 left as you decided it").wait_for()
    assert decisions(page) == wanted
    press(page, "u", "u")
    page.wait_for_function("document.querySelectorAll('#gallery [data-cell]').length === 3")
    assert decisions(page) == {"1.1": "not_a_cell", "1.2": "monocyte"}
    press(page, "u")
    assert decisions(page) == {"1.1": "not_a_cell"}


def test_boxes_that_come_with_their_pictures_are_read_once_these_are_classified(page, pictures, tmp_path):
    classify(page, pictures)
    file = annotated(page, tmp_path / "boxes.json")
    value = json.loads(file.read_text())
    value["annotations"].append(value["annotations"][0] | {"bbox": [0, 0, *SIZE]})
    file.write_text(json.dumps(value))
    page.click("#new")
    drop(page, "#upload", file, pictures[0])
    page.locator("#said", has_text=EN["coco_waits"].format(name="boxes.json")).wait_for()
    page.click("#classify")
    page.locator("#said", has_text="5 boxes read: 2 decided, 1 added").wait_for()
    assert f"1 could not be added ({EN['errors']['box_too_large']})" in page.locator("#said").inner_text()
    assert len(decisions(page)) == 3


def test_escape_leaves_the_drawing_and_a_cell_is_added_without_the_file(page, pictures):
    classify(page, pictures)
    page.reload()
    finished(page)
    cell(page, "1.1").click()
    page.click("#field_large")
    page.click("#field_add")
    press(page, "Escape")
    assert page.locator("#field_add").get_attribute("aria-pressed") == "false"
    page.click("#field_add")
    draw(page, *MISSED)
    added(page)
    assert page.locator("#take_as").is_disabled()
    assert page.locator("#take_as").get_attribute("title") == EN["file_gone"]


def test_a_picture_is_taken_in_another_way_after_a_question_and_others_keep_their_decisions(page, pictures):
    classify(page, pictures)
    answers, asked = iter((False, True)), []

    def answer(dialog) -> None:
        asked.append(dialog.message)
        dialog.accept() if next(answers) else dialog.dismiss()

    page.on("dialog", answer)
    for one in ("2", "1.1"):
        cell(page, one).click()
        press(page, "3")
    before = decisions(page)
    cell(page, "1.1").click()
    page.click("#take_as")
    page.wait_for_function("!document.querySelector('#take_as').disabled")
    assert decisions(page) == before
    page.click("#take_as")
    cell(page, "1").wait_for()
    assert ids(page) == {"1", "2"}
    assert decisions(page) == {"2": before["2"]}
    assert asked == [EN["take_lost"].format(count=1)] * 2
    page.click("#take_as")
    cell(page, "1.2").wait_for()
    assert page.locator("#batch").inner_text().startswith("1 field with 2 cells, 1 single cell · ")
    page.reload()
    finished(page)
    assert ids(page) == {"1.1", "1.2", "2"}
    assert decisions(page) == {"2": before["2"]}


def test_a_picture_in_a_zip_is_taken_in_another_way(page, pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "fields.zip", "w") as archive:
        for picture in pictures:
            archive.write(picture, Path(picture).name)
    classify(page, [str(tmp_path / "fields.zip")])
    cell(page, "1.1").click()
    page.click("#take_as")
    cell(page, "1").wait_for()
    assert ids(page) == {"1", "2"}


def test_another_tab_follows_when_a_picture_is_taken_in_another_way(page, field_url, pictures):
    classify(page, pictures)
    other = opened(page.context.new_page(), field_url)
    finished(other)
    cell(page, "1.1").click()
    page.click("#take_as")
    cell(other, "1").wait_for()
    assert ids(other) == {"1", "2"}


def test_the_field_is_zoomed_by_wheel_and_button_and_a_double_click_shows_it_whole(page, pictures):
    def seen() -> list[float]:
        return [float(part) for part in page.locator("#field svg").get_attribute("viewBox").split()]

    classify(page, pictures)
    cell(page, "1.1").click()
    page.click("#zoom_in")
    page.locator("#field svg").hover()
    page.mouse.wheel(0, -100)
    page.wait_for_function("Number(document.querySelector('#field svg').getAttribute('viewBox').split(' ')[2]) < 700")
    before = seen()
    middle = page.locator("#field svg").bounding_box()
    x, y = middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y, steps=2)
    page.mouse.up()
    assert seen()[0] > before[0]
    page.mouse.dblclick(x, y)
    assert seen() == [0, 0, *SIZE]


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_at_phone_width_the_field_takes_the_place_of_the_gallery(page, pictures):
    classify(page, pictures)
    cell(page, "1.1").click()
    page.click("#field_large")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box(page, "1.2").click()
    assert page.locator("#detail .file span").inner_text() == "field.png · 2"
    press(page, "n")
    assert decisions(page) == {"1.2": "not_a_cell"}
    page.click("#field_large")
    assert cell(page, "1.2").is_visible()


def test_a_program_says_what_a_picture_is(field_url, pictures):
    client, files = Client(field_url, verbose=False), [handle_file(pictures[0])]
    auto = client.predict(files, "resnet18", api_name="/classify")
    assert [row["cell"] for row in auto] == [1, 2]
    assert auto[0]["field"] == "field.png"
    one = client.predict(files, "resnet18", "cell", api_name="/classify_as")
    assert [row["file"] for row in one] == ["field.png"]
    assert "field" not in one[0]
    with pytest.raises(AppError, match="how is to be auto, cell or field"):
        client.predict(files, "resnet18", "slide", api_name="/classify_as")
