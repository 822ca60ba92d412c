"""A review -> the HTML that the page shows. Templates escape every text: a file name is never markup."""

import base64
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cells import differential
from cells.classes import LABELS
from cells.measures import MEASURES
from cells.model.folder import QUANTIZED_RECORD, embedded, embedded_folder, may_quantize
from cells.model.prediction import Prediction
from cells.model.uncertainty import ERROR, STATUSES
from cells.read import limits
from cells.review import DISAGREE, HELD, REJECTED, Review
from page.texts import LANGUAGES, class_name, name, texts, translate

FOLDER = Path(__file__).parent
CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
GRADIO_BUSY = "This application is currently busy. Please try again."
GALLERY = (FOLDER / "gallery.js").read_text(encoding="utf-8")


def script() -> str:
    """The page's script, with what it says where Gradio has words of its own."""
    words = {language: texts(language)["gradio"] | {GRADIO_BUSY: busy(language)} for language in LANGUAGES}
    return (FOLDER / "page.js").read_text(encoding="utf-8").replace("WORDS", json.dumps(words), 1)


def busy(language: str) -> str:
    """What everyone is told who comes to a full queue."""
    return texts(language)["errors"]["busy"].format(most=limits.WAITING)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _render(template: str, language: str, review: Review | None = None, **values: object) -> str:
    words = {
        "t": texts(language),
        "language": language,
        "review": review,
        "name": lambda label: class_name(review, label, language),
        "translate": lambda message: translate(message, language),
        "percent": lambda share: f"{share:.1%}",
    }
    return _environment().get_template(template).render(words | values)


def thumbnails(review: Review) -> str:
    """A style sheet with every thumbnail, sent once; gallery and table only name them, so a changed class costs little."""
    rules = (
        f".t{index}{{background-image:url(data:image/jpeg;base64,{base64.b64encode(cell.thumbnail).decode()})}}"
        for index, cell in enumerate(review.cells)
        if cell.thumbnail
    )
    return f"<style>{''.join(rules)}</style>"


def gallery(review: Review, selected: int, language: str) -> str:
    """Every cell as a button, grouped by what stands for it, the most doubtful first."""
    groups = {_group_name(review, group, language): cells for group, cells in review.groups().items()}
    return _render(
        "gallery.html",
        language,
        review,
        groups=groups,
        selected=selected,
        described=lambda index: _described(review, index, language),
    )


def _described(review: Review, index: int, language: str) -> list[str]:
    """What a screen reader says of a cell, and what a mouse finds over it."""
    cell, decision, t = review.cells[index], review.decisions.get(index), texts(language)
    words = [f"{index + 1}: {cell.prediction.file}"]
    if decision:
        words.append(f"{t['by_person']}: {class_name(review, decision, language)}")
    if cell.prediction.ranking:
        words.append(f"{class_name(review, cell.prediction.label, language)} {cell.prediction.probability:.1%}")
    if cell.second and cell.second.ranking:
        words.append(f"{t['by_second']}: {class_name(review, cell.second.label, language)}")
    return [*words, t["status"][cell.prediction.status]]


def _group_name(review: Review, group: str, language: str) -> str:
    if group in STATUSES:
        return texts(language)["status_long"][group]
    if group == DISAGREE:
        return texts(language)["disagree"]
    return class_name(review, group, language)


def rows(review: Review, language: str) -> list[list]:
    """The same cells for the sortable table."""
    t = texts(language)
    return [_row(review, index, language, t) for cells in review.groups().values() for index in cells]


def _row(review: Review, index: int, language: str, t: dict) -> list:
    def named(label: str | None) -> str:
        return class_name(review, label, language) if label else ""

    cell = review.cells[index]
    one = cell.prediction
    row = [
        index + 1,
        f'<i class="t t{index}"></i>',
        one.file,
        named(one.label),
        named(review.decisions.get(index)),
        round(100 * one.probability, 1) if one.ranking else None,
        "".join(f"{named(label)} ({share:.1%})" for label, share in one.ranking[1:2]),
        prediction_set(review, one, language),
        t["status"][one.status] + (f": {translate(one.message, language)}" if one.status == ERROR else ""),
    ]
    return [*row, named(cell.second.label if cell.second else None)] if review.second_model else row


