"""The page learns from decisions: the server function, and the workbench in a real browser."""

import base64
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import started
from test_adapt import BLUE, RED, cell
from test_browser import ROOT, classify, unbroken
from test_handlers import ask, models  # noqa: F401, fixtures

from cells.model import fine_tuning
from cells.model.classifier import Classifier
from cells.synthetic import draw_cell
from page import handlers, learning
from page.texts import RefusedError, texts

TYPES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil")


def sent(number: int, decision: str = "", **more: object) -> dict:
    """A cell of a batch: red and blue ones in turns."""
    buffer = io.BytesIO()
    cell(BLUE if number % 2 else RED, number).save(buffer, "JPEG", quality=95)
    return {
        "id": str(number),
        "name": f"{number}.png",
        "picture": base64.b64encode(buffer.getvalue()).decode(),
        "decision": decision,
    } | more


@pytest.fixture
def called(models, monkeypatch) -> str:  # noqa: F811
    monkeypatch.setattr(fine_tuning, "STEPS", 60)
    monkeypatch.setattr(fine_tuning, "RATE", 5e-3)
    return str(models["one"])


@pytest.fixture
def decided() -> list[dict]:
    return [sent(number, ("monocyte", "basophil")[number % 2]) for number in range(16)]


def test_the_rest_of_the_batch_is_named_as_was_decided(ask, called, decided, tmp_path):  # noqa: F811
    rest = [sent(100), sent(101), sent(102, "not_a_cell"), sent(103, cut=True)]
    answer = ask(learning.learn, batch="b", model=called, cells=[*decided, *rest])
    assert (answer["batch"], answer["model"]) == ("b", called.replace("/", "+16/").replace("fp32", "torch"))
    assert [one["id"] for one in answer["cells"]] == [one["id"] for one in (*decided, *rest)]
    assert answer["cells"][-1]["status"] != "ok"  # the edge of its field cuts it
    assert answer["report"]["cells"] == {"monocyte": 8, "basophil": 8}
    zipfile.ZipFile(io.BytesIO(base64.b64decode(answer["folder"]))).extractall(tmp_path)
    kept = Classifier.load(tmp_path / "one-adapted")
    pictures = [base64.b64decode(one["picture"]) for one in (*decided, *rest)]
    expected = [one["probabilities"] for one in answer["cells"]]
    np.testing.assert_allclose([one.probabilities for one in kept.predict(pictures)], expected, atol=0.02)  # float16


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ([sent(0, "monocyte"), sent(1, "basophil")], "adapt_too_few"),
        ([sent(0, "unicorn")], "bad_request"),
        ([{"id": "1"}], "bad_request"),
        ([], "bad_request"),
    ],
)
def test_what_cannot_be_learnt_from_is_a_sentence(ask, called, cells, code):  # noqa: F811
    assert ask(learning.learn, batch="b", model=called, cells=cells)["error"]["code"] == code


def test_a_sentence_is_in_the_language_of_the_page(ask, called):  # noqa: F811
    answer = ask(learning.learn, batch="b", model=called, cells=[sent(0, "monocyte")], language="es")
    assert answer["error"]["text"].startswith("Hay etiquetadas 1 células distintas de 1 tipos")


def test_who_comes_when_enough_wait_is_told(ask, called, decided, monkeypatch):  # noqa: F811
    full = handlers.Lane(0, 0, "busy_learning")
    monkeypatch.setattr(full, "enter", lambda: (_ for _ in ()).throw(RefusedError("busy_learning", most=4)))
    monkeypatch.setattr(learning, "LEARNING", full)
    answer = ask(learning.learn, batch="b", model=called, cells=decided)
    assert answer["error"]["text"] == texts("en")["errors"]["busy_learning"].format(most=4)


# --- in the browser ---


@pytest.fixture(scope="module")
def learning_url(tmp_path_factory):
    with started(ROOT, tmp_path_factory.mktemp("log"), str(Path(__file__).with_name("learning_app.py"))) as (url, _):
        yield url


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    """Four cells of each of four types, in colours that no laboratory of training has."""
    folder = tmp_path_factory.mktemp("pictures")
    for label in TYPES:
        for number in range(4):
            pixels = (np.asarray(draw_cell(label, number)) * [0.35, 1, 0.5]).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{label}-{number}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture
def page(browser, learning_url):
    with unbroken(browser, learning_url) as page:
        yield page


def decide(page, number: int) -> None:
    """Every cell with this number as its name says."""
    for label in TYPES:
        page.locator(f'#gallery [data-cell][aria-label^="{label}-{number}.png"]').click()
        page.locator(f'[data-choice="{label}"]').click()


def decisions(page) -> dict[str, str]:
    read = "all => all.map(one => [one.getAttribute('aria-label').split(',')[0], one.dataset.decision]).filter(pair => pair[1])"
    return dict(page.locator("#gallery [data-cell]").evaluate_all(read))


def test_learning_keeps_decisions_and_is_undone_as_one_step(page, pictures):
    classify(page, pictures)
    model = page.locator("#batch").text_content()
    assert page.locator("#learn").is_hidden()
    decide(page, 0)
    decide(page, 1)
    page.get_by_role("button", name="Learn from 8 decisions").click()
    page.locator("#learn:disabled").wait_for()
    decide(page, 2)  # meanwhile
    page.locator("#learnt:visible, #said:visible").first.wait_for()
    assert "of 8 held-back decisions" in page.locator("#learnt_words").text_content()
    assert "+8/torch" in page.locator("#batch").text_content()
    expected = {f"{label}-{number}.png": label for label in TYPES for number in range(3)}
    assert decisions(page) == expected
    with page.expect_download() as download:
        page.locator("#keep_model").click()
    assert "efficientnet_lite0-adapted/model.safetensors" in zipfile.ZipFile(download.value.path()).namelist()

    page.reload()
    page.locator(".workbench[data-ready]").wait_for()
    assert "+8/torch" in page.locator("#batch").text_content()
    assert decisions(page) == expected
    page.locator("#gallery [data-cell]").first.focus()
    page.keyboard.press("u")
    page.locator("#learnt").wait_for(state="hidden")
    assert page.locator("#batch").text_content() == model
    assert decisions(page) == expected
    page.keyboard.press("u")  # the step before
    assert len(decisions(page)) == 11


def test_the_cells_to_label_next_can_be_shown(page, pictures):
    classify(page, pictures)
    page.locator("#filter").select_option("label")
    shown = page.locator("#gallery [data-cell]:visible")
    assert shown.count() == 12
    first = shown.first.get_attribute("data-cell")
    shown.first.click()
    page.keyboard.press("Enter")
    assert page.locator(f'#gallery [data-cell="{first}"]').is_visible()  # it stays while it is decided
