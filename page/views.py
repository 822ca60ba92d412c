"""What the page shows and what a person takes away as HTML. Templates escape every text: a file name is never markup."""

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cells import differential
from cells.classes import KNOWN, LABELS, ORDER, CellClass, place
from cells.colours import OTHER, colour
from cells.measures import MEASURES
from cells.model.batch_statistics import FEWEST
from cells.model.folder import DEFAULT, QUANTIZED_RECORD, embedded, embedded_folder, may_quantize
from cells.read import limits
from cells.read.images import SUFFIXES
from cells.review import DISAGREE, HELD, REJECTED, Review
from cells.write import excel
from hub import laboratories
from page.texts import LANGUAGES, class_name, name, texts, translate, words_of

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


def _render(template: str, language: str, review: Review | None = None, **values: object) -> str:
    words = {
        "t": texts(language),
        "language": language,
        "review": review,
        "name": lambda label: class_name(review, label, language),
        "colour": lambda label: colour(review.described(label).cell_type),
        "translate": lambda message: translate(message, language),
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
        about=about(language),
    )


def address(language: str) -> str:
    """Of the page in a language, relative to that in any other."""
    return "." if language == LANGUAGES[0] else language


def settings(language: str, models: list[str], real_examples: bool, classes: Iterable[CellClass] = ()) -> dict:
    """What the workbench knows from the start: plain values. `classes` are those of the models."""
    return {
        "language": language,
        "languages": {code: address(code) for code in LANGUAGES},
        "texts": {key: words for key, words in texts(language).items() if key not in SERVER_WORDS},
        "models": models,
        "default_model": DEFAULT,
        "classes": [_class(one, language) for one in in_order((*KNOWN.values(), *classes))],
        "ranges": list(ORDER),
        "choices": [{"label": choice, "name": name(choice, language), "colour": OTHER} for choice in REJECTED],
        "typical": {label: list(pair) for label, pair in differential.TYPICAL.items()},
        "learning": {"fewest": limits.LABELLED[0]},
        "statistics": {"fewest": FEWEST},
        "limits": {
            "files": limits.MAX_FILES,
            "cells": limits.BATCH_CELLS,
            "file_bytes": limits.FILE_BYTES,
            "chunk": limits.CHUNK,
            "comment": limits.COMMENT,
            "suffixes": list(SUFFIXES),
        },
        "real_examples": real_examples,
        "drawn": list(LABELS),
    }


def in_order(classes: Iterable[CellClass]) -> list[CellClass]:
    """Types in the order of a report, each followed by its subtypes; of two classes with one name the first."""
    found: dict[str, CellClass] = {}
    for one in classes:
        found.setdefault(one.name, one)
    types = list(dict.fromkeys(one.cell_type for one in found.values()))
    return sorted(found.values(), key=lambda one: (place(one), types.index(one.cell_type), one.name != one.cell_type))


def _class(one: CellClass, language: str) -> dict:
    return {
        "label": one.name,
        "name": words_of(one, language),
        "type": one.cell_type,
        "colour": colour(one.cell_type),
        "white": one.white,
    }


def about(language: str) -> str:
    """What the embedded models are, with their measured figures and confusion matrices as far as their folders have them."""
    models = [_described_model(name) for name in embedded()]
    return _render("about.html", language, models=models, sources=laboratories.LABORATORIES.values(), request=_request())


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
    found = whole | {"architecture": metrics["architecture"], "test": measures | {"pictures": int(test["pictures"])}}
    found["laboratories"] = [_laboratory(row) for row in laboratories.by_role(metrics.get("laboratories") or [])]
    return found | {"blast": _blast(metrics["blast"]["cells"]) if metrics.get("blast") else None}


def _blast(cells: dict) -> dict[str, str]:
    """What the page says of suspected blasts. Raises as _measured() does."""
    found = {"blasts": int(cells["n_blast"]), "others": int(cells["n_other"])}
    shares = {"sensitivity": float(cells["sensitivity"]), "suspected": 1 - float(cells["specificity"])}
    return {key: f"{count:,}" for key, count in found.items()} | {key: f"{100 * share:.1f} %" for key, share in shares.items()}


def _laboratory(row: dict) -> dict[str, object]:
    """A row of `laboratories` of a metrics.json; a share that was not measured is None. Raises as _measured() does."""
    shares = {key: None if row.get(key) is None else float(row[key]) for key in ("five_types", "ok_share", "ok_correct")}
    return shares | {"title": laboratories.title(row["name"]), "role": row["role"], "pictures": int(row["pictures"])}


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


# --- files to take away ---


def excel_language(review: Review, language: str) -> excel.Language:
    """The words of a review's workbook."""
    t = texts(language)
    return excel.Language(
        words=t["workbook"],
        columns=t["workbook_columns"],
        name=lambda label: class_name(review, label, language),
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
        review,
        found=found,
        summary=summary,
        chart=CHART,
        bars=[_bar(place, share) for place, share in enumerate(found.shares)],
        held=[f"{summary[key]} {why[key]}" for key in (*HELD, *REJECTED) if summary[key]],
        blasts=blasts(review, language),
        strips=strips,
        side=round(min(STRIP_SIDE, STRIPS_HEIGHT / max(1, len(strips))), 1),
        date=(when or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
    )


def blasts(review: Review, language: str) -> list[str]:
    """What stands at the top about blasts: how many cells may be one, and of how many a person decided that they are."""
    t = texts(language)
    found = ((t["blasts"], len(review.suspected_blasts)), (t["blasts_decided"], len(review.decided_blasts)))
    return [words["one" if count == 1 else "many"].format(count=count) for words, count in found if count]


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
    for index in review.counted_cells:
        places.setdefault(review.standing[index], []).append(index)
    strips = []
    for label in (one.name for one in in_order(map(review.described, places))):
        cells = sorted((review.cells[index] for index in places[label]), key=lambda cell: -(cell.prediction.probability or 0))
        pictures = [f"data:image/jpeg;base64,{base64.b64encode(cell.thumbnail).decode()}" for cell in cells if cell.thumbnail]
        strips.append({"label": label, "count": len(cells), "pictures": pictures[:STRIP]})
    return strips
