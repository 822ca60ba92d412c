"""What the workbench asks the server: each a function of one JSON object, with no state between two calls.

None raises. A failure is {"error": {"code": ..., "text": a sentence in the page's language}}, so no file name of a visitor gets
into the log. Those that compute for long are coroutines that wait in a lane: a full lane says so at once.
"""

import base64
import contextlib
import functools
import inspect
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from PIL import Image

from cells import differential as percentages
from cells.classes import CELL_TYPES, ERYTHROBLAST, LABELS, CellClass, describe
from cells.classes import from_json as classes_from_json
from cells.classes import to_json as classes_to_json
from cells.colours import colour
from cells.locate.parts import AUTO, CELL, FRAMED, HOW, Place, reader
from cells.messages import Error
from cells.model.batch_statistics import has_statistics
from cells.model.classifier import Classifier, classify_all
from cells.model.folder import ModelError
from cells.model.prediction import Prediction
from cells.model.uncertainty import EMPTY
from cells.read import archive, limits
from cells.read.archive import Entry
from cells.read.images import ImageError, Source, fitted, read_image
from cells.review import THUMBNAIL, Cell, Review, cell_to_json
from cells.synthetic import draw_cell
from cells.write import coco, excel, table
from hub import catalog, examples
from hub.messages import HubError
from page import fields, uploads, views
from page.texts import LANGUAGES, RefusedError, name, texts, translate, words_of

LARGE = 480  # pixels of a saliency map's longer side
MOST_COUNT = 10**9  # cells of a kind, in a differential


class Lane:
    """So many calls at once, of which so many more wait. Whoever comes to a full lane is told at once."""

    def __init__(self, running: int, waiting: int, code: str = "busy") -> None:
        self.running, self.waiting, self.code = running, waiting, code
        self.count = 0
        self.lock = threading.Lock()
        self.limiter: anyio.CapacityLimiter | None = None

    def enter(self) -> None:
        """Raises RefusedError where the lane is full."""
        with self.lock:
            if self.count >= self.running + self.waiting:
                raise RefusedError(self.code, most=self.waiting or self.running)
            self.count += 1

    def leave(self) -> None:
        with self.lock:
            self.count -= 1

    async def run(self, work: Callable, *arguments: object) -> dict:
        """work(*arguments) in a thread, when it is its turn. Raises RefusedError, and what `work` raises."""
        self.enter()
        try:
            if self.count == 1:  # a limiter belongs to the event loop that first uses it
                self.limiter = anyio.CapacityLimiter(self.running)
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self.limiter)
        finally:
            self.leave()


CLASSIFYING = Lane(limits.CLASSIFYING, limits.WAITING)
FETCHING = Lane(limits.FETCHING, 0, "busy_fetching")
EXPLAINING = Lane(limits.EXPLAINING, limits.WAITING)


def answered(function: Callable) -> Callable:
    """A server function: `function(asked, language)`, whose failures are sentences."""

    def failure(error: Exception, language: str) -> dict:
        if isinstance(error, RefusedError):
            return said(error.code, error.sentence(language))
        if isinstance(error, Error):
            return said(error.code, translate(error.message, language))
        if isinstance(error, OSError):
            code = uploads.unkept(error)
            return said(code, texts(language)["errors"][code])
        uploads.log(function.__name__, error)
        return said("internal", texts(language)["errors"]["internal"])

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapped(asked: object) -> dict:
            language = language_of(asked)
            try:
                return await function(checked(asked), language)
            except Exception as error:
                return failure(error, language)
    else:

        @functools.wraps(function)
        def wrapped(asked: object) -> dict:
            language = language_of(asked)
            try:
                return function(checked(asked), language)
            except Exception as error:
                return failure(error, language)

    del wrapped.__wrapped__  # Gradio looks at the signature
    return wrapped


def said(code: str, text: str) -> dict:
    return {"error": {"code": code, "text": text}}


def language_of(asked: object) -> str:
    language = asked.get("language") if isinstance(asked, dict) else None
    return language if language in LANGUAGES else LANGUAGES[0]


