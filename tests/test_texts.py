"""The page's words: the same in both languages, every sentence of cells translated, and no file name or comment as markup."""

import io
import json
import re
import tomllib
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest
from PIL import Image
from test_review import SMALL, decide, predict, review_of, unreadable

from cells import messages
from cells.classes import KNOWN, LABELS, ORDER, SUBTYPE_LABELS, SUBTYPES
from cells.colours import colour
from cells.differential import TYPICAL, RangeError, check_ranges
from cells.messages import Error, message
from cells.model.classifier import Classifier
from cells.model.folder import embedded
from cells.model.uncertainty import STATUSES, Uncertainty
from cells.read import archive, images, limits
from cells.read.images import ImageError, read_image
from cells.review import NOT_A_CELL, REJECTED, TWO_CELLS, Cell, Review
from cells.synthetic import draw_cell
from cells.write import excel, table
from hub import messages as hub_messages
from page import views
from page.texts import FILE, LANGUAGES, RefusedError, name, texts, translate

WORDS = tomllib.loads(FILE.read_text(encoding="utf-8"))
MESSAGES = WORDS["es"]["messages"]
SENTENCES = messages.ENGLISH | hub_messages.ENGLISH


def flat(words: object, place: str = "") -> dict[str, str]:
    """place -> text, of all texts in tables and lists; `messages` apart."""
    if isinstance(words, str):
        return {place: words}
    inner = words.items() if isinstance(words, dict) else enumerate(words)
    return {at: text for key, one in inner if key != "messages" for at, text in flat(one, f"{place}.{key}").items()}


def placeholders(text: str) -> list[str]:
    return sorted(field for _, field, _, _ in Formatter().parse(text) if field is not None)


# --- languages ---


def test_both_languages_say_the_same_things():
    assert tuple(WORDS) == LANGUAGES
    english, spanish = (flat(texts(language)) for language in LANGUAGES)
    assert list(english) == list(spanish)
    assert all(text.strip() for text in (*english.values(), *spanish.values()))


def test_both_languages_have_the_same_placeholders():
    english, spanish = (flat(texts(language)) for language in LANGUAGES)
    assert {key: placeholders(text) for key, text in english.items()} == {
        key: placeholders(text) for key, text in spanish.items()
    }


def test_the_workbook_says_the_same_in_both_languages():
    assert texts("en")["workbook"] == excel.ENGLISH
    assert texts("es")["workbook"].keys() == excel.ENGLISH.keys()
    for language in LANGUAGES:
        headers = texts(language)["workbook_columns"]
        assert {*table.TEXTS, *table.COMPARED} <= headers.keys()
        assert len(set(headers.values())) == len(headers)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_that_the_workbench_asks_for_is_there(language):
    used = set()
    for file in (*views.WORKBENCH.glob("*.js"), views.WORKBENCH / "workbench.html"):
        used |= set(re.findall(r"\b(?:texts|t)\.(\w+(?:\.\w+)?)", file.read_text(encoding="utf-8")))
    assert len(used) > 40
    for word in used:
        found = texts(language)
        for key in word.split("."):
            if not isinstance(found, dict):
                break  # a method of a text
            assert key in found, word
            found = found[key]


