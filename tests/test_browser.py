"""The workbench in a real browser, started as a newcomer starts it: classify, review, take away; and no decision is ever lost.

With SCREENSHOTS=FOLDER in the environment, the README's pictures are taken there.
"""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from serving import free_port, serve, start
from test_review import SMALL, predict, review_of, to_json

from cells.classes import LABELS, NAMES, SPANISH
from cells.messages import message
from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT
from cells.review import Cell
from cells.synthetic import draw_cell
from cells.write.table import columns
from hub.laboratories import LABORATORIES
from page.texts import texts

ROOT = Path(__file__).resolve().parent.parent
WAIT = 30_000
EN, ES = texts("en"), texts("es")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
CHOICES = [*LABELS, "not_a_cell", "two_cells"]


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """The page of this repository; when it stops, nothing of what it was given is left."""
    temporary = tmp_path_factory.mktemp("temporary")
    with serve(ROOT, tmp_path_factory.mktemp("log"), TMPDIR=str(temporary)) as url:
        yield url
    assert not list(temporary.rglob("*.*"))


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> list[str]:
    """Eight drawn cells, one named like a formula, and a broken file in the middle."""
    folder = tmp_path_factory.mktemp("uploads")
    files = []
    for cell_type in LABELS:
        name = "=1+1.png" if cell_type == "platelet" else f"{cell_type}.png"
        draw_cell(cell_type).save(folder / name)
        files.append(str(folder / name))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    files.insert(2, str(folder / "broken.jpg"))
    return files


