"""The page learns from decisions: the server function, and the workbench in a real browser."""

import base64
import io
import json
import shutil
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import started
from test_adapt import BLUE, RED, cell
from test_batch_statistics import with_distance
from test_browser import ROOT, WAIT, classify, unbroken
from test_handlers import FakeLocator, ask, models, upload  # noqa: F401, fixtures

from cells.locate import parts
from cells.locate.find import Box
from cells.messages import ENGLISH
from cells.model import adapt, batch_statistics, fine_tuning
from cells.model.classifier import Classifier
from cells.read import limits
from cells.read.images import read_image, thumbnail
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


LARGE = base64.b64encode(thumbnail(Image.new("RGB", (300, 300)), 300)).decode()


@pytest.fixture
def locator(monkeypatch) -> FakeLocator:
    """It finds a cell that fills a picture of sent()."""
    fake = FakeLocator()
    width, height = cell(RED, 0).size
    fake.boxes[width, height] = [Box(5, 5, width - 5, height - 5, 0.9)]
    monkeypatch.setattr(parts, "embedded", lambda: fake)
    return fake


def as_classified(cells: list[dict], locator: FakeLocator) -> list[Image.Image]:
    """What the network was given of cells, of which some are cut anew."""
    pictures = [read_image(base64.b64decode(one["picture"])) for one in cells]
    return [
        parts.framed(picture, locator.find(picture)) if one.get("framed") else picture
        for one, picture in zip(cells, pictures, strict=True)
    ]


@pytest.fixture
def called(models, monkeypatch) -> str:  # noqa: F811
    monkeypatch.setattr(fine_tuning, "STEPS", 60)
    monkeypatch.setattr(fine_tuning, "RATE", 5e-3)
    return str(models["one"])


@pytest.fixture
def decided() -> list[dict]:
    return [sent(number, ("monocyte", "basophil")[number % 2], framed=number > 11) for number in range(16)]


def test_the_rest_of_the_batch_is_named_as_was_decided(ask, called, decided, locator, tmp_path):  # noqa: F811
    rest = [sent(100), sent(101, framed=True), sent(102, "not_a_cell"), sent(103, cut=True)]
    answer = ask(learning.learn, batch="b", model=called, cells=[*decided, *rest])
    assert (answer["batch"], answer["model"]) == ("b", called.replace("/", "+16/").replace("fp32", "torch"))
    assert [one["id"] for one in answer["cells"]] == [one["id"] for one in (*decided, *rest)]
    assert answer["cells"][-1]["status"] != "ok"  # the edge of its field cuts it
    assert answer["report"]["cells"] == {"monocyte": 8, "basophil": 8}
    zipfile.ZipFile(io.BytesIO(base64.b64decode(answer["folder"]))).extractall(tmp_path)
    kept = Classifier.load(tmp_path / "one-adapted")
    pictures = as_classified([*decided, *rest], locator)
    expected = [one["probabilities"] for one in answer["cells"]]
    np.testing.assert_allclose([one.probabilities for one in kept.predict(pictures)], expected, atol=0.02)  # float16


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ([sent(0, "monocyte"), sent(1, "basophil")], "adapt_too_few"),
        ([sent(0, "unicorn")], "bad_request"),
        ([{"id": "1"}], "bad_request"),
        ([sent(0, "monocyte", picture=LARGE)], "bad_request"),  # a hundred of these would fill the memory
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


# --- a kept model ---


@pytest.fixture(scope="module")
def kept(model_folder) -> bytes:
    """The ZIP of a model that learnt from 16 cells."""
    cells = [sent(number) for number in range(16)]
    pictures = [read_image(base64.b64decode(one["picture"])) for one in cells]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "STEPS", 60)
        patch.setattr(fine_tuning, "RATE", 5e-3)
        adapted = adapt.adapt(Classifier.load(model_folder, "one"), pictures, ["monocyte", "basophil"] * 8)
    return learning.zipped(adapted)


