"""What the workbench asks the server, called directly: no answer needs another one, and none raises."""

import asyncio
import base64
import codecs
import csv
import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image
from test_review import SMALL, decide, predict, review_of, to_json, unreadable

from cells.classes import LABELS, CellClass, describe
from cells.classes import to_json as classes_to_json
from cells.locate import parts
from cells.locate.find import Box
from cells.messages import message
from cells.model.classifier import Classifier
from cells.read import limits
from cells.read.images import read_image
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import table
from hub import catalog, examples
from page import fields, handlers
from page.texts import LANGUAGES, texts

EN, ES = texts("en")["errors"], texts("es")["errors"]


@pytest.fixture(autouse=True)
def models(monkeypatch, model_folder):
    """Two models of random weights in place of the offered ones."""
    known = {name: Classifier.load(model_folder, name) for name in ("one", "two")}

    def load(name: str) -> Classifier:
        if name not in known:
            raise handlers.HubError("hub_not_offered", model=name)
        return known[name]

    monkeypatch.setattr(catalog, "load", load)
    monkeypatch.setattr(catalog, "names", lambda: ["one", "two", "user/far"])
    monkeypatch.setattr(catalog, "is_embedded", lambda name: name in known)
    return known


class FakeLocator:
    """In place of the embedded one: `boxes` by the picture's (width, height); elsewhere no cell."""

    def __init__(self) -> None:
        self.boxes: dict[tuple[int, int], list[Box]] = {}

    def find(self, image: Image.Image) -> list[Box]:
        return self.boxes.get(image.size, [])


@pytest.fixture(autouse=True)
def locator(monkeypatch) -> FakeLocator:
    fake = FakeLocator()
    monkeypatch.setattr(parts, "embedded", lambda: fake)
    return fake


