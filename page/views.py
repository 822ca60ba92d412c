"""What the page shows and what a person takes away as HTML. Templates escape every text: a file name is never markup."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cells import differential
from cells.classes import LABELS, SUBTYPE_LABELS, TYPE_OF_SUBTYPE
from cells.colours import OTHER, colour
from cells.model.folder import DEFAULT, QUANTIZED_RECORD, embedded, embedded_folder, may_quantize
from cells.read import limits
from cells.read.images import SUFFIXES
from cells.review import DISAGREE, HELD, REJECTED, Review
from cells.write import excel
from page.texts import LANGUAGES, name, texts, translate

FOLDER = Path(__file__).parent
WORKBENCH = FOLDER / "workbench"
CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
SERVER_WORDS = ("messages", "workbook", "workbook_columns")  # which no browser needs
STRIP_SIDE, STRIPS_HEIGHT = 11, 85  # millimetres, so that a report is one page
STRIP = 10  # cells of each type that a report shows


@cache
def _environment() -> Environment:
    loader = FileSystemLoader([FOLDER, WORKBENCH])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _render(template: str, language: str, **values: object) -> str:
    words = {
        "t": texts(language),
        "language": language,
        "name": lambda label: name(label, language),
        "translate": lambda message: translate(message, language),
        "colour": colour,
    }
    return _environment().get_template(template).render(words | values)


# --- the workbench ---


def workbench(language: str, models: list[str]) -> str:
    """The frame that page/workbench/main.js fills."""
    return _render(
        "workbench.html",
        language,
        models=models,
        languages=[(code, address(code), texts(code)["language"]) for code in LANGUAGES],
        accept=",".join((*SUFFIXES, ".zip", ".json")),
        about=Markup(about(language)),
        real_examples=False,
    )


def address(language: str) -> str:
    """Of the page in a language, relative to that in any other."""
    return "." if language == LANGUAGES[0] else language


def settings(language: str, models: list[str], real_examples: bool) -> dict:
    """What the workbench knows from the start: plain values."""
    return {
        "language": language,
        "languages": {code: address(code) for code in LANGUAGES},
        "texts": {
            key: words for key, words in texts(language).items() if key not in ("messages", "workbook", "workbook_columns")
        },
        "models": models,
        "default_model": DEFAULT,
        "classes": [_class(label, language) for label in order()],
        "choices": [{"label": choice, "name": name(choice, language), "colour": OTHER} for choice in REJECTED],
        "typical": {label: list(pair) for label, pair in differential.TYPICAL.items()},
        "limits": {
            "files": limits.FILES,
            "file_bytes": limits.FILE_BYTES,
            "chunk": limits.CHUNK,
            "comment": limits.COMMENT,
            "suffixes": list(SUFFIXES),
        },
        "real_examples": real_examples,
        "drawn": list(LABELS),
    }


def order() -> list[str]:
    """Types in the order of a report, each followed by its subtypes."""
    types = [*differential.ORDER, *(label for label in LABELS if label not in differential.ORDER)]
    return [label for one in types for label in (one, *(code for code in SUBTYPE_LABELS if TYPE_OF_SUBTYPE[code] == one))]


def _class(label: str, language: str) -> dict:
    kind = TYPE_OF_SUBTYPE.get(label, label)
    return {
        "label": label,
        "name": name(label, language),
        "type": kind,
        "colour": colour(label),
        "white": kind in differential.ORDER,
    }


def about(language: str) -> str:
    """What the embedded models are, with their measured figures and confusion matrices."""
    models = []
    for model in embedded():
        folder = embedded_folder(model)
        metrics = json.loads((folder / "metrics.json").read_text())
        confusion = folder / "figures" / "confusion_normalised.png"
        confusion = confusion if confusion.exists() else folder / "figures" / "confusion.png"
        figure = f"data:image/png;base64,{base64.b64encode(confusion.read_bytes()).decode()}"
        quantized = json.loads((folder / QUANTIZED_RECORD).read_text()) if may_quantize(folder) else None
        models.append({"name": model, "metrics": metrics, "figure": figure, "quantized": quantized})
    return _render("about.html", language, models=models, request=_request())


def _request() -> dict[str, str]:
    """What one request may bring, in the words' units."""
    million = 1_000_000
    return {
        "files": f"{limits.FILES}",
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


# --- files to take away ---


def excel_language(language: str) -> excel.Language:
    """The words of a workbook."""
    t = texts(language)
    return excel.Language(
        words=t["workbook"],
        columns=t["workbook_columns"],
        name=lambda label: name(label, language),
        status=lambda status: t["status"][status],
        translate=lambda message: translate(message, language),
    )


def report(review: Review, typical: Mapping[str, differential.Range], language: str, when: datetime | None = None) -> str:
    """One A4 page to print: the differential as a chart, a strip of cells a type, by which model, and a person's comment."""
    found, summary, t = review.differential(typical), review.summary(), texts(language)
    strips, why = _strips(review), {DISAGREE: t["disagree"]} | t["status"] | t["choice"]
    return _render(
        "report.html",
        language,
        review=review,
        found=found,
        summary=summary,
        chart=CHART,
        bars=[_bar(place, share) for place, share in enumerate(found.shares)],
        held=[f"{summary[key]} {why[key]}" for key in (*HELD, *REJECTED) if summary[key]],
        strips=strips,
        side=round(min(STRIP_SIDE, STRIPS_HEIGHT / max(1, len(strips))), 1),
        date=(when or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
    )


CHART = {"left": 165, "width": 360, "row": 24, "right": 150}  # units of the chart's view box


def _bar(place: int, share: differential.Share) -> dict:
    """A row of the chart: where its bar, its interval and its typical range lie."""

    def across(percent: float) -> float:
        return round(CHART["left"] + CHART["width"] * percent / 100, 1)

    typical = share.typical and _span(*map(across, share.typical))
    return {
        "share": share,
        "y": CHART["row"] * place,
        "bar": _span(across(0), across(share.percent)),
        "interval": {"from": across(share.low), "to": across(share.high)},
        "typical": typical,
    }


def _span(start: float, end: float) -> dict:
    return {"x": start, "width": round(end - start, 1)}


def _strips(review: Review) -> list[dict]:
    """Some of the counted cells of each label, the most probable first, with how many there are."""
    places: dict[str, list[int]] = {}
    for index, (label, why) in enumerate(zip(review.standing, review.held, strict=True)):
        if why is None and label not in REJECTED:
            places.setdefault(label, []).append(index)
    ranks = {label: rank for rank, label in enumerate(order())}
    strips = []
    for label in sorted(places, key=lambda label: (ranks.get(label, len(ranks)), label)):
        cells = sorted((review.cells[index] for index in places[label]), key=lambda cell: -(cell.prediction.probability or 0))
        pictures = [f"data:image/jpeg;base64,{base64.b64encode(cell.thumbnail).decode()}" for cell in cells if cell.thumbnail]
        strips.append({"label": label, "count": len(cells), "pictures": pictures[:STRIP]})
    return strips