def contents(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def changed(packed_model: bytes, name: str, content: bytes | None) -> bytes:
    """With another file of that name in its folder; None for without."""
    files = contents(packed_model) | {f"one-adapted/{name}": content}
    return packed({name: content for name, content in files.items() if content is not None})


def test_a_kept_model_names_other_cells_as_it_learnt(ask, called, kept, upload, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path, cells = upload("one-adapted.zip", kept), [sent(100), sent(101), sent(102, cut=True)]
    answer = ask(learning.name_by_kept, batch="b", model=called, path=path, cells=cells)
    best = [int(np.argmax(one["probabilities"])) for one in answer["cells"]]
    classes = [one["name"] for one in answer["classes"]]
    assert [classes[one] for one in best] == ["monocyte", "basophil", "monocyte"]
    assert answer["cells"][-1]["status"] != "ok"
    assert answer["model"].startswith("one-adapted@")
    assert answer["report"] == {"kind": "kept", "base": "one", "made": date.today().isoformat(), "total": 16}
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]  # the server keeps nothing of it
    assert ask(learning.name_by_kept, batch="b", model=called, path=path, cells=cells)["error"]["code"] == "gone"
    alone = ask(learning.name_by_kept, batch="", path=upload("one-adapted.zip", kept), cells=[])  # before any picture
    assert (alone["report"], alone["cells"]) == (answer["report"], [])


HOSTILE = {
    "a picture more": lambda kept: changed(kept, "cell.png", b"x"),
    "pickled weights": lambda kept: changed(kept, "pytorch_model.bin", b"x"),
    "an ONNX file": lambda kept: changed(kept, "onnx/model.onnx", b"x"),
    "a name that leads out": lambda kept: packed({f"../{name}": content for name, content in contents(kept).items()}),
    "a name from the root": lambda kept: packed({f"/{name}": content for name, content in contents(kept).items()}),
    "the same name twice": lambda kept: packed(contents(kept) | {"other/config.json": b"{}"}),
    "no report": lambda kept: changed(kept, "adapted.json", None),
    "a report of something else": lambda kept: changed(kept, "adapted.json", b'{"base": 1}'),
    "a report that is deep": lambda kept: changed(kept, "adapted.json", b"[" * 100_000),
    "no weights": lambda kept: changed(kept, "model.safetensors", b"x"),
    "a header that lies": lambda kept: changed(kept, "model.safetensors", b"\xff" * 8 + b"{}"),
    "no thresholds": lambda kept: changed(kept, "trust.json", b'{"review_below": "__import__"}'),
    "other classes": lambda kept: changed(kept, "classes.json", b"[]"),
    "a bomb": lambda kept: packed(
        contents(kept) | {"one-adapted/README.md": bytes(limits.FILE_BYTES)}, compression=zipfile.ZIP_DEFLATED
    ),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_zip_that_is_no_kept_model_is_refused_in_one_sentence(how, ask, called, kept, upload, tmp_path):  # noqa: F811
    path = upload("one-adapted.zip", HOSTILE[how](kept))
    answer = ask(learning.name_by_kept, batch="b", model=called, path=path, cells=[sent(0)])
    assert answer["error"] == {"code": "kept_broken", "text": ENGLISH["kept_broken"]}
    assert not Path(path).exists()


def with_config(kept: bytes, **more: object) -> bytes:
    config = json.loads(contents(kept)["one-adapted/config.json"])
    return changed(kept, "config.json", json.dumps(config | more).encode())


def with_base(kept: bytes, base: str) -> bytes:
    report = json.loads(contents(kept)["one-adapted/adapted.json"])
    return changed(kept, "adapted.json", json.dumps(report | {"base": base}).encode())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda kept: with_config(kept, architecture="vit_giant_patch14_224"), "kept_other_version"),
        (lambda kept: with_config(kept, auto_map={"AutoConfig": "code.Config"}), "kept_other_version"),
        (lambda kept: with_base(kept, "two@1"), "kept_other_base"),
        (lambda kept: kept[:-30], "zip_broken"),
        (lambda kept: packed(contents(kept), compression=zipfile.ZIP_LZMA), "zip_compression"),
    ],
)
def test_a_kept_model_that_does_not_fit_says_why(change, code, ask, called, kept, upload):  # noqa: F811
    answer = ask(learning.name_by_kept, batch="b", model=called, path=upload("one-adapted.zip", change(kept)), cells=[sent(0)])
    assert answer["error"]["code"] == code
    assert answer["error"]["text"].count(". ") == 0


def test_a_kept_model_of_a_base_that_is_not_offered_is_refused(ask, called, kept, upload):  # noqa: F811
    path = upload("one-adapted.zip", with_base(kept, "../../etc@1"))
    assert ask(learning.name_by_kept, batch="", path=path, cells=[])["error"]["code"] == "hub_not_offered"


# --- statistics of the batch ---


def test_the_page_names_a_batch_with_its_statistics_as_the_command_line_does(ask, models, model_folder, locator, tmp_path):  # noqa: F811
    models["far"] = far = Classifier.load(with_distance(model_folder, tmp_path / "far", 1e-6))
    cells = [sent(number, framed=number % 3 == 0) for number in range(batch_statistics.FEWEST + 10)]
    pictures = as_classified(cells, locator)
    expected = batch_statistics.for_batch(far, pictures)
    answer = ask(learning.name_by_statistics, batch="b", model=str(far), cells=cells)
    assert answer["model"] == str(expected)
    assert answer["model"].endswith("/torch+batch")
    probabilities = [one["probabilities"] for one in answer["cells"]]
    expected_rows = [one.probabilities for one in expected.predict(pictures)]
    np.testing.assert_allclose(probabilities, expected_rows, atol=1e-5)  # PyTorch rounds otherwise in other batches
    assert {one["status"] for one in answer["cells"]} == {"unfamiliar"}
    assert np.abs(probabilities - far.probabilities(pictures)).max() > 1e-4


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
        page.set_default_timeout(4 * WAIT)  # of learning on a machine that is busy
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