@pytest.fixture(scope="module")
def hundred(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("hundred")
    files = [folder / f"{number:03d}.png" for number in range(100)]
    for number, file in enumerate(files):
        draw_cell(LABELS[number % 8], number // 8).save(file)
    return list(map(str, files))


@pytest.fixture(scope="module")
def expected(uploads) -> list:
    """What the model says of them."""
    return list(Classifier.load(DEFAULT).predict(uploads, [Path(file).name for file in uploads]))


@pytest.fixture(scope="module")
def usual(browser):
    """A browser of the usual kind, which keeps the page's scripts from test to test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(browser, usual, page_url, request):
    """A page in a browser of the wanted kind, where nobody was before; it must not ask anything of another host."""
    wanted = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | wanted) if wanted else usual
    page = context.new_page()
    if not wanted:
        page.context.new_cdp_session(page).send("Storage.clearDataForOrigin", {"origin": page_url, "storageTypes": "all"})
    asked, broken = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("pageerror", lambda one: broken.append(str(one)))
    opened(page, page_url)
    yield page
    outside = [url for url in asked if not url.startswith((page_url, "data:", "blob:"))]
    for tab in context.pages:
        tab.close()
    if wanted:
        context.close()
    assert not outside
    assert not broken


def opened(page, url: str):
    page.set_default_timeout(WAIT)
    page.goto(url)
    page.locator("#bench[data-ready]").wait_for()
    return page


@contextlib.contextmanager
def unbroken(browser, url: str, **options: object) -> Iterator[object]:
    """A page of its own at 1440 x 900 or as `options` have it, in which no script may fail."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
    broken = []
    page = opened(context.new_page(), url)
    page.on("pageerror", lambda one: broken.append(str(one)))
    yield page
    context.close()
    assert not broken


def classify(page, files: list[str]) -> None:
    page.set_input_files("#files input[type=file]", files)
    page.click("#classify")
    finished(page)


def finished(page) -> None:
    """A model is exported when it is first loaded, which takes long on a busy machine."""
    page.locator("#bench[data-phase=review]").wait_for(timeout=4 * WAIT)


def cell(page, name: str):
    """The cell of that file name."""
    return page.locator(f'#gallery [data-cell][aria-label^="{name},"]')


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def key_of(choice: str) -> str:
    """The number of a class, and the letters of what is no class: how many classes there are depends on the model."""
    return {"not_a_cell": "n", "two_cells": "t"}.get(choice) or str(CHOICES.index(choice) + 1)


def give(page, name: str, choice: str) -> None:
    cell(page, name).click()
    press(page, key_of(choice))
    page.locator(f'#gallery [data-cell][data-decision="{choice}"][aria-label^="{name},"]').wait_for()


def decisions(page) -> dict[str, str]:
    """File name -> what was decided."""
    found = page.locator("#gallery [data-cell]").evaluate_all(
        "all => all.map(one => [one.getAttribute('aria-label').split(',')[0], one.dataset.decision])"
    )
    return {name: decision for name, decision in found if decision}


def download(page, button: str, path: Path) -> Path:
    with page.expect_download() as taken:
        page.click(button)
    taken.value.save_as(path)
    return path


def screenshot(page, name: str) -> None:
    """A picture of the page for docs/, in 256 colours, where SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(Path(folder) / f"{name}.png", optimize=True)


# --- what is shown ---


def test_the_gallery_shows_what_the_model_says(page, uploads, expected):
    classify(page, uploads)
    assert page.locator("#gallery [data-cell]").count() == 9
    for prediction in expected:
        shown = cell(page, prediction.file)
        assert shown.get_attribute("data-label") == (prediction.label or "error")
        assert shown.get_attribute("data-decision") == ""
        assert shown.get_attribute("data-status") == prediction.status
    assert str(Classifier.load(DEFAULT)) in page.locator("#batch").inner_text()
    cell(page, "basophil.png").click()
    first = expected[0]
    shown = page.locator("#detail").inner_text()
    assert NAMES[first.label] in shown
    assert f"{first.probability:.1%}".replace("%", " %") in shown
    cell(page, "broken.jpg").click()
    assert expected[2].message in page.locator("#detail").inner_text()
    assert page.locator("#detail img").count() == 0


def test_everything_fits_on_one_screen(page, hundred):
    classify(page, hundred)
    for width, height in ((1366, 768), (1920, 1080), (1440, 900)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("[document.documentElement.scrollHeight, document.documentElement.scrollWidth]") == [height, width]
        for part in ("#gallery", "#give button >> nth=9", "#saliency", "#chart", "#csv", "#save"):
            box = page.locator(part).bounding_box()
            assert box["y"] + box["height"] <= height, part
    press(page, "ArrowRight", "ArrowRight", key_of("ig"), "g", "Enter")
    screenshot(page, "page")


def test_rows_appear_while_others_are_classified_and_stopping_keeps_them_until_a_person_goes_on(page, hundred):
    page.set_input_files("#files input[type=file]", hundred)
    page.click("#classify")
    page.locator("#bench[data-phase=classifying] [data-cell]").first.wait_for()
    page.click("#cancel")
    finished(page)
    kept = page.locator("#gallery [data-cell]").count()
    assert 0 < kept < 100
    assert page.locator("#left_words").inner_text() == EN["not_classified"]["many"].format(count=100 - kept)
    page.click("#go_on")
    finished(page)
    assert page.locator("#left").is_hidden()
    page.reload()
    finished(page)
    assert page.locator("#gallery [data-cell]").count() == 100


def test_a_model_that_is_chosen_while_a_batch_is_classified_is_for_the_next_batch(page, hundred):
    asked = []
    page.on("request", lambda request: asked.append(request.post_data or "") if "component_server" in request.url else None)
    page.set_input_files("#files input[type=file]", hundred)
    page.click("#classify")
    page.locator("#bench[data-phase=classifying] [data-cell]").first.wait_for()
    page.select_option("#model", "vit_tiny")
    finished(page)
    assert f"{DEFAULT}@" in page.locator("#batch").inner_text()
    models = [json.loads(body)["data"]["model"] for body in asked if json.loads(body).get("fn_name") == "classify"]
    assert models == [DEFAULT] * 13


def test_the_saliency_map_lies_over_its_own_cell_only(page, uploads, expected):
    classify(page, uploads)
    cell(page, "monocyte.png").click()
    before = page.locator("#detail img").get_attribute("src")
    page.click("#saliency")
    page.locator("#detail .note").wait_for()
    assert NAMES[expected[6].label] in page.locator("#detail .note").inner_text()
    assert page.locator("#detail img").get_attribute("src") != before

    cell(page, "ig.png").click()
    with page.expect_response(
        lambda one: "component_server" in one.url and "saliency" in (one.request.post_data or "")
    ) as answer:
        page.click("#saliency")
        cell(page, "lymphocyte.png").click()
    answer.value.finished()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert page.locator("#detail .note").count() == 0
    cell(page, "broken.jpg").click()
    page.click("#saliency")
    page.locator("#said", has_text=EN["errors"]["no_picture_of_cell"]).wait_for()


def test_a_users_own_typical_ranges_are_marked_and_kept(page):
    page.click("#examples")
    finished(page)
    press(page, "Home", "Shift+End", key_of("neutrophil"))  # all eight: between 63 and 100 per cent
    page.click("#ranges")
    low, high = (page.get_by_label(f"{NAMES['neutrophil']} {EN['ranges_headers'][end]}", exact=True) for end in (1, 2))
    high.fill("2")
    low.fill("1")
    low.blur()
    press(page, "Escape")
    page.locator("#chart .row.high", has_text=NAMES["neutrophil"]).wait_for()
    page.reload()
    page.locator("#chart .row.high", has_text=NAMES["neutrophil"]).wait_for()


# --- more pictures ---

# A drop of files onto an element, as a browser makes it.
DROP = """(root, files) => {
  const carried = new DataTransfer();
  for (const [name, content] of files) {
    carried.items.add(new File([Uint8Array.from(atob(content), letter => letter.charCodeAt(0))], name));
  }
  for (const type of ['dragover', 'drop']) {
    root.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: carried}));
  }
}"""


def drop(page, selector: str, *files: str) -> None:
    contents = [(Path(file).name, base64.b64encode(Path(file).read_bytes()).decode()) for file in files]
    page.locator(selector).evaluate(DROP, contents)


def count_is(page, count: int) -> None:
    page.wait_for_function(f"document.querySelectorAll('#gallery [data-cell]').length === {count}", timeout=20_000)
    finished(page)


def test_pictures_are_added_to_a_batch_and_no_decision_changes(page, uploads, tmp_path):
    asked = []
    page.on("request", lambda one: asked.append(one.post_data or "") if "component_server" in one.url else None)
    page.select_option("#second", "vit_tiny")
    classify(page, uploads[:2])
    give(page, "basophil.png", "monocyte")
    page.fill("#comment", "Slide 7")
    model = page.locator("#batch").inner_text().partition(" · ")[2]
    page.select_option("#model", "vit_tiny")  # of the next batch
    page.select_option("#second", "")
    page.click("#add")
    page.set_input_files("#adding input >> nth=0", uploads[3:5])
    count_is(page, 4)
    assert not page.locator("#adding").is_visible()
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        archive.write(uploads[0], "slide/basophil.png")
    drop(page, "#gallery", str(tmp_path / "cells.zip"), uploads[5])
    count_is(page, 6)
    page.click("#add")
    (tmp_path / "more").mkdir()
    shutil.copy(uploads[6], tmp_path / "more" / "monocyte.png")
    page.set_input_files("#adding input >> nth=1", tmp_path / "more")
    count_is(page, 7)
    ids = page.locator("#gallery [data-cell]").evaluate_all("all => all.map(one => one.dataset.cell)")
    assert len(set(ids)) == 7
    sent = [json.loads(body)["data"] for body in asked if json.loads(body).get("fn_name") == "classify"]
    assert len({one["batch"] for one in sent}) == 1
    assert {(one["model"], one["second"]) for one in sent} == {(DEFAULT, "vit_tiny")}
    assert page.locator("#batch").inner_text() == f"{EN['taken_single']['many'].format(count=7)} · {model}"
    give(page, "more/monocyte.png", "two_cells")
    page.reload()
    finished(page)
    assert decisions(page) == {"basophil.png": "monocyte", "more/monocyte.png": "two_cells"}
    assert page.locator("#gallery [data-cell]").count() == 7
    assert page.input_value("#comment") == "Slide 7"
    assert len(pd.read_csv(download(page, "#csv", tmp_path / "cells.csv"), encoding="utf-8-sig")) == 7


def test_pictures_that_are_dropped_while_others_are_classified_have_their_turn(page, hundred, uploads):
    page.set_input_files("#files input[type=file]", hundred[:40])
    page.click("#classify")
    page.locator("#bench[data-phase=classifying] [data-cell]").first.wait_for()
    drop(page, "#bench", uploads[0])
    count_is(page, 41)


def asked_to_classify(page, click: str) -> list:
    """Click; the first request to classify, as a route that has no answer yet."""
    held = []

    def hold(route) -> None:
        if not held and json.loads(route.request.post_data or "{}").get("fn_name") == "classify":
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile("component_server"), hold)
    with page.expect_request(lambda one: "component_server" in one.url and '"classify"' in (one.post_data or "")):
        page.click(click)
    return held


def test_pictures_that_are_dropped_while_a_first_batch_fails_wait_and_follow(page, uploads):
    page.set_input_files("#files input[type=file]", uploads[:1])
    held = asked_to_classify(page, "#classify")
    drop(page, "#bench", uploads[1])
    drop(page, "#bench", uploads[3])
    held[0].fulfill(json={"error": {"code": "internal", "text": EN["errors"]["internal"]}})
    page.locator("#bench[data-phase=empty]").wait_for()
    assert page.locator("#said").inner_text() == EN["errors"]["internal"]
    assert page.locator("#chosen").inner_text() == EN["chosen"].format(count=3)
    page.click("#classify")
    count_is(page, 3)
    names = page.locator("#gallery [data-cell]").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label').split(',')[0])"
    )
    assert sorted(names) == sorted(Path(uploads[place]).name for place in (0, 1, 3))


STORED = """async () => {
    const request = indexedDB.open('blood-cells');
    await new Promise(resolve => { request.onsuccess = resolve; });
    const count = request.result.transaction('reviews').objectStore('reviews').count();
    await new Promise(resolve => { count.onsuccess = resolve; });
    return count.result;
}"""


# The browser opens its database late, as where a large review is read.
LATE = """
    const open = IDBFactory.prototype.open;
    IDBFactory.prototype.open = function (...values) {
        const request = open.apply(this, values), late = { get result() { return request.result; } };
        request.onsuccess = () => setTimeout(() => late.onsuccess(), 1500);
        window.isOpening = true;
        return late;
    };