@pytest.mark.parametrize("code", ["busy", "busy_fetching", "hub_silent", "comment_too_long", "too_long"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_call_has_its_values(code, language):
    sentence = RefusedError(code, most=7, minutes=7).sentence(language)
    assert "7" in sentence.split()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_class_choice_and_status_has_a_name(language):
    names = [name(label, language) for label in (*LABELS, *REJECTED)]
    assert len(set(names)) == len(names)
    subtypes = [name(label, language) for label in SUBTYPE_LABELS]
    assert len(set(subtypes)) == len(subtypes)
    assert set(texts(language)["status"]) == set(texts(language)["status_long"]) == set(STATUSES)


def test_classes_have_their_names_of_the_language():
    assert [name("ig", language) for language in LANGUAGES] == ["immature granulocyte", "granulocito inmaduro"]
    assert [name(NOT_A_CELL, language) for language in LANGUAGES] == ["not a cell", "no es una célula"]


# --- messages ---


@pytest.mark.parametrize("code", SENTENCES)
def test_every_sentence_is_translated_with_its_values(code):
    assert placeholders(SENTENCES[code]) == placeholders(MESSAGES[code])


def test_no_sentence_is_translated_that_nobody_says():
    assert set(MESSAGES) == set(SENTENCES)


def test_a_value_may_be_anything():
    said = message("file_unreadable", reason="a.\n{0} {x} %s\\1")
    assert translate(said, "es") == "El archivo no se puede leer: a.\n{0} {x} %s\\1."


def test_a_reason_within_a_sentence_is_translated_too():
    said = message("model_unusable", model="m", reason=message("model_file_broken"))
    assert said == "The model m cannot be loaded: a .safetensors file of it is damaged or cut off; get the model again."
    assert translate(said, "es").startswith("El modelo m no se puede cargar: un archivo .safetensors suyo")


def test_english_and_texts_without_a_code_stay_as_they_are():
    assert translate(message("file_missing"), "en") == "There is no such file."
    assert translate("Nobody ever said this.", "es") == "Nobody ever said this."


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refuse_to_read(error: OSError):
    def refuse(self):
        raise error

    return refuse


def of_pictures(folder: Path, monkeypatch) -> list[str]:
    """The message of every kind of bad file."""
    cell = draw_cell("ig")
    bad = [
        *(b"", b"no picture", encode(cell)[:500], encode(cell, "GIF", save_all=True, append_images=[cell.rotate(90)])),
        *(encode(Image.new("1", (10_000, 5_100))), encode(Image.new("1", (30_000, 30_000)))),
        *(encode(Image.new("1", (1, 101))), str(folder / "nothing.png"), str(folder), str(folder / ("a" * 300))),
    ]
    (folder / "a.png").write_bytes(encode(cell))
    found = [raised(ImageError, read_image, source) for source in (*bad, "/dev/zero")]
    for limit in ("FILE_SECONDS", "FILE_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(limits, limit, 0)
            found.append(raised(ImageError, read_image, folder / "a.png"))
    for error in (PermissionError(13, "Permission denied"), OSError(5, "Input/output error"), OSError("odd")):
        with monkeypatch.context() as patched:
            patched.setattr("pathlib.Path.read_bytes", refuse_to_read(error))
            found.append(raised(ImageError, read_image, folder / "a.png"))
    with monkeypatch.context() as patched:
        patched.setattr(images.os, "access", lambda *_: False)
        found.append(raised(ImageError, read_image, folder))
    return found


def of_archives(folder: Path, monkeypatch) -> list[str]:
    """The message of every kind of bad ZIP."""
    path = str(folder / "cells.zip")

    def pack(names: list[str], flag_bits: int = 0) -> str:
        with zipfile.ZipFile(path, "w") as file:
            for entry in names:
                file.writestr(entry, b"12")
                file.infolist()[-1].flag_bits |= flag_bits
        return path

    found = [raised(ImageError, archive.pictures, pack(names), 1) for names in ([], ["a.png", "b.png"])]
    found.append(raised(ImageError, archive.pictures, pack(["a.png"], flag_bits=1), 1))
    for limit in ("UNPACKED_BYTES", "FILE_BYTES", "ENTRIES", "NAME"):
        with monkeypatch.context() as patched:
            patched.setattr(limits, limit, 0)
            found.append(raised(ImageError, archive.pictures, pack(["a.png"]), 1))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.png", b"12")
    found.append(raised(ImageError, archive.pictures, path, 1))
    Path(path).write_bytes(b"no archive")
    return [*found, raised(ImageError, archive.pictures, path, 1)]


def of_ranges() -> list[str]:
    return [raised(RangeError, check_ranges, {"monocyte": limits}) for limits in (("few", 5), (8, 2))]


def of_trust(model_folder: Path) -> list[str]:
    """What a cell's status says, of a model that doubts everything."""
    classifier = Classifier.load(model_folder)
    classifier.uncertainty = Uncertainty(review_below=1.1)
    return [one.message for one in classifier.predict([draw_cell("ig")], ["a"])]


def raised(kind: type[Error], function, *arguments) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments)
    return caught.value.message


def test_every_sentence_that_a_user_can_meet_is_translated(tmp_path, model_folder, monkeypatch):
    met = [*of_pictures(tmp_path, monkeypatch), *of_archives(tmp_path, monkeypatch), *of_ranges(), *of_trust(model_folder)]
    assert len(set(met)) == len(met) == 29
    for english in met:
        spanish = translate(english, "es")
        assert spanish != english
        assert re.findall(r"\d+(?:\.\d+)?", spanish) == re.findall(r"\d+(?:\.\d+)?", english)
    for value in ("File name too long", "Input/output error", ".png, .tif", "monocyte"):
        (english,) = [one for one in met if value in one][:1]
        assert value in translate(english, "es")


# --- views ---

HOSTILE = """"><script>alert(1)</script>' onclick='alert(2)' x=&amp;<img src=x onerror="alert(3)">"""


class Markup(HTMLParser):
    """What a browser makes of a text: its tags, attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.words += data

    @property
    def is_harmless(self) -> bool:
        active = [key for key, _ in self.attributes if key.startswith("on")]
        return "script" not in self.tags and not active and ("src", "x") not in self.attributes


@pytest.fixture
def review() -> Review:
    """Every status, a person's words, a second model, and a hostile name wherever one can stand."""
    words = {"file": HOSTILE, "message": HOSTILE}
    cells = (
        Cell(predict("neutrophil", **words), SMALL, predict("ig")),
        Cell(predict("ig", 0.5, "review", **words, prediction_set=("neutrophil", "ig")), SMALL, predict("ig")),
        Cell(predict("monocyte", 0.8, "unfamiliar", **words), SMALL, unreadable()),
        Cell(unreadable(HOSTILE), b"", unreadable()),
        Cell(predict("erythroblast", **words), SMALL, predict("erythroblast")),
        Cell(predict("platelet", **words), SMALL, predict("platelet")),
    )
    review = decide(review_of(*cells, second_model=HOSTILE, review_below=0.9, comment=HOSTILE), c5=TWO_CELLS, c2="lymphocyte")
    return replace(review, model=HOSTILE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_neither_comment_nor_model_nor_file_is_markup_in_the_report(review, language):
    found = Markup(views.report(review, TYPICAL, language))
    assert found.is_harmless
    assert found.words.count(HOSTILE) == 3  # the models and the comment
    assert ("lang", language) in found.attributes
    assert texts(language)["not_for_diagnosis"] in found.words


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_says_what_is_counted_and_what_is_held_back(review, language):
    t = texts(language)
    words = " ".join(Markup(views.report(review, TYPICAL, language)).words.split())
    held = (t["status"]["review"], t["disagree"], t["status"]["error"], name(TWO_CELLS, language))
    assert f"{t['held']}: {' · '.join(f'1 {why}' for why in held)}" in words
    assert t["status"]["unfamiliar"] not in words  # a person decided
    assert t["report_summary"].format(pictures=6, changed=2, confirmed=0, unreviewed=4) in words
    assert t["few"] in words
    assert t["correction"].format(factor="0.50") in words  # one erythroblast to one white cell
    assert "0.900" in words


def test_the_chart_has_a_bar_an_interval_and_the_typical_range_of_each_type():
    cells = [
        Cell(predict(label, file=label), SMALL) for label, count in (("neutrophil", 80), ("monocyte", 20)) for _ in range(count)
    ]
    found = Markup(views.report(review_of(*cells), {"neutrophil": (40.0, 60.0)}, "en"))
    left, width = views.CHART["left"], views.CHART["width"]
    widths = [value for key, value in found.attributes if key == "width"]
    assert str(width * 0.8) in widths  # the bar of 80 %
    assert str(width * 0.2) in widths  # that of 20 %, and the typical range
    assert ("x", str(left + width * 0.4)) in found.attributes
    assert re.search(rf"80 % \(70\.8.87\.3\) ↑ {texts('en')['mark_high']}", found.words)
    assert "↓" not in found.words
    colours = [value for key, value in found.attributes if key == "fill"]
    assert colour("neutrophil") in colours


def test_a_report_shows_a_strip_of_counted_cells_a_type():
    cells = [Cell(predict(label), SMALL) for label in ("ig", "neutrophil", "platelet") for _ in range(30)]
    cells.append(Cell(predict("basophil", 0.4, "review"), SMALL))
    found = Markup(views.report(review_of(*cells), TYPICAL, "es"))
    assert found.tags.count("img") == 3 * views.STRIP
    places = [found.words.index(f"{name(label, 'es')} · 30") for label in ("neutrophil", "ig", "platelet")]
    assert places == sorted(places)


def test_a_report_of_nothing_says_so():
    words = Markup(views.report(review_of(predict("platelet")), TYPICAL, "en")).words
    assert texts("en")["none_counted"] in words
    assert texts("en")["platelets"].format(count=1) in words
    assert texts("en")["comment"] not in words


# --- the workbench ---


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_workbench_knows_its_words_classes_and_limits(language):
    settings = views.settings(language, ["resnet18", "a/b"], True)
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["models"], settings["real_examples"], settings["language"]) == (["resnet18", "a/b"], True, language)
    labels = [one["label"] for one in settings["classes"]]
    assert sorted(labels) == sorted(KNOWN)
    assert [label for label in labels if label in LABELS][:6] == list(ORDER)
    for one in settings["classes"]:
        assert (one["name"], one["colour"]) == (name(one["label"], language), colour(one["type"]))
        assert one["white"] == (one["type"] in (*ORDER, "blast"))
    assert "messages" not in settings["texts"]
    assert settings["texts"]["classify"] == texts(language)["classify"]
    assert settings["limits"]["files"] == limits.MAX_FILES
    assert settings["languages"].keys() == set(LANGUAGES)


def test_types_are_told_apart_by_their_colours():
    assert len({colour(label) for label in LABELS}) == len(LABELS)
    assert all(colour(subtype.name) == colour(subtype.cell_type) for subtype in SUBTYPES)
    assert colour("blast") not in {colour(label) for label in LABELS}
    assert colour("another") == colour("not_a_cell")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_frame_offers_every_model_as_text_and_names_the_embedded_ones(language):
    found = Markup(views.workbench(language, [*embedded(), HOSTILE]))
    assert found.is_harmless
    assert HOSTILE in found.words
    assert all(model in found.words for model in embedded())
    assert found.tags.count("img") == len(embedded()) + 1  # the confusion matrices, and the banner's place for a cell
    ids = [value for key, value in found.attributes if key == "id"]
    assert {"files", "classify", "gallery"} <= set(ids)
    assert len(ids) == len(set(ids))