def checked(asked: object) -> dict:
    if not isinstance(asked, dict):
        raise RefusedError("bad_request")
    return asked


def text_of(asked: Mapping, key: str, default: str | None = None) -> str:
    value = asked.get(key, default)
    if not isinstance(value, str) or len(value) > limits.NAME:
        raise RefusedError("bad_request")
    return value


# --- classifying ---


@answered
def open_archive(asked: dict, language: str) -> dict:
    """The pictures in an uploaded ZIP: {entries: [{entry, name}]}."""
    found = pictures_of(uploads.find(text_of(asked, "path")))
    return {"entries": [{"entry": index, "name": table.printable(entry.name)} for index, entry in enumerate(found)]}


def pictures_of(path: Path) -> list[Entry]:
    """The pictures in an uploaded ZIP, whose chunks share one reading of its table of contents. Raises ArchiveError."""
    status = path.stat()
    return read_archive(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def read_archive(path: str, changed: int, size: int) -> list[Entry]:
    """The same; `changed` and `size` tell two files of one path apart. What is not remembered any more is read again."""
    return archive.pictures(path, limits.MAX_FILES)


@answered
async def classify(asked: dict, language: str) -> dict:
    """What one or two models say of the cells in at most limits.CHUNK pictures; cells are as a review keeps them.

    `how` is one of HOW: how all of these pictures are taken. `fields` of the answer has the pictures that were taken as fields.
    """
    batch, models, how = text_of(asked, "batch"), models_of(asked), text_of(asked, "how", AUTO)
    sources = asked.get("sources")
    if how not in HOW or not isinstance(sources, list) or not 1 <= len(sources) <= limits.CHUNK:
        raise RefusedError("bad_request")
    return await CLASSIFYING.run(classified, batch, models, sources, language, how)


def models_of(asked: dict) -> list[str]:
    """The names of the model and of the one that it is compared with, none twice. Raises RefusedError."""
    models = list(dict.fromkeys(filter(None, (text_of(asked, "model"), text_of(asked, "second", "")))))
    if not models:
        raise RefusedError("bad_request")
    return models


def classified(batch: str, models: list[str], asked: list, language: str, how: str = AUTO) -> dict:
    """The answer of classify. Uploaded pictures are deleted at its end, so a call that failed can be sent again."""
    sources = sources_of(asked, language)
    classifiers = [catalog.load(model) for model in models]
    names, pictures = [one.name for one in sources], [one.picture for one in sources]
    rows = classify_all(classifiers, pictures, names, thumbnail_side=THUMBNAIL, parts=reader(how))
    cells, found = [], {}
    for one in sources:
        of_picture = list(rows_of_picture(rows))
        of_field = is_field(of_picture[0][1])
        told = {"framed": how == AUTO and not of_field}  # for how_of(), when the cell is named again
        cells += [in_language(row, one.id, language) | told for row in of_picture]
        if of_field:
            with contextlib.suppress(ImageError):  # it was read before, but perhaps only just in time
                found[one.id] = fields.field_to_json(read_image(one.picture))
    uploads.delete(one.upload for one in sources if one.upload)
    return answer_of(batch, classifiers, cells) | {"fields": found}


Row = tuple[bytes, *tuple[Prediction, ...]]  # see classify_all


def rows_of_picture(rows: Iterator[Row]) -> Iterator[Row]:
    """The next row, and those of the other cells of its field."""
    for row in rows:
        yield row
        place = row[1].place
        if place is None or place.number == place.of:
            return


def is_field(prediction: Prediction) -> bool:
    return prediction.place is not None or prediction.status == EMPTY


def answer_of(batch: str, classifiers: list[Classifier], cells: list[dict]) -> dict:
    """Cells with what a review has to know of the models that classified them."""
    first, second = [*classifiers, None][:2]
    return {
        "batch": batch,
        "model": str(first),
        "second_model": str(second or ""),
        "labels": list(first.labels),
        "second_labels": list(second.labels) if second else [],
        "classes": classes_to_json(first.classes),
        "second_classes": classes_to_json(second.classes if second else ()),
        "review_below": first.uncertainty.lowest,
        "has_statistics": has_statistics(first),
        "cells": cells,
    }


@answered
async def add_cell(asked: dict, language: str) -> dict:
    """What the models say of the cell in a `box` that a person drew on a field; an answer like that of classify.

    `box` is x0, y0, x1, y1 in pixels of a field of `size` (width, height). The picture, see picture_of, may be a smaller one.
    """
    place = fields.drawn(asked.get("size"), asked.get("number"), asked.get("box"))
    return await CLASSIFYING.run(added_cell, text_of(asked, "batch"), models_of(asked), place, asked, language)


def added_cell(batch: str, models: list[str], place: Place, asked: dict, language: str) -> dict:
    """The answer of add_cell."""
    picture, upload = picture_of(asked)
    classifiers = [catalog.load(model) for model in models]
    parts = fields.parts_of(place, asked["size"][0])
    try:
        rows = list(classify_all(classifiers, [picture], [text_of(asked, "name")], thumbnail_side=THUMBNAIL, parts=parts))
    finally:
        uploads.delete([upload] if upload else [])
    cells = [in_language(row, text_of(asked, "source"), language) for row in rows]
    return answer_of(batch, classifiers, [cell | {"id": text_of(asked, "id")} for cell in cells])


@dataclass(frozen=True)
class Asked:
    """A picture to classify. `upload` is the file that is deleted afterwards."""

    id: str
    name: str
    picture: Source
    upload: Path | None = None


def sources_of(asked: list, language: str) -> list[Asked]:
    """Of {id, name} with one of: path; path and entry; drawn; example. Raises RefusedError, ArchiveError, HubError."""
    return [source_of(checked(one), language) for one in asked]


def source_of(one: dict, language: str) -> Asked:
    id_, called = text_of(one, "id"), text_of(one, "name", "")
    if "drawn" in one:
        if (label := text_of(one, "drawn")) not in LABELS:
            raise RefusedError("bad_request")
        return Asked(id_, called or f"{texts(language)['drawn']} {name(label, language)}", draw_cell(label))
    if "example" in one:
        path = element_of(examples.cached(), one["example"])
        return Asked(id_, called or Path(path).name, path)
    path = uploads.find(text_of(one, "path"))
    if "entry" in one:
        entry = element_of(pictures_of(path), one["entry"])
        return Asked(id_, called or entry.name, entry)
    return Asked(id_, called or path.name, path, path)


def element_of(found: list, place: object) -> object:
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(found):
        raise RefusedError("bad_request")
    return found[place]


def in_language(row: Row, source: str, language: str) -> dict:
    """A row as the browser keeps it. Its id is that of its picture (`source`), in a field with the number of the cell."""
    small, first, *others = row
    id_ = source if first.place is None else f"{source}.{first.place.number}"
    kept = cell_to_json(Cell(first, small, *others, id=id_)) | {"source": source}
    if kept["message"]:
        kept["message"]["text"] = translate(first.message, language)
    return kept


@answered
def discard(asked: dict, language: str) -> dict:
    """Delete uploads that are no longer needed; what is none, or gone already, is passed over."""
    paths = asked.get("paths")
    if not isinstance(paths, list) or len(paths) > limits.MAX_FILES:
        raise RefusedError("bad_request")
    for path in paths:
        with contextlib.suppress(RefusedError):
            uploads.delete([uploads.find(text_of({"path": path}, "path"))])
    read_archive.cache_clear()  # no name of a deleted file stays in memory
    return {}


# --- models and examples of the Hub ---


@answered
async def refresh(asked: dict, language: str) -> dict:
    """Fetch a model of the Hub, or look for a newer version of it. An embedded one is answered at once."""
    model = text_of(asked, "model")
    if model not in catalog.names():
        raise HubError("hub_not_offered", model=model)
    if catalog.is_embedded(model):
        return {}
    return await in_time(catalog.fetch, model)


@answered
async def real_examples(asked: dict, language: str) -> dict:
    """Fetch real cells of the dataset on the Hub: {examples: [{example, name}]}."""
    if not examples.dataset():
        raise RefusedError("bad_request")
    await in_time(examples.fetch)
    return {"examples": [{"example": index, "name": Path(path).name} for index, path in enumerate(examples.cached())]}


async def in_time(work: Callable, *arguments: object) -> dict:
    """work(*arguments) in a thread that nobody waits for longer than limits.FETCH_SECONDS, since the Hub may be silent.

    The thread keeps its place in the lane until it ends. Raises RefusedError, and what `work` raises.
    """
    outcome: list[Exception | None] = []

    def run() -> None:
        try:
            work(*arguments)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)
        finally:
            FETCHING.leave()

    FETCHING.enter()
    threading.Thread(target=run, daemon=True).start()
    with anyio.move_on_after(limits.FETCH_SECONDS):
        while not outcome:
            await anyio.sleep(0.05)
    if not outcome:
        raise RefusedError("hub_silent", minutes=limits.FETCH_SECONDS // 60)
    if outcome[0] is not None:
        raise outcome[0]
    return {}


# --- saliency ---


@answered
async def saliency(asked: dict, language: str) -> dict:
    """{picture: base64 JPEG, note} of the small `picture` of a cell, as the model that classified it sees it; see how_of()."""
    model, label = text_of(asked, "model"), text_of(asked, "label")
    return await EXPLAINING.run(explained, model, label, asked, language)


def explained(called: str, label: str, asked: dict, language: str) -> dict:
    from cells.model.saliency import heatmap, overlay

    classifier = loaded(called)
    if label not in classifier.labels:
        raise RefusedError("bad_request")
    picture = of_cell(picture_in(asked), how_of(asked))
    seen = overlay(fitted(picture, LARGE), heatmap(classifier, picture, label))
    note = texts(language)["saliency_note"].format(name=words_of(classifier.classes[classifier.labels.index(label)], language))
    return {"picture": base64.b64encode(jpeg(seen)).decode(), "note": note}


def jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def loaded(called: str) -> Classifier:
    """The model that a review names, as NAME@VERSION/BACKEND. Raises HubError, and ModelError where its version is another."""
    model, _, version = called.rpartition("@")
    version = version.partition("/")[0]
    classifier = catalog.load(model)
    if classifier.version != version:
        raise ModelError("model_other_version", model=model, found=classifier.version, wanted=version)
    return classifier


def how_of(asked: Mapping) -> str:
    """How the small picture of a cell is taken again: FRAMED where `auto` found a single cell in its picture."""
    return FRAMED if asked.get("framed") is True else CELL


def of_cell(picture: bytes, how: str) -> Image.Image:
    """The small picture of a cell as the network takes it. Raises ImageError."""
    [(image, _)] = reader(how)(read_image(picture))
    return image


def picture_in(asked: Mapping) -> bytes:
    """A picture that was sent as base64. Raises RefusedError."""
    try:
        return base64.b64decode(asked["picture"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise RefusedError("bad_request") from None


def picture_of(asked: dict) -> tuple[Source, Path | None]:
    """(a picture, the upload to delete afterwards): sent as base64, or uploaded, or in an uploaded ZIP."""
    if "picture" in asked:
        return picture_in(asked), None
    path = uploads.find(text_of(asked, "path"))
    if "entry" in asked:
        return element_of(pictures_of(path), asked["entry"]), None
    return path, path


# --- the differential, and files to take away ---


def typical_of(asked: dict, language: str) -> dict[str, percentages.Range]:
    """A person's typical ranges by label. Raises RangeError, which names a class in the page's language."""
    given = asked.get("typical")
    if given is None:
        return dict(percentages.TYPICAL)
    if not isinstance(given, dict):
        raise RefusedError("bad_request")
    if len(given) > limits.LABELS or not all(isinstance(pair, list) and len(pair) == 2 for pair in given.values()):
        raise RefusedError("bad_request")
    found = {label: percentages.check_ranges({name(label, language): pair}) for label, pair in given.items()}
    return {label: pair for label, checked_ranges in found.items() for pair in checked_ranges.values()}


def classes_of(asked: dict) -> tuple[CellClass, ...]:
    """The classes of the model whose cells are counted; without them what is known of its labels, the 8 types without any."""
    given, labels = asked.get("classes"), asked.get("labels") or []
    if not all(isinstance(some, list) and len(some) <= limits.LABELS for some in (given or [], labels)):
        raise RefusedError("bad_request")
    try:
        return classes_from_json(given) if given else describe(map(str, labels)) if labels else CELL_TYPES
    except (ValueError, TypeError):
        raise RefusedError("bad_request") from None


@answered
def differential(asked: dict, language: str) -> dict:
    """The table of counts: shares that sum to 100, their limits, and what stands beside the white cells."""
    counts = asked.get("counts")
    if not isinstance(counts, dict) or len(counts) > limits.LABELS:
        raise RefusedError("bad_request")
    for count in counts.values():
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_COUNT:
            raise RefusedError("bad_request")
    classes = classes_of(asked)
    names = {one.name: words_of(one, language) for one in classes}
    found = percentages.of_counts(counts, typical_of(asked, language), classes)
    erythroblasts = percentages.Apart(ERYTHROBLAST, found.erythroblasts, found.erythroblasts_per_100)
    return {
        "rows": [share_to_json(one, names.get(one.label) or name(one.label, language)) for one in found.shares],
        "white": found.white,
        "per_100": [
            apart_to_json(one, names.get(one.label) or name(one.label, language)) for one in (erythroblasts, *found.apart)
        ],
        "platelets": found.platelets,
        "correction": found.correction,
        "small": found.is_small,
    }


def apart_to_json(one: percentages.Apart, called: str) -> dict:
    rate = None if one.per_100 is None else round(one.per_100, 1)
    return {"label": one.label, "name": called, "count": one.count, "rate": rate}


def share_to_json(one: percentages.Share, called: str) -> dict:
    return {
        "label": one.label,
        "name": called,
        "colour": colour(one.label),
        "count": one.count,
        "percent": one.whole,
        "low": one.low,
        "high": one.high,
        "typical": None if one.typical is None else list(one.typical),
        "mark": one.mark,
    }


@answered
def export(asked: dict, language: str) -> dict:
    """A review as a file: {name, type, data: base64}. Nothing is written to the server's disk."""
    kind = text_of(asked, "kind")
    if kind not in FILES:
        raise RefusedError("bad_request")
    try:
        review = Review.from_json(asked.get("review"))
    except ValueError:
        raise RefusedError("no_review") from None
    if len(review.comment) > limits.COMMENT:
        raise RefusedError("comment_too_long", most=limits.COMMENT)
    file, mime, make = FILES[kind]
    data = make(review, typical_of(asked, language), language)
    return {"name": file, "type": mime, "data": base64.b64encode(data).decode()}


def csv_of(review: Review, typical: Mapping, language: str) -> bytes:
    frame = table.to_frame(review, translate=lambda message: translate(message, language))
    return table.to_csv(frame).encode(table.ENCODING)


def excel_of(review: Review, typical: Mapping, language: str) -> bytes:
    buffer = io.BytesIO()
    excel.write(review, buffer, typical, views.excel_language(review, language))
    return buffer.getvalue()


def report_of(review: Review, typical: Mapping, language: str) -> bytes:
    return views.report(review, typical, language).encode()


def coco_of(review: Review, typical: Mapping, language: str) -> bytes:
    return coco.to_json(review).encode()


FILES = {
    "csv": ("cells.csv", "text/csv", csv_of),
    "excel": ("cells.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", excel_of),
    "report": ("report.html", "text/html", report_of),
    "coco": ("boxes.json", "application/json", coco_of),
}

# What the component may call, by these names.
SERVER_FUNCTIONS = (open_archive, classify, add_cell, discard, refresh, real_examples, saliency, differential, export)
