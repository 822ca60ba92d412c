"""The page in a real browser, started as a newcomer starts it: classify, review, report, in both languages, on a phone.

With SCREENSHOTS=FOLDER in the environment, the README's pictures are taken there.
"""

import json
import os
import re
import urllib.request
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from serving import serve

from cells.classes import LABELS, NAMES, SPANISH
from cells.model.classifier import Classifier
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write.table import columns
from page.texts import texts

ROOT = Path(__file__).resolve().parent.parent
WAIT = 120_000  # milliseconds, for a machine that is busy
EN, ES = texts("en"), texts("es")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


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
def expected(uploads) -> Review:
    """What the page is to show of them."""
    classifier = Classifier.load("resnet18")
    names = [Path(file).name for file in uploads]
    return Review(tuple(map(Cell, classifier.predict(uploads, names))), str(classifier))


@pytest.fixture
def page(browser, page_url, request):
    """A page in a browser of the wanted kind; it must not ask anything of another host."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | getattr(request, "param", {}))
    page = context.new_page()
    page.set_default_timeout(WAIT)
    asked, broken = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("pageerror", lambda one: broken.append(str(one)))
    page.goto(page_url)
    page.wait_for_selector("#classify")
    yield page
    outside = [url for url in asked if not url.startswith((page_url, "data:", "blob:"))]
    context.close()
    assert not outside
    assert not broken


def upload(page, files: list[str]) -> None:
    page.set_input_files("#files input[type=file]", files)
    page.locator("#files tr").nth(len(files) - 1).wait_for()


def classify(page, files: list[str]) -> None:
    upload(page, files)
    page.click("#classify")
    page.locator("#gallery [data-cell]").first.wait_for()


def cell(page, index: int):
    return page.locator(f"#gallery [data-cell='{index}']")


def select(page, index: int) -> None:
    cell(page, index).click()
    page.locator("#detail .file", has_text=f"{index + 1} · ").wait_for()


def give(page, index: int, choice: str) -> None:
    """A person gives a cell a class, by its key."""
    select(page, index)
    page.keyboard.press(str(1 + [*LABELS, "not_a_cell", "two_cells"].index(choice)))
    page.locator(f"#gallery [data-cell='{index}'].decided").wait_for()


def groups(page) -> list[str]:
    return page.locator("#gallery h3").all_inner_texts()


def counts(page, text: str) -> None:
    """Wait until the counts say so."""
    page.locator("#counts", has_text=text).wait_for()


def download(page, button: str, path: Path) -> Path:
    with page.expect_download() as taken:
        page.click(button)
    taken.value.save_as(path)
    return path


def screenshot(page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_gallery_and_table_show_what_the_model_says(page, uploads, expected):
    classify(page, uploads)
    assert page.locator("#gallery [data-cell]").count() == 9
    first = expected.cells[0].prediction
    words = cell(page, 0).get_attribute("aria-label")
    assert words.startswith(f"1: basophil.png, {NAMES[first.label]} {first.probability:.1%}")
    assert (
        cell(page, 0).locator("i").evaluate("one => getComputedStyle(one).backgroundImage").startswith('url("data:image/jpeg')
    )
    assert f"{EN['status_long']['error']} · 1" in groups(page)
    assert expected.model in page.locator("#counts").inner_text()  # the model named on the page is the model that ran
    select(page, 0)
    shown = page.locator("#detail").inner_text()
    assert all(NAMES[label] in shown for label in LABELS)
    assert page.locator("#detail img").evaluate("image => image.naturalWidth") == 360
    select(page, 2)
    assert expected.cells[2].prediction.message in page.locator("#detail").inner_text()
    assert page.locator("#detail img").count() == 0

    page.get_by_role("tab", name=EN["table"]).click()
    shown = [page.locator(f"#table [data-testid='cell-{row}-2']").first.inner_text().strip() for row in range(9)]
    assert sorted(shown) == sorted(Path(file).name for file in uploads)
    row = shown.index("monocyte.png")
    page.locator(f"#table [data-testid='cell-{row}-2']").first.click()
    page.locator("#detail .file", has_text="monocyte.png").wait_for()
    screenshot(page, "table")


def test_a_person_decides_by_mouse_and_by_key_and_takes_it_back(page, uploads, expected):
    classify(page, uploads)
    select(page, 1)
    page.locator("#give label", has_text=EN["choice"]["two_cells"]).click()
    counts(page, f"1 {EN['changed']}")
    counts(page, f"1 {EN['choice']['two_cells']}")
    assert "decided" in cell(page, 1).get_attribute("class")
    select(page, 4)
    page.keyboard.press(str(1 + LABELS.index("monocyte")))
    counts(page, f"2 {EN['changed']}" if expected.cells[4].prediction.label != "monocyte" else f"1 {EN['confirmed']}")
    assert f"{EN['by_person']}: {NAMES['monocyte']}" in cell(page, 4).get_attribute("aria-label")
    page.keyboard.press("u")
    counts(page, f"1 {EN['changed']}")
    page.click("#undo")
    counts(page, f"0 {EN['changed']}")
    page.locator("#detail .file", has_text="2 · ").wait_for()  # back where the step was taken


def test_arrow_keys_walk_through_the_gallery(page, uploads):
    classify(page, uploads)
    order = page.locator("#gallery [data-cell]").evaluate_all("all => all.map(one => Number(one.dataset.cell))")
    select(page, order[0])
    page.keyboard.press("ArrowRight")
    page.locator("#detail .file", has_text=f"{order[1] + 1} · ").wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator("#detail .file", has_text=f"{order[0] + 1} · ").wait_for()


def test_the_saliency_map_lies_over_the_picture_when_it_is_asked_for(page, uploads, expected):
    classify(page, uploads)
    select(page, 7)
    before = page.locator("#detail img").get_attribute("src")
    page.click("#saliency")
    note = page.locator("#detail .note")
    note.wait_for()
    assert NAMES[expected.cells[7].prediction.label] in note.inner_text()
    assert page.locator("#detail img").get_attribute("src") != before
    for index, label in ((7, "neutrophil"), (5, "lymphocyte"), (1, "eosinophil"), (3, "erythroblast"), (6, "monocyte")):
        give(page, index, label)
    page.click("#saliency")
    note.wait_for()
    screenshot(page, "page")
    select(page, 2)
    page.click("#saliency")
    page.get_by_text(EN["errors"]["no_picture_of_cell"]).first.wait_for()


def test_the_same_browser_finds_its_work_again_until_it_is_cleared(page, uploads):
    classify(page, uploads)
    give(page, 0, "not_a_cell")
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    kept = page.evaluate("localStorage['blood-cells-steps']")
    page.fill("#comment textarea", "Slide 7")
    page.locator("#comment textarea").blur()
    page.wait_for_function("kept => localStorage['blood-cells-steps'] !== kept", arg=kept)
    page.reload()
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    assert page.locator("#gallery [data-cell]").count() == 9
    page.wait_for_function("document.querySelector('#comment textarea').value === 'Slide 7'")
    select(page, 0)
    assert page.locator("#detail img").count() == 1  # the small copy that the browser kept
    page.locator("#undo").click()
    counts(page, f"0 {EN['changed']}")
    page.click("#clear")
    page.locator("#results").wait_for(state="hidden")
    page.wait_for_function("localStorage['blood-cells-review'].length < 100")
    page.reload()
    page.click("#classify")
    page.get_by_text(EN["errors"]["no_pictures"]).first.wait_for()
    assert not page.locator("#results").is_visible()


def test_csv_excel_and_report_hold_what_was_decided(page, uploads, expected, tmp_path):
    classify(page, uploads)
    give(page, 0, "not_a_cell")
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    page.fill("#comment textarea", "=1+1 <b>not bold</b>")
    csv = pd.read_csv(download(page, "#csv", tmp_path / "cells.csv"))
    assert list(csv.columns) == columns()
    assert csv["file"].tolist() == [Path(file).name.replace("=1+1", "'=1+1") for file in uploads]
    assert csv["prediction"].fillna("").tolist() == [one.prediction.label or "" for one in expected.cells]
    assert csv["status"].tolist() == [one.prediction.status for one in expected.cells]
    assert csv["person"][0] == "not_a_cell"
    assert set(csv["model"]) == {expected.model}
    book = openpyxl.load_workbook(download(page, "#excel", tmp_path / "cells.xlsx"))
    assert book.sheetnames == ["cells", "differential", "about"]
    assert [row[1].value for row in book["cells"].iter_rows(min_row=2)] == [Path(file).name for file in uploads]
    assert len(book["cells"]._images) == 8
    assert ("comment", "=1+1 <b>not bold</b>") in list(book["about"].values)
    report = download(page, "#report", tmp_path / "report.html").read_text(encoding="utf-8")
    assert "=1+1 &lt;b&gt;not bold&lt;/b&gt;" in report
    assert expected.model in report


def test_a_users_own_typical_ranges_are_marked_and_kept(page):
    page.click("#examples")
    page.locator("#gallery [data-cell]").first.wait_for()
    give(page, 6, "neutrophil")
    page.get_by_text(EN["ranges"], exact=True).click()
    value = page.locator("#ranges [data-testid='cell-0-1']").first
    value.dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type("99")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("is to go from a lower to a higher percentage")).first.wait_for()  # 99 to 60
    value = page.locator("#ranges [data-testid='cell-0-2']").first
    value.dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type("100")
    page.keyboard.press("Enter")
    counts(page, "99\u2013100")
    page.reload()
    counts(page, "99\u2013100")


def test_a_zip_and_a_folder_stand_for_the_pictures_in_them(page, uploads, tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for file in uploads[:2]:
            archive.write(file, f"slide/{Path(file).name}")
    classify(page, [str(tmp_path / "cells.zip")])
    assert page.locator("#gallery [data-cell]").count() == 2
    assert "slide/basophil.png" in cell(page, 0).get_attribute("aria-label")

    page.reload()
    page.wait_for_selector("#classify")
    page.evaluate(DROP_A_FOLDER)
    page.locator("#files tr").nth(1).wait_for()
    assert [row.replace("\n", "") for row in page.locator("#files .filename").all_inner_texts()] == ["a.png", "b.png"]


# A folder of two files and a hidden one, as a browser hands it over; only a person's hand can drop a real one.
DROP_A_FOLDER = """() => {
  const file = name => ({ isFile: true, file: done => done(new File(['x'], name, { type: 'image/png' })) });
  let left = [[file('a.png'), file('.hidden')], [file('b.png')], []];
  const folder = { isDirectory: true, createReader: () => ({ readEntries: done => done(left.shift()) }) };
  const event = new Event('drop', { bubbles: true, cancelable: true });
  event.dataTransfer = { items: [{ webkitGetAsEntry: () => folder }] };
  document.querySelector('#files button').dispatchEvent(event);
}"""


def test_classify_without_a_picture_says_what_to_do(page):
    page.click("#classify")
    page.get_by_text(EN["errors"]["no_pictures"]).first.wait_for()


def test_500_pictures_at_once_and_not_more(page, tmp_path):
    one = tmp_path / "one.png"
    draw_cell("lymphocyte").save(one)
    files = [tmp_path / f"{number:03d}.png" for number in range(501)]
    for file in files:
        file.hardlink_to(one)
    classify(page, files[:500])
    assert page.locator("#gallery [data-cell]").count() == 500
    select(page, 150)
    page.keyboard.press("9")
    counts(page, f"1 {EN['choice']['not_a_cell']}")
    page.reload()
    counts(page, f"1 {EN['choice']['not_a_cell']}")  # so many fit into what the browser keeps
    assert page.locator("#gallery [data-cell]").count() == 500
    upload(page, files)
    page.click("#classify")
    page.get_by_text("choose at most 500").first.wait_for()


@pytest.mark.parametrize("page", [{"locale": "es-ES"}], indirect=True)
def test_a_spanish_browser_gets_spanish_and_can_change(page, page_url, uploads):
    page.wait_for_url(f"{page_url}/es")
    page.get_by_role("button", name=ES["classify"], exact=True).wait_for()
    page.click("#classify")
    page.get_by_text(ES["errors"]["no_pictures"]).first.wait_for()
    classify(page, uploads)
    select(page, 2)
    assert "La imagen está dañada" in page.locator("#detail").inner_text()
    give(page, 7, "neutrophil")
    counts(page, SPANISH["neutrophil"])
    give(page, 0, "not_a_cell")
    counts(page, f"1 {ES['choice']['not_a_cell']}")
    page.get_by_role("link", name=EN["language"]).click()
    counts(page, f"1 {EN['choice']['not_a_cell']}")  # the same work, in English
    page.goto(page_url)
    page.get_by_role("button", name=EN["classify"], exact=True).wait_for()


@pytest.mark.parametrize("page", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE], indirect=True)
def test_axe_finds_nothing_serious(page, uploads):
    classify(page, uploads)
    for tab, sign in ((EN["gallery"], "#gallery"), (EN["table"], "#table"), (EN["tab_about"], "#about img")):
        page.get_by_role("tab", name=tab).click()
        page.locator(sign).first.wait_for()
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, json.dumps(serious, indent=1)


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_at_phone_width_nothing_sticks_out(page, uploads):
    classify(page, uploads)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "phone")


def test_the_dropdown_offers_the_embedded_models(page):
    page.click("#model input")
    offered = [text.split("\n")[-1] for text in page.get_by_role("option").all_inner_texts()]  # before it: a check mark
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
        page.set_default_timeout(WAIT)
        page.goto(f"{url}/es")
        page.click("#model input")
        page.get_by_role("option", name="user/gone").click()
        page.get_by_text("user/gone no existe o no se puede ver").wait_for()  # said once
        screenshot(page, "hub_error")
        page.click("#model input")
        page.get_by_role("option", name="user/cells").click()
        classify(page, uploads[:1])
        counts(page, f"{ES['by_model']}: user/cells@")
        page.click("#real_examples")
        page.locator("#detail .file", has_text="ig.png").wait_for()
        page.close()


def test_the_about_tab_has_the_measured_figures(page):
    page.get_by_role("tab", name=EN["tab_about"]).click()
    page.locator("#about img").first.wait_for()
    measured = json.loads((ROOT / "models" / "resnet18" / "metrics.json").read_text())["test"]
    assert f"{measured['accuracy']:.4f}" in page.locator("#about").inner_text()


def test_a_program_gets_rows_from_the_python_client(page_url, uploads, expected):
    client = Client(page_url, verbose=False)
    rows = client.predict([handle_file(file) for file in uploads], "resnet18", api_name="/classify")
    assert [row["file"] for row in rows] == [Path(file).name for file in uploads]
    assert [row["prediction"] for row in rows] == [one.prediction.label for one in expected.cells]
    assert list(rows[0]) == columns()
    with pytest.raises(AppError, match="give 1 to 500"):
        client.predict([], "resnet18", api_name="/classify")


def call(url: str, path: str) -> str:
    """The README's lines for plain HTTP: start the work, then read its events."""
    body = {"data": [[{"path": path, "meta": {"_type": "gradio.FileData"}}], "resnet18"]}
    request = urllib.request.Request(
        f"{url}/gradio_api/call/classify", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    event = json.load(urllib.request.urlopen(request, timeout=60))["event_id"]
    return urllib.request.urlopen(f"{url}/gradio_api/call/classify/{event}", timeout=120).read().decode()


def test_plain_http_serves_only_what_was_uploaded(page_url, uploads):
    bytes_ = Path(uploads[0]).read_bytes()
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes_ + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    (path,) = json.load(
        urllib.request.urlopen(urllib.request.Request(f"{page_url}/gradio_api/upload", body, headers), timeout=60)
    )
    answer = call(page_url, path)
    assert answer.startswith("event: complete")
    assert '"file": "a.png"' in answer
    assert call(page_url, uploads[0]).startswith("event: error")  # a picture of the server's disk


def test_an_agent_finds_the_tool(page_url):
    pytest.importorskip("mcp")
    tools = json.load(urllib.request.urlopen(f"{page_url}/gradio_api/mcp/schema", timeout=60))
    assert [tool["name"] for tool in tools] == ["classify"]
