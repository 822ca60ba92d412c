"""The page in a real browser, started as a newcomer starts it: upload, classify, look at a cell, download.

With SCREENSHOTS=FOLDER in the environment, the README's pictures are taken there.
"""

import os
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from serving import serve

from cells.classes import ENGLISH
from cells.classifier import Classifier
from cells.drawn import LOOKS, draw_cell
from cells.table import columns

ROOT = Path(__file__).resolve().parent.parent
WAIT = 120_000  # milliseconds, for a machine that is busy


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
    for cell_type in LOOKS:
        name = "=1+1.png" if cell_type == "platelet" else f"{cell_type}.png"
        draw_cell(cell_type).save(folder / name)
        files.append(str(folder / name))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    files.insert(2, str(folder / "broken.jpg"))
    return files


@pytest.fixture
def page(browser, page_url, request):
    """A page of the wanted size, at the app; it must not ask anything of another host."""
    width, height, phone = getattr(request, "param", (1280, 900, False))
    context = browser.new_context(viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    asked = []
    page.on("request", lambda one: asked.append(one.url))
    page.goto(page_url)
    page.wait_for_selector("#classify")
    yield page
    outside = [url for url in asked if not url.startswith((page_url, "data:", "blob:"))]
    context.close()
    assert not outside


def upload(page, files: list[str]) -> None:
    page.set_input_files("#files input[type=file]", files)
    page.locator("#files tr").nth(len(files) - 1).wait_for()


def classify(page, files: list[str]) -> None:
    upload(page, files)
    page.click("#classify")
    page.locator("#csv").wait_for()
    page.locator("#table [data-testid='cell-0-2']").wait_for()


def screenshot(page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def cell(page, row: int, column: int) -> str:
    return page.locator(f"#table [data-testid='cell-{row}-{column}']").first.inner_text().strip()


def test_from_pictures_to_files(page, uploads, tmp_path):
    classify(page, uploads)
    model = str(Classifier.load("resnet18"))
    expected = list(Classifier.load("resnet18").predict(uploads))
    summary = page.locator("#summary").inner_text()
    assert "9 pictures" in summary
    assert "1 that could not be read" in summary
    assert model in summary  # the model named on the page is the model that ran

    assert [cell(page, row, 2) for row in range(4)] == ["basophil.png", "eosinophil.png", "broken.jpg", "erythroblast.png"]
    assert cell(page, 0, 3) == ENGLISH[expected[0].label]
    assert cell(page, 0, 4) == f"{expected[0].probability:.1%}"
    assert cell(page, 2, 6) == f"error: {expected[2].message}"
    assert page.locator("#table [data-testid='cell-0-1'] img").first.evaluate("image => image.naturalWidth") > 20

    page.locator("#table [data-testid='cell-3-2']").first.click()
    page.wait_for_function("document.querySelector('#name textarea, #name input').value === 'erythroblast.png'")
    assert page.locator("#picture img").evaluate("image => image.naturalWidth") == 360
    bars = page.locator("#shares").inner_text()
    assert all(name in bars for name in ENGLISH.values())
    screenshot(page, "page")

    for button, name in (("#csv", "cells.csv"), ("#excel", "cells.xlsx")):
        with page.expect_download() as download:
            page.click(button)
        download.value.save_as(tmp_path / name)
    csv = pd.read_csv(tmp_path / "cells.csv")
    assert list(csv.columns) == columns()
    assert csv["file"].tolist() == [Path(file).name.replace("=1+1", "'=1+1") for file in uploads]
    assert csv["prediction"].fillna("").tolist() == [one.label or "" for one in expected]
    assert csv["status"].tolist() == [one.status for one in expected]
    assert set(csv["model"]) == {model}
    sheet = openpyxl.load_workbook(tmp_path / "cells.xlsx")["cells"]
    assert [row[0].value for row in sheet.iter_rows(min_row=2)] == [Path(file).name for file in uploads]
    assert sheet.cell(len(uploads) + 1, 1).data_type == "s"
    assert {row[7].value for row in sheet.iter_rows(min_row=2)} == {model}


def test_an_unreadable_file_alone_is_shown_with_its_message(page, uploads):
    upload(page, uploads[2:3])
    page.click("#classify")
    page.locator("#detail").get_by_text("damaged").wait_for()
    assert page.locator("#picture").count() == 0 or not page.locator("#picture").is_visible()


def test_classify_without_a_picture_says_what_to_do(page):
    page.click("#classify")
    page.get_by_text("Drop one or more pictures first.").first.wait_for()


@pytest.mark.parametrize("page", [(390, 844, True)], indirect=True)
def test_at_phone_width_nothing_sticks_out(page, uploads):
    classify(page, uploads)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "phone")


def test_the_dropdown_offers_the_embedded_models(page):
    page.click("#model input")
    offered = [text.split("\n")[-1] for text in page.get_by_role("option").all_inner_texts()]  # before it: a check mark
    assert sorted(offered) == sorted(config.parent.name for config in ROOT.glob("models/*/config.json"))


def test_200_pictures_at_once_and_not_more(page, tmp_path):
    files = []
    for number in range(201):
        draw_cell("lymphocyte").resize((40, 40)).save(tmp_path / f"{number:03d}.png")
        files.append(str(tmp_path / f"{number:03d}.png"))
    classify(page, files[:200])
    assert "200 pictures" in page.locator("#summary").inner_text()
    page.reload()
    page.wait_for_selector("#classify")
    upload(page, files)
    page.click("#classify")
    page.get_by_text("choose at most 200").first.wait_for()