"""


def test_while_the_stored_review_is_read_nothing_takes_its_place(page, uploads):
    classify(page, uploads[:1])
    give(page, "basophil.png", "monocyte")
    page.add_init_script(LATE)
    page.reload()
    page.wait_for_function("window.isOpening")
    assert page.locator("#bench").get_attribute("data-phase") == "restoring"
    assert not page.locator("#bench button:visible", has_text=EN["classify"]).count()
    drop(page, "#bench", uploads[1])
    count_is(page, 2)
    assert decisions(page) == {"basophil.png": "monocyte"}


NEWER = """() => new Promise(resolve => {
    const request = indexedDB.open('blood-cells', 1000);
    request.onblocked = () => resolve('blocked');
    request.onsuccess = () => resolve('open');
})"""


def test_an_open_page_does_not_keep_a_newer_one_from_its_reviews(page, uploads):
    classify(page, uploads[:2])
    assert page.evaluate(NEWER) == "open"
    page.locator("#gallery [data-cell]").first.focus()
    page.keyboard.press("1")
    page.get_by_text(EN["unkept"]).wait_for()  # the older page says at once that it stores nothing any more


def test_a_batch_that_is_stopped_before_its_first_cell_is_not_stored(page, uploads):
    page.set_input_files("#files input[type=file]", uploads[:1])
    held = asked_to_classify(page, "#classify")
    page.fill("#comment", "Slide 7")
    page.click("#cancel")
    page.locator("#bench[data-phase=empty]").wait_for()
    held[0].continue_()
    assert page.evaluate(STORED) == 0
    page.click("#classify")
    finished(page)
    assert page.evaluate(STORED) == 1
    page.reload()
    finished(page)
    assert page.locator("#gallery [data-cell]").count() == 1


def test_a_batch_that_is_being_classified_does_not_go_without_a_question(page, uploads):
    asked, answers = [], [False, True]

    def answer(dialog) -> None:
        asked.append(dialog.message or dialog.type)
        dialog.accept() if answers.pop(0) else dialog.dismiss()

    page.on("dialog", answer)
    page.set_input_files("#files input[type=file]", uploads[:1])
    asked_to_classify(page, "#classify")
    page.click("#new")
    assert page.locator("#bench").get_attribute("data-phase") == "classifying"
    page.reload()
    assert asked == [EN["new_batch"], "beforeunload"]


def test_cells_of_another_version_of_the_model_join_no_batch(page, uploads):
    classify(page, uploads[:1])

    def other(route) -> None:
        route.fulfill(content_type="application/json", body=route.fetch().text().replace(f"{DEFAULT}@", f"{DEFAULT}@0"))

    page.route(re.compile("component_server"), other)
    drop(page, "#bench", uploads[1])
    page.locator("#said", has_text="start a new batch for these pictures").wait_for()
    finished(page)
    assert page.locator("#gallery [data-cell]").count() == 1


def test_a_saved_review_that_is_dropped_on_an_open_batch_takes_its_place_after_a_question(page, uploads, tmp_path):
    classify(page, uploads[:2])
    give(page, "basophil.png", "monocyte")
    saved = download(page, "#save", tmp_path / "review.json")
    give(page, "basophil.png", "ig")
    questions, accepts = [], [False, True]

    def answer(dialog) -> None:
        questions.append(dialog.message)
        dialog.accept() if accepts.pop(0) else dialog.dismiss()

    page.on("dialog", answer)
    drop(page, "#gallery", saved)
    page.wait_for_function("true")
    assert decisions(page) == {"basophil.png": "ig"}  # it was refused
    drop(page, "#gallery", saved)
    page.locator('#gallery [data-decision="monocyte"]').wait_for()
    assert questions == [EN["open_review"]] * 2
    drop(page, "#gallery", saved)  # nothing would be lost: no question
    page.reload()
    finished(page)
    assert decisions(page) == {"basophil.png": "monocyte"}
    page.click("#gallery [data-cell] >> nth=0")
    press(page, "u")
    assert decisions(page) == {}


def test_the_saliency_map_of_a_saved_review_is_not_of_a_picture_of_the_batch_before(page, uploads, tmp_path):
    classify(page, [uploads[0]])
    saved = download(page, "#save", tmp_path / "review.json")
    page.click("#new")
    classify(page, [uploads[1]])  # its first cell has the same number
    drop(page, "#gallery", saved)
    cell(page, Path(uploads[0]).name).click()
    own = page.locator("#detail img").get_attribute("src").partition(",")[2]
    with page.expect_request(lambda one: "saliency" in (one.post_data or "")) as asked:
        page.click("#saliency")
    assert own in asked.value.post_data
    page.locator("#detail .note").wait_for()


# --- decisions ---


def test_a_person_decides_by_mouse_and_by_key_undoes_and_redoes(page, uploads):
    classify(page, uploads)
    cell(page, "eosinophil.png").click()
    page.locator("#give button", has_text=EN["choice"]["two_cells"]).click()
    give(page, "ig.png", "monocyte")
    assert decisions(page) == {"eosinophil.png": "two_cells", "ig.png": "monocyte"}
    assert cell(page, "ig.png").get_attribute("data-label") == "monocyte"
    press(page, "u")
    assert decisions(page) == {"eosinophil.png": "two_cells"}
    page.click("#undo")
    assert decisions(page) == {}
    press(page, "Shift+U", "Shift+U")
    assert decisions(page) == {"eosinophil.png": "two_cells", "ig.png": "monocyte"}


def test_many_cells_are_decided_at_once_and_undone_at_once(page, hundred):
    classify(page, hundred[:40])
    group = page.locator("#gallery .group").first.locator("[data-cell]")
    group.nth(0).click()
    press(page, "Shift+ArrowRight", "Shift+ArrowRight", key_of("platelet"))
    assert list(decisions(page).values()) == ["platelet"] * 3
    press(page, "u")
    assert decisions(page) == {}
    group.nth(1).click()
    group.nth(3).click(modifiers=["Shift"])
    page.locator("#gallery .group").nth(1).locator("[data-cell]").first.click(modifiers=["Control"])
    press(page, key_of("ig"))
    assert list(decisions(page).values()) == ["ig"] * 4


def test_a_hundred_cells_of_which_five_are_wrong_take_at_most_thirty_keys(page, hundred):
    classify(page, hundred)
    guessed = page.locator("#gallery [data-cell]").evaluate_all("all => all.map(one => one.dataset.label)")
    keys = ["g"]  # to the first heading
    for _ in range(5):  # the most doubtful of the first group are wrong
        keys += ["ArrowRight"] if keys == ["g"] else []
        keys += [key_of("two_cells")]
    groups = page.locator("#gallery .group").count()
    keys += ["g"]
    press(page, *keys)
    pressed = len(keys)
    while page.locator('#gallery [data-decision=""]:not([data-label=error])').count() and pressed <= 30:
        press(page, "Enter")
        pressed += 1
    assert pressed <= 30, f"{pressed} keys, {groups} groups"
    assert len(decisions(page)) == len(guessed) == 100
    assert list(decisions(page).values()).count("two_cells") == 5


def test_space_folds_a_group_and_no_key_decides_what_is_not_seen(page, uploads):
    classify(page, uploads)
    group = page.locator("#gallery .group:has(.confirm:not([hidden]))").first
    heading = group.locator("[data-heading]")
    group.locator("[data-cell]").first.click()
    press(page, "a")
    heading.focus()
    press(page, "Space", "1")
    assert heading.get_attribute("aria-expanded") == "false"
    assert decisions(page) == {}
    press(page, "Space", "Tab")
    assert heading.get_attribute("aria-expanded") == "true"
    confirm = f"{EN['confirm_all']}: {heading.locator('.title').inner_text()}"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == confirm
    page.get_by_role("button", name=confirm, exact=True).focus()
    press(page, "Enter")
    assert decisions(page)
    assert page.locator("#decided").inner_text().endswith(NAMES[next(iter(decisions(page).values()))])


def test_dragging_decides(page, uploads):
    classify(page, uploads)
    groups = page.locator("#gallery .group")
    names = [name for name in groups.evaluate_all("all => all.map(one => one.dataset.group)") if name in LABELS]
    if len(names) < 2:
        pytest.skip("the model put all drawn cells into one group")
    page.locator(f'[data-group="{names[0]}"] [data-cell]').first.drag_to(page.locator(f'[data-group="{names[1]}"] header'))
    assert list(decisions(page).values()) == [names[1]]


def test_a_click_that_slips_within_its_group_decides_nothing(page, uploads):
    classify(page, uploads)
    box = page.locator("#gallery [data-cell]").first.bounding_box()
    x, y = box["x"] + 5, box["y"] + 5
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 20, steps=4)
    page.mouse.up()
    assert decisions(page) == {}


def test_what_is_drawn_anew_keeps_the_button_that_a_person_presses(page, uploads):
    """Else a click is lost whose cells came between press and release."""
    classify(page, uploads)
    button = page.locator("#give [data-choice]").first.element_handle()
    page.select_option("#filter", "undecided")
    assert button.evaluate("button => button.isConnected")
    page.locator("#give [data-choice]").first.click()
    assert len(decisions(page)) == 1


def test_a_comment_alone_does_not_go_without_a_question(page, uploads):
    classify(page, uploads)
    page.fill("#comment", "slide 3")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.click("#new")
    assert asked == [EN["new_batch"]]
    assert page.input_value("#comment") == "slide 3"


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_dragging_by_touch_decides(page, uploads):
    classify(page, uploads)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, x: float = 0, y: float = 0) -> None:
        points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def middle(selector: str) -> tuple[float, float]:
        box = page.locator(selector).first.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    first, second = page.locator("#gallery .group").evaluate_all("all => all.slice(0, 2).map(one => one.dataset.group)")
    wanted = {}
    for goal, decision in (
        (f'[data-group="{second}"] header', second.split("/")[-1]),
        ('[data-choice="basophil"]', "basophil"),
    ):
        dragged = f'[data-group="{first}"] [data-decision=""]'
        page.locator(".review").evaluate("all => all.scrollTo(0, 0)")  # the selected cell, further down, was scrolled to
        wanted[page.locator(dragged).first.get_attribute("aria-label").split(",")[0]] = decision
        touch("touchStart", *middle(dragged))
        page.locator(".workbench.dragging").wait_for()  # after a long touch
        touch("touchMove", *middle(goal))
        page.locator(".over").wait_for()
        touch("touchEnd")
        page.locator(".workbench:not(.dragging)").wait_for()
        assert decisions(page) == wanted
        if not page.locator(dragged).count():
            first = page.locator("#gallery .group:has([data-decision=''])").first.get_attribute("data-group")


# A person who decides one cell after another, faster than any network answers.
DECIDE = """choices => {
  for (const [name, key] of choices) {
    document.querySelector(`#gallery [data-cell][aria-label^="${name},"]`).click();
    document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  }
}"""


def test_no_decision_is_lost_or_misplaced_at_any_latency_or_without_a_server(page, uploads):
    classify(page, uploads)
    session = page.context.new_cdp_session(page)
    for shift, latency in enumerate((0, 80, 150, 400, None)):
        if latency is None:
            page.route(re.compile("component_server|upload"), lambda route: route.abort())
        else:
            network = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
            session.send("Network.emulateNetworkConditions", network)
        wanted = {Path(file).name: CHOICES[(shift + number) % 10] for number, file in enumerate(uploads)}
        page.evaluate(DECIDE, [(name, key_of(choice)) for name, choice in wanted.items()])
        assert decisions(page) == wanted
        if latency in (400, None):
            page.reload()
            finished(page)
            assert decisions(page) == wanted


def test_a_page_that_is_loaded_again_right_after_a_key_keeps_the_decision(page, uploads):
    classify(page, uploads)
    wanted = {}
    for name, choice in (("ig.png", "monocyte"), ("lymphocyte.png", "platelet"), ("monocyte.png", "not_a_cell")):
        cell(page, name).click()
        page.evaluate(
            """key => {
                document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
                location.reload();
            }""",
            key_of(choice),
        )
        page.wait_for_load_state()
        finished(page)
        wanted[name] = choice
        assert decisions(page) == wanted


def test_comment_and_decisions_come_back_and_a_new_batch_forgets_them(page, uploads):
    classify(page, uploads)
    give(page, "ig.png", "monocyte")
    page.fill("#comment", "Slide 7")
    page.reload()
    finished(page)
    assert page.input_value("#comment") == "Slide 7"
    assert decisions(page) == {"ig.png": "monocyte"}
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#new")
    page.locator("#bench[data-phase=empty]").wait_for()
    page.reload()
    page.locator("#bench[data-ready][data-phase=empty]").wait_for()


def test_two_tabs_show_the_same_decisions_and_another_batch_gets_none_of_them(page, page_url, uploads):
    classify(page, uploads)
    second = opened(page.context.new_page(), page_url)
    finished(second)
    give(page, "ig.png", "monocyte")
    second.locator('#gallery [data-decision="monocyte"]').wait_for()
    give(second, "lymphocyte.png", "platelet")
    page.locator('#gallery [data-decision="platelet"]').wait_for()
    second.on("dialog", lambda dialog: dialog.accept())
    second.click("#new")
    second.locator("#bench[data-phase=empty]").wait_for()
    page.wait_for_timeout(500)
    page.reload()
    finished(page)  # the batch that it showed is there, though the other tab removed it
    classify(second, uploads[:2])
    give(page, "monocyte.png", "two_cells")  # of the first batch, which the other tab has removed
    assert decisions(second) == {}
    for tab, wanted in (
        (second, {}),
        (page, {"ig.png": "monocyte", "lymphocyte.png": "platelet", "monocyte.png": "two_cells"}),
        (second, {}),
    ):  # each tab shows its own batch again
        tab.reload()
        finished(tab)
        assert decisions(tab) == wanted


def test_two_tabs_may_add_to_one_batch(page, page_url, uploads):
    classify(page, uploads[:1])
    second = opened(page.context.new_page(), page_url)
    finished(second)
    drop(page, "#gallery", uploads[1])
    drop(second, "#gallery", uploads[3])
    for tab in (page, second):
        count_is(tab, 3)
    give(page, "erythroblast.png", "ig")  # which the other tab added
    second.locator('#gallery [data-decision="ig"]').wait_for()
    second.fill("#comment", "Slide 7")
    page.wait_for_function("document.querySelector('#comment').value === 'Slide 7'")
    page.reload()
    finished(page)
    assert decisions(page) == {"erythroblast.png": "ig"}
    assert page.locator("#gallery [data-cell]").count() == 3


def test_a_new_batch_right_after_a_key_gets_none_of_it(page, uploads):
    classify(page, uploads)
    page.on("dialog", lambda dialog: dialog.accept())
    page.evaluate(
        """() => {
            document.querySelector('[data-cell]').focus();
            for (const key of ['1', '2', '3']) {
                document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
            }
            document.querySelector('#new').click();
        }"""
    )
    classify(page, uploads[:3])
    assert decisions(page) == {}
    give(page, "basophil.png", "ig")
    page.reload()
    finished(page)
    assert decisions(page) == {"basophil.png": "ig"}
    assert page.locator("#gallery [data-cell]").count() == 3


def test_a_full_storage_is_said_and_a_reload_keeps_what_was_decided(page, page_url, uploads, tmp_path):
    classify(page, uploads)
    give(page, "ig.png", "monocyte")
    page.add_init_script("""
        const put = IDBObjectStore.prototype.put;
        if (sessionStorage.full) IDBObjectStore.prototype.put = function (...values) {
            const request = put.apply(this, values);
            this.transaction.abort();  // as where the disk's quota is used up
            return request;
        };
    """)
    page.evaluate("sessionStorage.full = '1'")
    page.reload()
    finished(page)
    give(page, "lymphocyte.png", "platelet")
    page.fill("#comment", "Slide 7")
    page.locator("#unkept").wait_for()
    page.reload()
    finished(page)
    wanted = {"ig.png": "monocyte", "lymphocyte.png": "platelet"}
    assert decisions(page) == wanted
    assert page.input_value("#comment") == "Slide 7"
    assert json.loads(download(page, "#save", tmp_path / "review.json").read_text())["comment"] == "Slide 7"
    page.evaluate("sessionStorage.removeItem('full')")
    for _ in range(2):  # there is place again
        page.reload()
        finished(page)
        assert decisions(page) == wanted
    assert not page.evaluate("Object.keys(localStorage).filter(key => key.includes('journal'))")


def test_a_server_that_dies_in_the_middle_costs_nothing(browser, tmp_path, hundred):
    port = free_port()
    process = start(ROOT, tmp_path, port)
    page = opened(browser.new_page(), f"http://127.0.0.1:{port}")
    page.set_input_files("#files input[type=file]", hundred)
    page.click("#classify")
    page.locator("#gallery [data-cell]").first.wait_for()
    process.kill()
    process.wait()
    first = page.locator("#gallery [data-cell]").first
    first.click()
    press(page, key_of("not_a_cell"))
    page.locator("#said", has_text=EN["errors"]["server_retry"]).wait_for()
    process = start(ROOT, tmp_path, port)
    try:
        page.locator("#bench[data-phase=review]").wait_for()
        if page.locator("#gallery [data-cell]").count() < 100:  # the server was away for longer than the page asks
            pytest.skip("this machine was too busy to start the server again in time")
        assert list(decisions(page).values()) == ["not_a_cell"]
    finally:
        page.close()
        process.terminate()
        process.wait(60)


def test_where_the_browser_keeps_nothing_the_page_says_so_and_the_file_holds_everything(browser, page_url, uploads, tmp_path):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("""
        Object.defineProperty(window, 'indexedDB', {value: {open() { throw new Error('refused'); }}});
        for (const name of ['localStorage', 'sessionStorage']) {
            Object.defineProperty(window, name, {get() { throw new Error('refused'); }});
        }
    """)
    opened(page, page_url)
    page.get_by_text(EN["unkept"]).wait_for()
    classify(page, uploads)
    give(page, "ig.png", "monocyte")
    page.fill("#comment", "Slide 7")
    saved = download(page, "#save", tmp_path / "review.json")
    context.close()

    page = opened(browser.new_page(), page_url)  # another computer
    page.set_input_files("#files input[type=file]", saved)
    finished(page)
    assert decisions(page) == {"ig.png": "monocyte"}
    assert page.input_value("#comment") == "Slide 7"
    assert page.locator("#gallery [data-cell] img").count() == 8
    page.reload()
    finished(page)
    assert decisions(page) == {"ig.png": "monocyte"}
    page.close()


def test_a_file_that_is_neither_a_review_nor_coco_is_said(page, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    page.set_input_files("#files input[type=file]", tmp_path / "other.json")
    page.locator("#said", has_text=EN["errors"]["no_json"].format(name="other.json")).wait_for()


# --- blasts ---


@pytest.fixture
def suspicious(tmp_path) -> Path:
    """A saved review of a model of ten classes: of eight cells three may be blasts, one of which is unfamiliar."""
    labels = (*LABELS, "blast", "smudge")
    may_be = {"suspected_blast": True, "message": message("blast"), "labels": labels}
    cells = [
        Cell(predict(label, labels=labels), SMALL) for label in ("neutrophil", "neutrophil", "lymphocyte", "monocyte", "smudge")
    ]
    cells += [
        Cell(predict("lymphocyte", 0.6, "review", file="first.png", **may_be), SMALL),
        Cell(predict("blast", 0.6, "review", file="second.png", **may_be), SMALL),
        Cell(predict("ig", 0.6, "unfamiliar", file="third.png", **may_be | {"message": message("unfamiliar")}), SMALL),
    ]
    file = tmp_path / "review.json"
    file.write_text(json.dumps(to_json(review_of(*cells, review_below=0.9))))
    return file


def opened_review(page, file: Path) -> None:
    page.set_input_files("#files input[type=file]", file)
    finished(page)


def test_cells_that_may_be_blasts_stand_first_and_a_line_at_the_top_leads_to_them(page, suspicious, tmp_path):
    opened_review(page, suspicious)
    line = page.get_by_role("alert").filter(has_text="may be")
    assert line.inner_text() == EN["blasts"]["many"].format(count=3)
    assert line.bounding_box()["y"] < page.locator("#gallery").bounding_box()["y"]
    groups = page.locator("#gallery .group")
    assert groups.evaluate_all("all => all.map(one => one.dataset.group)") == [
        *("blast", "neutrophil", "lymphocyte", "monocyte", "smudge", "unfamiliar/ig"),
    ]
    lymphocytes = page.locator('[data-group="lymphocyte"] [data-cell]')
    assert lymphocytes.first.get_attribute("aria-label").startswith("first.png,")
    assert EN["may_be_blast"] in lymphocytes.first.get_attribute("aria-label")
    page.locator('[data-heading="blast"]').click()  # folded
    page.select_option("#filter", "unfamiliar")
    line.get_by_role("button").click()
    assert cell(page, "second.png").get_attribute("aria-pressed") == "true"
    assert cell(page, "second.png").is_visible()
    assert EN["may_be_blast"] in page.locator("#detail").inner_text()
    page.locator('[data-group="lymphocyte"] .confirm').click()
    assert decisions(page) == {"lymphocyte.png": "lymphocyte"}  # first.png is decided by itself
    screenshot(page, "blasts")


def test_a_cell_that_may_be_a_blast_is_not_confirmed_among_others(page, suspicious):
    opened_review(page, suspicious)
    cell(page, "lymphocyte.png").click()
    press(page, "a", "Enter")
    assert decisions(page) == {"lymphocyte.png": "lymphocyte"}
    cell(page, "first.png").click()
    press(page, "Enter")
    assert decisions(page)["first.png"] == "lymphocyte"


def test_the_line_of_blasts_follows_the_decisions(page, suspicious, tmp_path):
    opened_review(page, suspicious)
    line = page.locator("#blasts")
    give_label(page, "first.png", "lymphocyte")
    assert line.inner_text() == EN["blasts"]["many"].format(count=2)
    give_label(page, "second.png", "blast")
    assert line.inner_text() == f"{EN['blasts']['one']}. {EN['blasts_decided']['one']}"
    report = download(page, "#report", tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{EN['blasts']['one']}. {EN['blasts_decided']['one']}." in report
    page.locator("#chart .row", has_text=NAMES["blast"]).wait_for()
    assert NAMES["smudge"] in page.locator("#others").inner_text()
    page.reload()
    finished(page)
    assert line.inner_text() == f"{EN['blasts']['one']}. {EN['blasts_decided']['one']}"
    give_label(page, "third.png", "not_a_cell")
    assert line.inner_text() == EN["blasts_decided"]["one"]
    press(page, "u")
    assert line.inner_text().startswith(EN["blasts"]["one"])
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#new")
    line.wait_for(state="hidden")
    page.click("#examples")
    finished(page)
    assert line.is_hidden()


def give_label(page, name: str, label: str) -> None:
    """As give(), by the button of any model's class."""
    cell(page, name).click()
    page.locator(f'#give [data-choice="{label}"]').click()
    page.locator(f'#gallery [data-cell][data-decision="{label}"][aria-label^="{name},"]').wait_for()