@pytest.fixture
def upload(tmp_path, monkeypatch):
    """upload(name, content) -> the path of a file that lies where the server keeps uploads."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))

    def put(name: str, content: bytes) -> str:
        folder = tmp_path / "files" / os.urandom(8).hex()
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        return str(folder / name)

    return put


def png(label: str = "neutrophil") -> bytes:
    buffer = io.BytesIO()
    draw_cell(label).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/") + ".png", content)
    return buffer.getvalue()


@pytest.fixture
def ask(run_async):
    """ask(function, ...) -> its answer, in English where no language is given."""

    def call(function, **asked: object) -> dict:
        answer = function({"language": "en"} | asked)
        return run_async(answer) if asyncio.iscoroutine(answer) else answer

    return call


@pytest.fixture
def classify(ask):
    """classify(source, ...) with ids by place -> the answer."""

    def call(*sources: dict, **more: object) -> dict:
        sources = [{"id": str(place), "name": f"{place}.png"} | source for place, source in enumerate(sources)]
        return ask(handlers.classify, **{"batch": "b", "model": "one", "second": "", "sources": sources} | more)

    return call


# --- classify ---


def test_a_cell_has_what_the_model_says_and_the_name_that_the_browser_gave(classify, upload, models):
    answer = classify({"path": upload("x.png", png()), "name": "patient ñ/b/001.png"}, {"path": upload("x.png", b"no picture")})
    assert {key: answer[key] for key in ("batch", "model", "second_model", "second_labels")} == {
        **{"batch": "b", "model": str(models["one"]), "second_model": "", "second_labels": []},
    }
    assert answer["labels"] == list(LABELS)
    assert (answer["classes"], answer["second_classes"]) == (classes_to_json(describe(LABELS)), [])
    assert answer["review_below"] == models["one"].uncertainty.review_below
    good, bad = answer["cells"]
    (expected,) = models["one"].predict([draw_cell("neutrophil")], ["a"])
    np.testing.assert_array_equal(good["probabilities"], expected.probabilities)
    assert (good["id"], good["name"], good["status"]) == ("0", "patient ñ/b/001.png", expected.status)
    assert (good["prediction_set"], good["second"]) == (list(expected.prediction_set), None)
    assert max(read_image(base64.b64decode(good["picture"])).size) == 256
    assert (bad["probabilities"], bad["status"], bad["prediction_set"], bad["picture"]) == (None, "error", [], "")
    assert bad["message"] == {"code": "picture_unknown", "values": {}, "text": message("picture_unknown")}


def test_a_message_is_in_the_language_of_the_page(classify, upload):
    (cell,) = classify({"path": upload("x.png", b"")}, language="es")["cells"]
    assert cell["message"]["text"].startswith("El archivo está vacío")


def test_a_second_model_stands_beside_the_first_and_the_same_model_runs_once(classify, models, monkeypatch):
    calls = []
    backend = type(models["one"].backend)
    submit = backend.submit
    monkeypatch.setattr(backend, "submit", lambda self, image: calls.append(1) or submit(self, image))
    answer = classify({"drawn": "ig"}, second="two")
    assert (answer["second_model"], answer["second_labels"]) == (str(models["two"]), list(LABELS))
    assert answer["cells"][0]["second"]["probabilities"] == answer["cells"][0]["probabilities"]
    assert len(calls) == 2
    answer = classify({"drawn": "ig"}, second="one")
    assert (answer["second_model"], answer["cells"][0]["second"], len(calls)) == ("", None, 3)


def test_an_upload_is_deleted_with_its_folder_once_it_is_classified(classify, upload):
    paths = [upload(f"{number}.png", png()) for number in range(2)]
    assert len(classify(*({"path": path} for path in paths))["cells"]) == 2
    assert not any(Path(path).parent.exists() for path in paths)


def test_a_call_that_failed_keeps_its_uploads_so_that_it_can_be_sent_again(classify, upload):
    path = upload("a.png", png())
    assert classify({"path": path}, model="gone")["error"]["code"] == "hub_not_offered"
    assert len(classify({"path": path})["cells"]) == 1
    assert classify({"path": path})["error"] == {"code": "gone", "text": EN["gone"]}


def test_a_zip_is_listed_and_its_entries_classified_by_their_place(ask, classify, upload):
    path = upload("a.zip", zipped(a__001=png("ig"), b__001=png("platelet"), b__bad=b"no picture"))
    entries = ask(handlers.open_archive, path=path)["entries"]
    assert entries == [{"entry": place, "name": name} for place, name in enumerate(("a/001.png", "b/001.png", "b/bad.png"))]
    cells = classify(*({"path": path, "entry": entry["entry"], "name": entry["name"]} for entry in entries[1:]))["cells"]
    assert [(cell["name"], cell["status"] == "error") for cell in cells] == [("b/001.png", False), ("b/bad.png", True)]
    (alone,) = classify({"drawn": "platelet"})["cells"]
    assert cells[0]["probabilities"] == alone["probabilities"]
    assert Path(path).exists()  # other chunks of it come
    assert ask(handlers.discard, paths=[path, path, "/etc/passwd"]) == {}
    assert not Path(path).parent.exists()
    assert Path("/etc/passwd").exists()


def test_the_chunks_of_a_zip_share_one_reading_of_its_contents(ask, classify, upload, monkeypatch):
    read, pictures = [], handlers.archive.pictures
    monkeypatch.setattr(handlers.archive, "pictures", lambda *arguments: read.append(1) or pictures(*arguments))
    path = upload("a.zip", zipped(a=png("ig"), b=png("platelet")))
    ask(handlers.open_archive, path=path)
    for entry in range(2):
        (cell,) = classify({"path": path, "entry": entry, "name": ""})["cells"]
        assert cell["name"] == f"{'ab'[entry]}.png"
    assert len(read) == 1
    Path(path).write_bytes(zipped(c=png("ig"), d=png("platelet"), e=b"no picture"))  # another file of that path
    assert classify({"path": path, "entry": 2, "name": ""})["cells"][0]["name"] == "e.png"
    ask(handlers.discard, paths=[path])
    assert handlers.read_archive.cache_info().currsize == 0  # no name of a deleted file stays


def test_a_zip_that_cannot_be_used_is_a_sentence(ask, upload):
    assert ask(handlers.open_archive, path=upload("a.zip", b"x"), language="es")["error"]["text"].startswith(
        "El ZIP está dañado"
    )
    assert ask(handlers.open_archive, path=upload("a.zip", zipped()))["error"]["code"] == "zip_empty"


def test_drawn_examples_need_no_file(classify):
    answer = classify(*({"drawn": label, "name": ""} for label in LABELS), language="es")
    assert [cell["name"] for cell in answer["cells"]][:2] == ["dibujo: basófilo", "dibujo: eosinófilo"]


@pytest.fixture
def places(upload, tmp_path) -> dict[str, str]:
    """Paths that are no uploads."""
    mine = Path(upload("a.png", png()))
    outside = tmp_path / "outside.png"
    outside.write_bytes(png())
    (mine.parent / "link.png").symlink_to(outside)
    (mine.parent.parent / "folder").symlink_to(tmp_path)
    return {
        **{"file of the system": "/etc/passwd", "beside the folder": str(outside), "relative": "app.py", "empty": ""},
        **{"link": str(mine.parent / "link.png"), "folder": str(mine.parent), "all uploads": str(mine.parent.parent)},
        "out of the folder": f"{mine.parent}/../../outside.png",
        "round about": f"{mine.parent}/../{mine.parent.name}/a.png",
        "linked folder": str(mine.parent.parent / "folder" / "outside.png"),
        **{"zero": f"{mine}\x00", "too long": f"{mine.parent}/{'a' * 300}", "address": "http://127.0.0.1/a.png"},
    }


KINDS = (
    *("file of the system", "beside the folder", "relative", "empty", "link", "folder", "all uploads", "out of the folder"),
    *("round about", "linked folder", "zero", "too long", "address"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_only_an_upload_of_this_server_is_read_or_deleted(ask, classify, places, kind, capfd):
    path = places[kind]
    existed = os.path.lexists(path) if "\x00" not in path else False
    refused = {"code": "not_uploaded", "text": EN["not_uploaded"]}
    assert classify({"path": path})["error"] == refused
    assert ask(handlers.open_archive, path=path)["error"] == refused
    model = classify({"drawn": "ig"})["model"]
    assert ask(handlers.saliency, model=model, label="ig", path=path)["error"]["code"] == "bad_request"  # it takes no path
    assert ask(handlers.discard, paths=[path]) == {}
    assert not existed or os.path.lexists(path)
    assert capfd.readouterr().err == ""


BAD = [None, 1, [], "x", {}, [{}], [1], [{"id": "1"}], [{"id": 1, "path": "x"}], [{"id": "1", "drawn": "blast"}],
       [{"id": "1", "drawn": []}], [{"id": "1", "example": 0}], [{"id": "1", "drawn": "ig"}] * 17]  # fmt: skip


@pytest.mark.parametrize("sources", BAD, ids=str)
def test_sources_that_are_none_are_refused(ask, sources, monkeypatch):
    monkeypatch.setattr(examples, "cached", list)
    found = ask(handlers.classify, batch="b", model="one", second="", sources=sources)
    assert found["error"] == {"code": "bad_request", "text": EN["bad_request"]}


@pytest.mark.parametrize("function", handlers.SERVER_FUNCTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    "asked", [None, [], "x", 5, {}, {"language": 1}, {"language": "es", "path": [], "model": {}, "kind": 5}]
)
def test_whatever_is_asked_the_answer_is_a_sentence_and_the_log_stays_empty(function, asked, run_async, capfd):
    answer = function(asked)
    answer = run_async(answer) if asyncio.iscoroutine(answer) else answer
    assert answer["error"]["text"] in (*EN.values(), *ES.values())
    assert capfd.readouterr().err == ""


def test_an_error_of_ours_is_logged_without_words_and_told_as_a_sentence(classify, upload, monkeypatch, capfd):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("patient-Lopez.png is broken")

    monkeypatch.setattr(handlers, "classify_all", fail)
    assert classify({"path": upload("patient-Lopez.png", png())})["error"] == {"code": "internal", "text": EN["internal"]}
    said = capfd.readouterr().err
    assert said.startswith("classify: RuntimeError at ")
    assert "Lopez" not in said


def test_a_disk_that_fails_is_a_sentence(classify, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/tmp/patient.png")

    monkeypatch.setattr(handlers, "classify_all", fail)
    assert classify({"drawn": "ig"}, language="es")["error"] == {"code": "disk_full", "text": ES["disk_full"]}


# --- fields ---

FIELD = (2000, 1500)
BOXES = [Box(300, 300, 420, 420, 0.9), Box(1000, 700, 1120, 820, 0.8), Box(1900, 1000, 2000, 1120, 0.7)]  # the last is cut


@pytest.fixture(scope="module")
def field() -> bytes:
    """Three drawn cells on a light ground, where BOXES are; one is cut by the edge."""
    picture = Image.new("RGB", FIELD, "#f4e6e0")
    for label, box in zip(("neutrophil", "lymphocyte", "monocyte"), BOXES, strict=True):
        picture.paste(draw_cell(label).resize((280, 280)), (round(box.x0) - 80, round(box.y0) - 80))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def field_path(locator, upload, field) -> str:
    """The same as an upload, of which the locator finds the cells."""
    locator.boxes[FIELD] = BOXES
    return upload("field.png", field)


def test_each_cell_of_a_field_is_a_cell_of_the_review_beside_single_ones(classify, field_path, upload):
    sources = {"path": upload("a.png", png())}, {"path": field_path, "name": "field.png"}, {"path": upload("b.png", b"x")}
    answer = classify(*sources)
    assert [(cell["id"], cell["source"], cell["name"]) for cell in answer["cells"]] == [
        *[("0", "0", "0.png"), ("1.1", "1", "field.png"), ("1.2", "1", "field.png"), ("1.3", "1", "field.png")],
        ("2", "2", "2.png"),
    ]
    single, *cells, broken = answer["cells"]
    assert (single["place"], broken["place"], broken["status"]) == (None, None, "error")
    assert [cell["place"]["box"] for cell in cells] == [[box.x0, box.y0, box.x1, box.y1] for box in BOXES]
    assert [cell["place"]["number"] for cell in cells] == [1, 2, 3]
    assert [cell["place"]["cut"] for cell in cells] == [False, False, True]
    assert cells[2]["status"] != "ok"
    assert len({cell["picture"] for cell in cells}) == 3


def test_the_picture_of_a_field_comes_once_and_small_with_its_true_size(classify, field_path, upload):
    (found,) = classify({"path": upload("a.png", png())}, {"path": field_path})["fields"].items()
    assert found[0] == "1"
    assert (found[1]["width"], found[1]["height"]) == FIELD
    assert read_image(base64.b64decode(found[1]["picture"])).size == (1280, 960)
    assert not Path(field_path).parent.exists()


def test_a_field_without_a_white_cell_is_one_row_without_an_answer(classify, field_path, locator):
    locator.boxes.clear()
    answer = classify({"path": field_path}, language="es")
    (cell,) = answer["cells"]
    assert (cell["id"], cell["status"], cell["probabilities"], cell["place"]) == ("0", "empty", None, None)
    assert cell["message"]["text"] == texts("es")["messages"]["field_empty"]
    assert list(answer["fields"]) == ["0"]


def test_a_small_picture_of_a_platelet_that_the_locator_takes_for_a_cell_is_a_single_cell(classify, upload, locator):
    platelet = draw_cell("platelet")
    locator.boxes[platelet.size] = [Box(148, 150, 205, 208, 0.76)]
    (cell,) = classify({"path": upload("a.png", png("platelet"))})["cells"]
    assert (cell["id"], cell["place"]) == ("0", None)


def test_a_single_cell_that_is_framed_closely_is_cut_anew_for_the_network_and_shown_as_it_is(classify, upload, locator):
    width, height = draw_cell("monocyte").size
    locator.boxes[width, height] = [Box(20, 20, width - 20, width - 20, 0.9)]
    taken = [classify({"path": upload("a.png", png("monocyte"))}, how=how)["cells"] for how in ("auto", "cell")]
    (auto,), (cell,) = taken
    assert (auto["id"], auto["place"]) == ("0", None)
    assert auto["picture"] == cell["picture"]
    assert auto["probabilities"] != cell["probabilities"]
    assert (auto["framed"], cell["framed"]) == (True, False)


def test_a_cell_of_a_field_is_not_cut_anew_when_it_is_named_again(classify, upload, field, locator):
    locator.boxes[FIELD] = BOXES
    assert {cell["framed"] for cell in classify({"path": upload("a.png", field)})["cells"]} == {False}


def test_a_saliency_map_is_of_what_the_network_was_given(ask, models, classify, upload, locator):
    width, height = read_image(SMALL).size
    locator.boxes[width, height] = [Box(2, 2, width - 2, height - 2, 0.9)]
    asked = {"model": str(models["one"]), "label": "ig", "picture": base64.b64encode(SMALL).decode()}
    as_it_is, framed = (ask(handlers.saliency, framed=framed, **asked)["picture"] for framed in (False, True))
    assert as_it_is != framed


def test_a_person_says_how_a_picture_is_taken(classify, upload, field, locator):
    locator.boxes[FIELD] = BOXES[:1]
    taken = {how: classify({"path": upload("a.png", field)}, how=how) for how in ("cell", "field")}
    assert [cell["id"] for cell in taken["cell"]["cells"]] == ["0"]
    assert taken["cell"]["fields"] == {}
    assert [cell["id"] for cell in taken["field"]["cells"]] == ["0.1"]
    assert classify({"drawn": "ig"}, how="both")["error"]["code"] == "bad_request"


@pytest.fixture
def add(ask):
    """add(...) -> the answer on the second of BOXES, drawn by a person, unless something else is said."""

    def call(**asked: object) -> dict:
        box = BOXES[1]
        drawn = {"number": 4, "size": list(FIELD), "box": [box.x0, box.y0, box.x1, box.y1]}
        named = {"batch": "b", "model": "one", "second": "", "source": "1", "id": "1.4-x", "name": "field.png"}
        return ask(handlers.add_cell, **named | drawn | asked)

    return call


def test_a_cell_that_a_person_adds_is_classified_as_the_locators_would_be(add, classify, field_path, upload, field):
    (found,) = [cell for cell in classify({"path": field_path})["cells"] if cell["id"] == "0.2"]
    path = upload("field.png", field)
    answer = add(path=path)
    (cell,) = answer["cells"]
    np.testing.assert_allclose(cell["probabilities"], found["probabilities"], atol=1e-6)
    assert cell["picture"] == found["picture"]
    assert (cell["id"], cell["source"], cell["name"]) == ("1.4-x", "1", "field.png")
    assert cell["place"] == {
        "number": 4,
        "of": 4,
        "box": [1000, 700, 1120, 820],
        "found": 0,
        "cut": False,
        "size": list(FIELD),
    }
    assert not Path(path).parent.exists()
    assert answer["batch"] == "b"


def test_the_small_picture_of_a_field_serves_where_its_file_is_gone(add, field):
    small = fields.field_to_json(read_image(field))["picture"]
    (cell,) = add(picture=small)["cells"]
    assert cell["place"]["box"] == [1000, 700, 1120, 820]  # in pixels of the field itself
    shown = np.asarray(read_image(base64.b64decode(cell["picture"])))
    assert shown[len(shown) // 2, len(shown) // 2].mean() < shown[5, 5].mean()  # the cell is in the middle


def test_an_added_cell_at_the_edge_waits_for_a_person(add, field, upload):
    (cell,) = add(path=upload("a.png", field), box=[1900, 1000, 2000, 1120])["cells"]
    assert cell["place"]["cut"]
    assert cell["status"] != "ok"


NO_BOX = [None, [], "1234", [1, 2, 3], [5, 5, 5, 9], [0, 0, 9, 1501], [-1, 0, 5, 5], [float("nan")] * 4, [0, 0, "x", 5]]


@pytest.mark.parametrize("box", NO_BOX, ids=str)
def test_a_box_that_is_none_is_refused(add, box):
    assert add(box=box, picture="")["error"]["code"] == "bad_request"


NO_FIELD = [{"size": None}, {"size": ["1", 2]}, {"size": [0, 5]}, {"number": 0}, {"number": "1"}]


@pytest.mark.parametrize("more", NO_FIELD, ids=str)
def test_a_field_of_no_size_and_a_cell_of_no_number_are_refused(add, more):
    assert add(picture="", **more)["error"]["code"] == "bad_request"


def test_a_box_larger_than_a_cell_can_be_is_a_sentence(add):
    assert add(box=[0, 0, 1001, 50], picture="")["error"]["text"] == EN["box_too_large"]


def test_a_box_of_a_field_of_another_shape_is_refused_before_a_crop_of_gigabytes_is_made(add, field, upload):
    path = upload("a.png", field)
    assert add(size=[1, 120], box=[0, 0, 1, 60], path=path)["error"]["text"] == EN["box_too_large"]
    assert not Path(path).parent.exists()


def test_a_table_has_the_places_of_cells(ask, classify, field_path, upload):
    answer = classify({"path": upload("a.png", png())}, {"path": field_path, "name": "f.png"})
    review = {**answer, "format": 1, "created": "", "steps": [], "comment": "", "cells": answer["cells"], "fields": {}}
    exported = ask(handlers.export, kind="csv", review=review)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(exported["data"]).decode("utf-8-sig"))))
    assert [(row["field"], row["cell"], row["x0"]) for row in rows] == [
        *[("", "", ""), ("f.png", "1", "300"), ("f.png", "2", "1000"), ("f.png", "3", "1900")],
    ]
    workbook = openpyxl.load_workbook(io.BytesIO(base64.b64decode(ask(handlers.export, kind="excel", review=review)["data"])))
    assert any(cell.value == 1900 for row in workbook.worksheets[0].iter_rows() for cell in row)


# --- too many at once ---


def test_so_many_compute_at_once_so_many_wait_and_more_are_told_at_once(monkeypatch, run_async):
    lane = handlers.Lane(2, 3)
    monkeypatch.setattr(handlers, "CLASSIFYING", lane)
    gate, inside, most = threading.Event(), [], []

    def work(*_: object) -> dict:
        inside.append(1)
        most.append(len(inside))
        gate.wait(60)
        inside.pop()
        return {}

    monkeypatch.setattr(handlers, "classified", work)
    asked = {"language": "es", "batch": "b", "model": "one", "sources": [{"id": "1", "drawn": "ig"}]}

    async def all_at_once() -> list[dict]:
        calls = [asyncio.create_task(handlers.classify(asked)) for _ in range(7)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert {call.result()["error"]["text"] for call in done} == {ES["busy"].format(most=3)}
        while len(most) < 2:  # the threads have their turn
            await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*calls)

    answers = run_async(all_at_once())
    assert [answer == {} for answer in answers] == [True] * 5 + [False] * 2
    assert max(most) == 2
    assert lane.count == 0


# --- the Hub ---


def test_an_embedded_model_asks_nobody(ask, monkeypatch):
    monkeypatch.setattr(catalog, "fetch", lambda name: 1 / 0)
    assert ask(handlers.refresh, model="one") == {}


def test_a_model_that_is_not_offered_is_refused(ask):
    assert (
        ask(handlers.refresh, model="other/one", language="es")["error"]["text"]
        == "other/one ya no se ofrece; elija otro modelo."
    )


def test_classifying_never_asks_the_hub(classify, monkeypatch):
    monkeypatch.setattr(catalog, "fetch", lambda name: 1 / 0)
    assert classify({"drawn": "ig"})["cells"]


def test_a_hub_that_says_nothing_holds_up_nobody_else(monkeypatch, run_async):
    silent, started = threading.Event(), []
    monkeypatch.setattr(limits, "FETCH_SECONDS", 1)
    monkeypatch.setattr(handlers, "FETCHING", handlers.Lane(2, 0, "busy_fetching"))
    monkeypatch.setattr(catalog, "fetch", lambda name: started.append(1) or silent.wait(60))
    refresh = {"language": "en", "model": "user/far"}
    classify = {"language": "en", "batch": "b", "model": "one", "sources": [{"id": "1", "drawn": "ig"}]}

    async def all_at_once() -> list[dict]:
        return await asyncio.gather(*(handlers.refresh(refresh) for _ in range(3)), handlers.classify(classify))

    *refreshed, classified = run_async(all_at_once())
    assert [answer["error"]["code"] for answer in refreshed] == ["hub_silent", "hub_silent", "busy_fetching"]
    assert classified["cells"]
    assert len(started) == 2
    silent.set()


def test_what_the_hub_says_is_told(ask, monkeypatch):
    def fetch(name: str) -> None:
        raise handlers.HubError("hub_failed", repo=name, status=500)

    monkeypatch.setattr(catalog, "fetch", fetch)
    assert (
        ask(handlers.refresh, model="user/far")["error"]["text"]
        == "user/far: the Hub answered with an error (500); try again later."
    )


def test_real_examples_are_fetched_once_and_then_read_from_the_disk(ask, classify, tmp_path, monkeypatch):
    files = []
    monkeypatch.setattr(examples, "dataset", lambda: "user/pbc")
    monkeypatch.setattr(examples, "cached", lambda: files)
    monkeypatch.setattr(examples, "fetch", lambda: files.append(str(tmp_path / "BA_1.png")))
    (tmp_path / "BA_1.png").write_bytes(png("basophil"))
    assert ask(handlers.real_examples) == {"examples": [{"example": 0, "name": "BA_1.png"}]}
    assert classify({"example": 0, "name": ""})["cells"][0]["name"] == "BA_1.png"
    assert (tmp_path / "BA_1.png").exists()
    assert classify({"example": 1})["error"]["code"] == "bad_request"
    monkeypatch.setattr(examples, "dataset", lambda: "")
    assert ask(handlers.real_examples)["error"]["code"] == "bad_request"


def test_examples_whose_dataset_is_a_web_address_are_a_sentence(ask, monkeypatch):
    monkeypatch.setenv(examples.VARIABLE, "https://huggingface.co/datasets/user/pbc")
    assert "is not the name of a repo; a name is USER/NAME" in ask(handlers.real_examples)["error"]["text"]


# --- saliency ---


@pytest.mark.parametrize("suffix", ["", "/int8", "/torch"])
def test_a_saliency_map_is_of_the_model_that_classified(ask, models, suffix):
    picture = base64.b64encode(SMALL).decode()
    called = f"{models['one'].name}@{models['one'].version}{suffix}"
    answer = ask(handlers.saliency, model=called, label="ig", picture=picture, language="es")
    assert read_image(base64.b64decode(answer["picture"])).size == read_image(SMALL).size
    assert "granulocito inmaduro" in answer["note"]


def test_a_saliency_map_of_another_version_is_refused(ask, models):
    picture = base64.b64encode(SMALL).decode()
    found = ask(handlers.saliency, model="one@00000000/int8", label="ig", picture=picture)["error"]
    assert found["code"] == "model_other_version"
    assert models["one"].version in found["text"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        *[({"label": "blast"}, "bad_request"), ({"label": None}, "bad_request"), ({"model": "one"}, "hub_not_offered")],
        *[({"model": "nowhere@1"}, "hub_not_offered"), ({"picture": "é"}, "bad_request"), ({"picture": 5}, "bad_request")],
        ({"picture": None, "path": "a.png"}, "bad_request"),
        ({"picture": "YWJj"}, "picture_unknown"),
    ],
)
def test_a_saliency_map_of_nothing_is_refused(ask, models, wrong, code):
    asked = {"model": str(models["one"]), "label": "ig", "picture": base64.b64encode(SMALL).decode()}
    assert ask(handlers.saliency, **asked | wrong)["error"]["code"] == code


def test_the_hubs_models_are_found_by_the_name_that_results_have(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(catalog, "hub_models", lambda: {"ours": "user/ours@v1"})
    monkeypatch.setattr(catalog, "_folder", lambda repo_id, revision: f"{repo_id} at {revision}")
    monkeypatch.setattr(catalog, "_load", lambda folder, name: (folder, name))
    assert catalog.load("ours") == catalog.load("user/ours@v1") == ("user/ours at v1", "user/ours@v1")


# --- the differential ---


def test_a_differential_is_a_table_of_whole_percentages(ask):
    answer = ask(
        handlers.differential,
        counts={"neutrophil": 61, "lymphocyte": 28, "MO": 7, "erythroblast": 6, "platelet": 2},
        language="es",
    )
    rows = {row["label"]: row for row in answer["rows"]}
    assert sum(row["percent"] for row in answer["rows"]) == 100
    assert (rows["monocyte"]["count"], rows["monocyte"]["name"], rows["monocyte"]["typical"]) == (7, "monocito", [2.0, 8.0])
    assert rows["neutrophil"]["low"] < 61 / 0.96 < rows["neutrophil"]["high"]
    assert (answer["white"], answer["platelets"], answer["small"]) == (96, 2, True)
    assert answer["per_100"] == [{"label": "erythroblast", "name": "eritroblasto", "count": 6, "rate": 6.2}]
    assert answer["correction"] == pytest.approx(100 / 106.25)


def test_a_differential_has_the_rows_of_a_models_own_classes(ask):
    own = CellClass("sezary", "Sézary cell", "célula de Sézary", white=True)
    classes = classes_to_json((own, *describe(("neutrophil", "blast", "smudge"))))
    counts = {"sezary": 2, "neutrophil": 1, "blast": 1, "smudge": 2}
    answer = ask(handlers.differential, counts=counts, classes=classes, typical={"sezary": [0, 1]}, language="es")
    assert [(row["name"], row["percent"], row["typical"]) for row in answer["rows"]] == [
        *(("neutrófilo", 25, None), ("blasto", 25, None), ("célula de Sézary", 50, [0.0, 1.0])),
    ]
    assert answer["per_100"][1] == {"label": "smudge", "name": "sombra de Gumprecht", "count": 2, "rate": 50.0}
    by_labels = ask(handlers.differential, counts={"neutrophil": 1}, labels=["neutrophil", "blast"])
    assert [row["label"] for row in by_labels["rows"]] == ["neutrophil", "blast"]
    for wrong in (5, [5], [{"name": "ig", "white": 1}], [{"name": "ig"}] * 2, [{}] * (limits.LABELS + 1)):
        assert ask(handlers.differential, counts={}, classes=wrong)["error"]["code"] == "bad_request"
    assert ask(handlers.differential, counts={}, labels=5)["error"]["code"] == "bad_request"


def test_a_differential_of_nothing_has_no_rows(ask):
    answer = ask(handlers.differential, counts={})
    assert (answer["rows"], answer["white"], answer["per_100"][0]["rate"], answer["correction"]) == ([], 0, None, None)


def test_typical_ranges_are_by_label_whatever_is_left_out(ask):
    answer = ask(
        handlers.differential, counts={"neutrophil": 50, "lymphocyte": 50}, typical={"lymphocyte": [0, 10], "x": [0, 5]}
    )
    assert [(row["typical"], row["mark"]) for row in answer["rows"]][:3] == [(None, ""), ([0.0, 10.0], "high"), (None, "")]
    answer = ask(handlers.differential, counts={"ig": 1}, typical={"monocyte": [8, 2]}, language="es")
    assert answer["error"]["text"].startswith("El valor habitual de monocito")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"counts": value} for value in (5, {"ig": -1}, {"ig": 1.5}, {"ig": True}, {"ig": 10**30})),
        *({"typical": value} for value in (5, {"ig": 5}, {"ig": [1]})),
    ],
    ids=str,
)
def test_what_are_no_counts_or_ranges_are_refused(ask, wrong):
    assert ask(handlers.differential, **{"counts": {"ig": 1}} | wrong)["error"]["code"] == "bad_request"


# --- files to take away ---

HOSTILE = '=1+1"><script>alert(1)</script>.png'


@pytest.fixture
def review() -> Review:
    cells = [Cell(predict(label, file=f"{label}.png"), SMALL) for label in LABELS for _ in range(3)]
    cells += [Cell(unreadable(HOSTILE)), Cell(predict("ig", 0.4, "review", message=message("review", threshold="0.9")), SMALL)]
    return decide(review_of(*cells, review_below=0.9, comment=HOSTILE), c0="ig")


def exported(ask, kind: str, review: Review, **more: object) -> tuple[dict, bytes]:
    answer = ask(handlers.export, kind=kind, review=to_json(review), **more)
    return answer, base64.b64decode(answer["data"])


def test_the_csv_is_that_of_the_command_line_with_its_message_in_the_pages_language(ask, review):
    answer, english = exported(ask, "csv", review)
    assert (answer["name"], answer["type"]) == ("cells.csv", "text/csv")
    assert english.decode(table.ENCODING) == table.to_csv(table.to_frame(review))
    assert english.startswith(codecs.BOM_UTF8)
    rows = list(csv.DictReader(io.StringIO(exported(ask, "csv", review, language="es")[1].decode(table.ENCODING))))
    assert list(rows[0]) == table.to_frame(review).columns.tolist()
    assert (rows[0]["prediction"], rows[0]["person"]) == ("basophil", "ig")
    assert (rows[24]["file"], rows[24]["message"][:22]) == (f"'{HOSTILE}", "El archivo está vacío ")


def test_the_workbook_is_in_the_pages_language(ask, review):
    _, english = exported(ask, "excel", review)
    answer, spanish = exported(ask, "excel", review, language="es")
    assert answer["name"] == "cells.xlsx"
    books = [openpyxl.load_workbook(io.BytesIO(data)) for data in (english, spanish)]
    assert [book.sheetnames for book in books] == [["cells", "differential", "about"], ["células", "fórmula", "acerca de"]]
    header, first = list(books[1]["células"].values)[:2]
    assert header[:4] == ("imagen", "archivo", "predicción", "persona")
    assert header[-3:] == ("p plaqueta", "p blasto", "p sombra de Gumprecht")
    assert first[1:4] == ("basophil.png", "basófilo", "granulocito inmaduro")
    message = [row[header.index("mensaje")] for row in books[1]["células"].values][25]
    assert message.startswith("El archivo está vacío")
    assert HOSTILE in [row[1] for row in books[1]["acerca de"].values]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_is_the_pages(ask, review, language):
    answer, data = exported(ask, "report", review, language=language, typical={"ig": [0, 1]})
    assert (answer["name"], answer["type"]) == ("report.html", "text/html")
    text = data.decode()
    assert f'lang="{language}"' in text
    assert "<script>" not in text
    assert text.count("data:image/jpeg") == 24  # the cell to review is not counted


def test_nothing_is_written_to_the_disk(ask, review, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    for kind in handlers.FILES:
        assert exported(ask, kind, review)[1]


def test_what_is_no_review_is_a_sentence(ask, review, monkeypatch):
    for value in (None, 5, {}, to_json(review) | {"steps": [{"cell": "of another batch", "number": 1, "decision": "ig"}]}):
        assert ask(handlers.export, kind="csv", review=value)["error"] == {"code": "no_review", "text": EN["no_review"]}
    assert ask(handlers.export, kind="pdf", review=to_json(review))["error"]["code"] == "bad_request"
    monkeypatch.setattr(limits, "COMMENT", 3)
    assert ask(handlers.export, kind="csv", review=to_json(review))["error"]["code"] == "comment_too_long"


def test_what_classify_says_can_be_exported_as_it_is(ask, classify):
    answer = classify({"drawn": "ig"}, {"drawn": "platelet"}, second="two")
    batch = {
        key: answer[key]
        for key in (
            "batch",
            "model",
            "second_model",
            "labels",
            "second_labels",
            "classes",
            "second_classes",
            "review_below",
            "cells",
        )
    }
    review = batch | {
        "format": 1,
        "created": "",
        "steps": [{"cell": "1", "number": 1, "decision": "ig", "time": ""}],
        "comment": "",
    }
    data = base64.b64decode(ask(handlers.export, kind="csv", review=review)["data"]).decode()
    rows = list(csv.DictReader(io.StringIO(data)))
    assert [row["person"] for row in rows] == ["", "ig"]
    assert rows[0]["compared_model"] == answer["second_model"]