def prediction_set(review: Review, prediction: Prediction, language: str) -> str:
    """The prediction set in words, where it has more than one class: "neutrophil or immature granulocyte"."""
    if len(prediction.prediction_set) < 2:
        return ""
    return f" {texts(language)['or']} ".join(class_name(review, label, language) for label in prediction.prediction_set)


def detail(review: Review, selected: int, picture: Image.Image | None, language: str, note: str = "") -> str:
    """One cell, large, with everything that was said of it. `picture` is what to show; without one, the thumbnail."""
    if not review.cells:
        return ""
    cell = review.cells[selected]
    return _render(
        "detail.html",
        language,
        review,
        index=selected,
        cell=cell,
        decision=review.decisions.get(selected),
        picture=_data(picture) if picture else _data_of(cell.thumbnail) if cell.thumbnail else "",
        candidates=prediction_set(review, cell.prediction, language),
        note=note,
        second_model=review.second_model,
        model=review.model,
    )


def _data(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return _data_of(buffer.getvalue())


def _data_of(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def counts(review: Review, typical: Mapping[str, differential.Range], language: str) -> str:
    """The differential with what is not counted, and the model."""
    found = review.differential(typical)
    summary, t = review.summary(), texts(language)
    why = {DISAGREE: t["disagree"]} | t["status"] | t["choice"]
    held = [f"{summary[key]} {why[key]}" for key in (*HELD, *REJECTED) if summary[key]]
    return _render("counts.html", language, review, found=found, summary=summary, held=held)


def report(review: Review, comment: str, typical: Mapping[str, differential.Range], language: str) -> str:
    """A page of its own, to print: the differential, what it counts, by which model, and a person's comment."""
    return _render(
        "report.html",
        language,
        review,
        counts=counts(review, typical, language),
        summary=review.summary(),
        comment=comment,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def about(language: str) -> str:
    """What the embedded models are, with their measured figures and confusion matrices as far as their folders have them."""
    return _render("about.html", language, models=[_described_model(name) for name in embedded()], request=_request())


def _described_model(name: str) -> dict[str, object]:
    """The parts of a model's folder that the page shows: empty where the folder of a pulled model lacks them."""
    folder = embedded_folder(name)
    figures = (folder / "figures" / f"{figure}.png" for figure in ("confusion_normalised", "confusion"))
    picture = next((path for path in figures if path.is_file()), None)
    try:
        metrics = _measured(json.loads((folder / "metrics.json").read_text()))
        quantized = _quantized_accuracy(folder)
    except (OSError, ValueError, KeyError, TypeError):  # absent, or of another form
        metrics = quantized = None
    return {
        "name": name,
        "metrics": metrics,
        "quantized": quantized,
        "figure": f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}" if picture else "",
    }


def _quantized_accuracy(folder: Path) -> float | None:
    """Of a network that is served in 8 bits, on test pictures. Raises OSError, ValueError, KeyError, TypeError."""
    if not may_quantize(folder):
        return None
    record = json.loads((folder / QUANTIZED_RECORD).read_text())
    # The choice is made on validation pictures; an older record is of the test pictures itself.
    test = record.get("test") if "part" in record else record
    return float(test["accuracy"]) if test else None


def _measured(metrics: dict) -> dict[str, object]:
    """The values of a metrics.json that the page shows. Raises KeyError, ValueError, TypeError for one of another form."""
    test = metrics["test"]
    measures = {key: float(test[key]) for name in MEASURES for key in (name, f"{name}_low", f"{name}_high")}
    whole = {key: int(metrics[key]) for key in ("parameters", "image_size")}
    return whole | {"architecture": metrics["architecture"], "test": measures | {"pictures": int(test["pictures"])}}


def _request() -> dict[str, str]:
    """What one request may bring, in the words' units."""
    million = 1_000_000
    return {
        "files": f"{limits.MAX_FILES}",
        "file_mb": f"{limits.FILE_BYTES / million:g}",
        "unpacked_mb": f"{limits.UNPACKED_BYTES / million:g}",
        "entries": f"{limits.ENTRIES}",
        "name": f"{limits.NAME}",
        "pixels": f"{limits.PIXELS / million:g}",
        "whole": f"{limits.PIXELS_WHOLE / million:g}",
        "aspect": f"{limits.ASPECT}",
        "file_seconds": f"{limits.FILE_SECONDS}",
        "seconds": f"{limits.SECONDS}",
    }


def type_names(language: str) -> str:
    """The eight types in a row of words."""
    return ", ".join(name(label, language) for label in LABELS)