# --- what is taken away ---


def test_csv_excel_and_report_hold_what_was_decided(page, uploads, expected, tmp_path):
    classify(page, uploads)
    give(page, "basophil.png", "not_a_cell")
    page.fill("#comment", "=1+1 <b>not bold</b>")
    csv = pd.read_csv(download(page, "#csv", tmp_path / "cells.csv"), encoding="utf-8-sig")
    assert list(csv.columns) == columns()
    assert csv["file"].tolist() == [Path(file).name.replace("=1+1", "'=1+1") for file in uploads]
    assert csv["prediction"].fillna("").tolist() == [one.label or "" for one in expected]
    assert csv["status"].tolist() == [one.status for one in expected]
    assert csv["person"][0] == "not_a_cell"
    book = openpyxl.load_workbook(download(page, "#excel", tmp_path / "cells.xlsx"))
    assert [row[1].value for row in book.worksheets[0].iter_rows(min_row=2)] == [Path(file).name for file in uploads]
    assert len(book.worksheets[0]._images) == 8
    assert "=1+1 <b>not bold</b>" in [row[1] for row in book.worksheets[2].values]
    report = download(page, "#report", tmp_path / "report.html").read_text(encoding="utf-8")
    assert "=1+1 &lt;b&gt;not bold&lt;/b&gt;" in report
    assert str(Classifier.load(DEFAULT)) in report