def names(page) -> dict[str, str]:
    """What stands for each cell that is not decided."""
    read = "all => all.map(one => [one.getAttribute('aria-label').split(',')[0], one.dataset.label])"
    return dict(page.locator('#gallery [data-cell][data-decision=""]').evaluate_all(read))


def test_a_kept_model_names_the_next_batch_and_what_is_added_to_it(page, pictures, tmp_path):
    classify(page, pictures)
    before = names(page)
    decide(page, 0)
    decide(page, 1)
    page.locator("#learn").click()
    page.get_by_text("of 8 held-back decisions").wait_for()
    learnt = names(page)
    assert {name: before[name] for name in learnt} != learnt
    with page.expect_download() as download:
        page.locator("#keep_model").click()
    model, foreign = tmp_path / download.value.suggested_filename, tmp_path / "foreign-adapted.zip"
    download.value.save_as(model)
    foreign.write_bytes(packed(contents(model.read_bytes()) | {"efficientnet_lite0-adapted/code.py": b"x"}))
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#new").click()

    files = page.locator("#files input[type=file]")
    files.set_input_files(foreign)
    page.get_by_text(ENGLISH["kept_broken"]).wait_for()
    page.locator("#model").select_option("resnet18")
    files.set_input_files(model)
    page.get_by_text(
        "adapted from efficientnet_lite0 with 8 labelled cells, names the pictures that you classify next"
    ).wait_for()
    assert page.locator("#model").input_value() == "efficientnet_lite0"
    undecided = [file for file in pictures if Path(file).name in learnt]
    classify(page, undecided[:6])
    page.get_by_text("Named by your kept model of").wait_for()
    assert "efficientnet_lite0-adapted@" in page.locator("#batch").text_content()
    page.locator("#gallery [data-cell]").first.click()
    page.keyboard.press("Enter")
    decided = decisions(page)

    page.locator("#add").click()
    page.locator("#adding input[multiple]").set_input_files(undecided[6:])
    page.get_by_text("The cells are named anew").wait_for()
    page.get_by_text("The cells are named anew").wait_for(state="hidden")
    assert len(names(page)) == 7
    assert names(page).items() <= learnt.items()
    assert decisions(page) == decided
    page.reload()
    page.locator("#keep_model").wait_for()  # the browser has it still
    page.locator("#gallery [data-cell]").first.focus()
    page.keyboard.press("u")  # the decision
    page.keyboard.press("u")
    page.locator("#learnt").wait_for(state="hidden")
    assert names(page) == {name: before[name] for name in learnt}


def test_an_unfamiliar_batch_can_be_named_with_its_colours(page, pictures, tmp_path):
    offer = page.get_by_role("button", name="Name them again with this batch's colours")
    classify(page, pictures)
    page.locator("#banner").wait_for()
    assert offer.is_hidden()  # of so few cells it is not offered
    for turn in range(3):
        page.locator("#add").click()
        more = [shutil.copy(file, tmp_path / f"{turn}-{Path(file).name}") for file in pictures]  # none is in the batch already
        page.locator("#adding input[multiple]").set_input_files(more)
        page.locator("#bench[data-phase=classifying]").wait_for()
        page.locator("#bench[data-phase=review]").wait_for()
    page.locator("#gallery [data-cell]").first.click()
    page.keyboard.press("1")
    before, decided = names(page), page.locator('#gallery [data-cell]:not([data-decision=""])').count()
    offer.click()
    page.get_by_text("Named again with the colours of this batch").wait_for()
    assert page.locator("#batch").text_content().endswith("+batch")
    assert offer.is_hidden()
    assert page.locator('#gallery [data-cell]:not([data-decision=""])').count() == decided == 1
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert Path(download.value.path()).read_text("utf-8-sig").count("+batch,") == 64
    with page.expect_download() as download:
        page.locator("#report").click()
    assert texts("en")["by_statistics"] in Path(download.value.path()).read_text()
    page.locator("#gallery [data-cell]").first.focus()
    page.keyboard.press("u")
    page.locator("#learnt").wait_for(state="hidden")
    assert names(page) == before
    assert offer.is_visible()


def test_the_cells_to_label_next_can_be_shown(page, pictures):
    classify(page, pictures)
    page.locator("#filter").select_option("label")
    shown = page.locator("#gallery [data-cell]:visible")
    assert shown.count() == 12
    first = shown.first.get_attribute("data-cell")
    shown.first.click()
    page.keyboard.press("Enter")
    assert page.locator(f'#gallery [data-cell="{first}"]').is_visible()  # it stays while it is decided
