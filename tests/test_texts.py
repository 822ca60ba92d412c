"""The page's words: the same in both languages, every sentence of cells translated, and no file name or comment as markup."""

import io
import re
import tomllib
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest
from PIL import Image
from test_review import predict, unreadable

from cells import messages
from cells.classes import LABELS, SUBTYPE_LABELS
from cells.differential import TYPICAL, RangeError, check_ranges
from cells.messages import Error, message
from cells.model.classifier import Classifier
from cells.model.folder import embedded
from cells.model.uncertainty import STATUSES, Uncertainty
from cells.read import archive, images, limits
from cells.read.images import ImageError, read_image
from cells.review import NOT_A_CELL, REJECTED, TWO_CELLS, Cell, Review
from cells.synthetic import draw_cell
from hub import messages as hub_messages
from page import views
from page.texts import FILE, LANGUAGES, name, texts, translate

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


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_stands_for_gradios_words_is_not_taken_for_them_again(language):
    words = texts(language)["gradio"]
    assert not [ours for ours in words.values() if ours.startswith(tuple(words))]


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
    small = encode(draw_cell("ig").resize((16, 16)), "JPEG")
    words = {"file": HOSTILE, "message": HOSTILE}
    cells = (
        Cell(predict("neutrophil", **words), small, predict("ig")),
        Cell(predict("ig", 0.5, "review", **words, prediction_set=("neutrophil", "ig")), small, predict("ig")),
        Cell(predict("monocyte", 0.8, "unfamiliar", **words), small, unreadable()),
        Cell(unreadable(HOSTILE), b"", unreadable()),
        Cell(predict("erythroblast", **words), small, predict("erythroblast")),
        Cell(predict("platelet", **words), small, predict("platelet")),
    )
    return Review(cells, HOSTILE, HOSTILE, 0.9).decide(5, TWO_CELLS).decide(2, "lymphocyte")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_name_is_never_markup_in_the_gallery(review, language):
    found = Markup(views.gallery(review, 1, language))
    assert found.is_harmless
    assert set(found.tags) <= {"section", "h3", "div", "button", "i", "span", "small"}
    for attribute in ("title", "aria-label"):
        values = [value for key, value in found.attributes if key == attribute and HOSTILE in value]
        assert len(values) == len(review.cells)


@pytest.mark.parametrize("language", LANGUAGES)
def test_neither_file_name_nor_message_nor_model_is_markup_in_the_detail(review, language):
    for index in range(len(review.cells)):
        found = Markup(views.detail(review, index, None, language, note=HOSTILE))
        assert found.is_harmless
        assert found.words.count(HOSTILE) == 3 + (review.cells[index].prediction.message == HOSTILE)  # name, note, model
        assert found.tags.count("img") == bool(review.cells[index].thumbnail)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_comment_is_never_markup_in_the_report(review, language):
    found = Markup(views.report(review, HOSTILE, TYPICAL, language))
    assert found.is_harmless
    assert found.words.count(HOSTILE) >= 2  # the comment and the model
    assert ("lang", language) in found.attributes
    assert texts(language)["not_for_diagnosis"] in found.words


def test_a_report_without_a_comment_has_no_place_for_one(review):
    assert texts("en")["comment"] not in views.report(review, "", TYPICAL, "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_gallery_and_table_hold_the_same_cells_in_the_same_order(review, language):
    in_gallery = [int(index) for index in re.findall(r'data-cell="(\d+)"', views.gallery(review, 0, language))]
    in_table = [row[0] - 1 for row in views.rows(review, language)]
    assert in_gallery == in_table
    assert sorted(in_table) == list(range(len(review.cells)))


def test_the_selected_cell_is_the_pressed_one(review):
    pressed = re.findall(r'data-cell="(\d+)" aria-pressed="true"', views.gallery(review, 3, "en"))
    assert pressed == ["3"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_has_a_value_for_every_header(review, language):
    one_model = Review((Cell(predict("ig")), Cell(unreadable())), "m@0")
    headers = texts(language)["headers"]
    assert {len(row) for row in views.rows(one_model, language)} == {len(headers)}
    assert {len(row) for row in views.rows(review, language)} == {len(headers) + 1}


def test_a_row_says_what_was_said_of_a_cell(review):
    rows = {row[0]: row[2:] for row in views.rows(review, "es")}
    assert rows[2] == [
        *(HOSTILE, "granulocito inmaduro", "", 50.0, "basófilo (7.1%)", "neutrófilo o granulocito inmaduro", "por revisar"),
        "granulocito inmaduro",
    ]
    assert (rows[3][1], rows[3][2], rows[3][6]) == ("monocito", "linfocito", "desconocida")
    assert rows[4] == [HOSTILE, "", "", None, "", "", "ilegible: The file is empty.", ""]
    assert rows[6][2] == "dos células"


def test_a_prediction_set_is_in_words_where_it_has_more_than_one():
    both, one = (predict("neutrophil", prediction_set=some) for some in (("neutrophil", "ig"), ("neutrophil",)))
    assert views.prediction_set(Review(), both, "en") == "neutrophil or immature granulocyte"
    assert views.prediction_set(Review(), both, "es") == "neutrófilo o granulocito inmaduro"
    assert views.prediction_set(Review(), one, "en") == views.prediction_set(Review(), predict("ig"), "en") == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_detail_says_what_was_said_of_a_cell(review, language):
    t = texts(language)
    words = Markup(views.detail(review, 1, None, language)).words
    assert t["status_long"]["review"] in words
    assert views.prediction_set(review, review.cells[1].prediction, language) in words
    assert all(name(label, language) in words for label in LABELS)
    assert f"{t['by_person']}: {name('lymphocyte', language)}" in Markup(views.detail(review, 2, None, language)).words
    assert t["no_picture"] in Markup(views.detail(review, 3, None, language)).words
    assert views.detail(Review(), 0, None, language) == ""


def test_every_thumbnail_is_sent_once(review):
    styles = views.thumbnails(review)
    assert re.findall(r"\.t(\d+)\{", styles) == ["0", "1", "2", "4", "5"]
    assert "data:image" not in views.gallery(review, 0, "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_counts_say_what_is_held_back_and_why(review, language):
    t = texts(language)
    words = " ".join(Markup(views.counts(review, TYPICAL, language)).words.split())
    held = (t["status"]["review"], t["disagree"], t["status"]["error"], name(TWO_CELLS, language))
    assert f"{t['held']}: {' · '.join(f'1 {why}' for why in held)}" in words
    assert t["status"]["unfamiliar"] not in words  # a person decided
    assert t["few"] in words
    assert t["correction"].format(factor="0.50") in words  # one erythroblast to one white cell
    assert t["mark_high"] in words
    assert t["mark_low"] in words


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_counts_of_no_white_cell_say_so(language):
    words = Markup(views.counts(Review((Cell(predict("platelet")),), "m@0"), TYPICAL, language)).words
    assert texts(language)["none_counted"] in words
    assert texts(language)["platelets"].format(count=1) in words


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_about_names_every_embedded_model(language):
    found = Markup(views.about(language))
    assert all(model in found.words for model in embedded())
    assert found.tags.count("img") == len(embedded())