# --- what is taken in ---


def test_a_zip_and_a_folder_keep_the_names_of_their_folders(page, uploads, tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for file in uploads[:2]:
            archive.write(file, f"slide/{Path(file).name}")
    classify(page, [str(tmp_path / "cells.zip")])
    assert page.locator("#gallery [data-cell]").count() == 2
    assert cell(page, "slide/basophil.png").count() == 1

    page.click("#new")
    for name in ("a/001.png", "b/001.png"):
        (tmp_path / "dropped" / name).parent.mkdir(parents=True)
        shutil.copyfile(uploads[0], tmp_path / "dropped" / name)
    (tmp_path / "dropped" / "notes.txt").write_text("no picture")
    page.set_input_files("#folder input[type=file]", tmp_path / "dropped")
    page.click("#classify")
    finished(page)
    assert page.locator("#gallery [data-cell]").count() == 2
    assert cell(page, "dropped/a/001.png").count() == cell(page, "dropped/b/001.png").count() == 1


def test_more_than_500_pictures_are_refused_before_one_is_uploaded(page, tmp_path):
    one = tmp_path / "one.png"
    draw_cell("lymphocyte").save(one)
    files = [tmp_path / f"{number:03d}.png" for number in range(501)]
    for file in files:
        file.hardlink_to(one)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_input_files("#files input[type=file]", files)
    page.locator("#said", has_text="at most 500").wait_for()
    assert not any("upload" in url for url in asked)


def test_two_models_are_compared(page, uploads):
    page.select_option("#second", "vit_tiny")
    classify(page, uploads)
    assert "vit_tiny@" in page.locator("#batch").inner_text()


def test_the_lists_offer_the_embedded_models(page):
    offered = page.locator("#model option").all_inner_texts()
    assert sorted(offered) == sorted(config.parent.name for config in ROOT.glob("models/*/config.json"))


def test_a_model_of_the_hub_is_fetched_when_chosen_and_one_that_is_gone_is_a_sentence(
    hub, hub_environment, browser, tmp_path, uploads
):
    folder = ROOT / "models" / "resnet18"
    hub.add("model", "user/cells", {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")})
    hub.add("dataset", "user/pbc", {"examples/ig.png": Path(uploads[5]).read_bytes(), "README.md": b""})
    named = {"PBC_MODELS": "user/cells user/gone", "PBC_EXAMPLES": "user/pbc"}
    environment = {key: hub_environment[key] for key in hub_environment if key.startswith("HF_")}
    with serve(ROOT, tmp_path, **named, **environment) as url:
        page = browser.new_page(locale="es-ES", viewport=PHONE["viewport"])
        opened(page, f"{url}/es")
        page.select_option("#model", "user/gone")
        page.locator("#said", has_text="user/gone no existe o no se puede ver").wait_for()
        page.select_option("#model", "user/cells")
        page.locator("#model:enabled").wait_for()
        classify(page, uploads[:1])
        assert "user/cells@" in page.locator("#batch").inner_text()
        page.click("#new")
        page.click("#real")
        finished(page)
        assert cell(page, "ig.png").count() == 1
        page.close()


# --- for everyone ---


@pytest.mark.parametrize("page", [{"locale": "es-ES"}], indirect=True)
def test_a_spanish_browser_gets_spanish_and_can_change(page, page_url, uploads):
    page.wait_for_url(f"{page_url}/es")
    page.locator("#bench[data-ready]").wait_for()
    classify(page, uploads)
    cell(page, "broken.jpg").click()
    assert "La imagen está dañada" in page.locator("#detail").inner_text()
    give(page, "ig.png", "monocyte")
    assert SPANISH["monocyte"] in page.locator("#chart").inner_text()
    page.get_by_role("link", name=EN["language"]).click()
    page.wait_for_url(f"{page_url}/")
    finished(page)
    assert decisions(page) == {"ig.png": "monocyte"}  # the same work, in English
    page.goto(page_url)
    page.get_by_role("button", name=EN["new"], exact=True).wait_for()


def test_axe_finds_nothing(page, page_url, uploads, suspicious):
    """In both languages, at three widths, light and dark, before and after classifying."""

    def look(*, dialogs: bool = False) -> None:
        Axe().run(page)  # it brings axe into the page
        for width, height in ((390, 844), (1366, 768), (1920, 1080)):
            page.set_viewport_size({"width": width, "height": height})
            for _ in range(2):
                page.click("#theme")
                found("")
        for dialog in ("help", "ranges", "add") if dialogs else ():
            page.click(f"#{dialog}")
            found(dialog)
            press(page, "Escape")

    def found(where: str) -> None:
        violations = page.evaluate("async () => (await axe.run({resultTypes: ['violations']})).violations")
        place = [page.url, page.viewport_size, page.locator("#bench").get_attribute("data-theme"), where]
        assert not violations, json.dumps([place, violations], indent=1)

    look()
    classify(page, uploads)
    give(page, "ig.png", "monocyte")
    look(dialogs=True)
    opened(page, f"{page_url}/es")
    finished(page)
    look(dialogs=True)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#new")
    look()
    opened_review(page, suspicious)
    page.locator("#blasts").wait_for()
    look()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_at_phone_width_the_decisions_stand_at_the_bottom_and_nothing_sticks_out(page, uploads):
    classify(page, uploads)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator("#give button").all()[:3]:
        box = button.bounding_box()
        assert box["height"] >= 44
        assert box["y"] > 844 / 2
    assert page.locator("#redo").is_visible()
    screenshot(page, "phone")


def test_the_about_text_has_the_measured_figures(page):
    page.click("#help")
    measured = json.loads((ROOT / "models" / "resnet18" / "metrics.json").read_text())["test"]
    words = page.locator("#about").inner_text()
    assert f"{measured['accuracy']:.4f}" in words
    blasts = json.loads((ROOT / "models" / DEFAULT / "metrics.json").read_text())["blast"]["cells"]
    assert f"the model flags {100 * blasts['sensitivity']:.1f} %" in words
    assert all(f"{one.title}: " in words for one in LABORATORIES.values())
