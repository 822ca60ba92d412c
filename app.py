"""The Gradio page: drop pictures of single blood cells, choose a model, review the cells, take the differential away."""

import contextlib
import errno
import functools
import html
import importlib.util
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from cells.model.folder import ModelError

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent anywhere, not even that the app runs

import gradio as gr
from fastapi import Request
from fastapi.responses import PlainTextResponse
from gradio import queueing, route_utils
from gradio.context import LocalContext
from gradio.data_classes import PredictBodyInternal

from cells import differential
from cells.classes import LABELS, ORDER
from cells.differential import RangeError
from cells.model.classifier import Classifier, classify_all
from cells.read import archive, limits
from cells.read.archive import ArchiveError
from cells.read.images import ImageError, Source, fitted, read_image
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import excel, table
from hub import catalog, examples
from hub.publish import HubError
from page import retention, views
from page.headers import Headers
from page.texts import LANGUAGES, class_name, name, texts, translate

SESSIONS = 100  # whose last results are in memory; the oldest goes first
THUMBNAIL = 128  # pixels; kept in the browser, 500 of them in about 3 megabytes, of the 5 that it gives
LARGE = 480  # pixels of the selected cell
KEPT_SECONDS = 3000  # an uploaded file and what was made of it; a check runs every CHECK_SECONDS
CHECK_SECONDS = 300
FETCHES = 4  # models that are fetched at once; classifying goes on meanwhile
# The line of all that classify; the steps of a review have another, and do not wait for it.
LINE = {"concurrency_id": "classify", "concurrency_limit": limits.CLASSIFYING}

# What a browser keeps, by these names. Gradio encrypts it with the secret; a constant one lets a restarted server read it.
KEPT, STEPS, RANGES, SECRET = "blood-cells-review", "blood-cells-steps", "blood-cells-ranges", "blood-cells"

T = TypeVar("T")


class Queue(queueing.Queue):
    """Gradio's, where those alone are refused who come to a full LINE; its own limit would refuse a review's steps as well."""

    async def push(self, body: PredictBodyInternal, request: Request, username: str | None) -> tuple[bool, object, str]:
        line = self.event_queue_per_concurrency_id.get(LINE["concurrency_id"])
        event = self.blocks.fns.get(body.fn_index)
        if line and event and event.concurrency_id == line.concurrency_id and len(line.queue) >= limits.WAITING:
            return False, views.busy(LANGUAGES[0]), "queue_full"
        return await super().push(body, request, username)


queueing.Queue = Queue


class Upload(route_utils.GradioUploadFile):
    """An uploaded file lies where no one can guess: by its content alone, whoever has that too could ask for its name."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self.sha.update(secrets.token_bytes())


route_utils.GradioUploadFile = Upload


class Page:
    """The page in one language: its components, and what they do."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.t = texts(language)

    # --- what the components do ---

    def fetch(self, model: str, second: str, progress: gr.Progress = gr.Progress()) -> None:  # noqa: B008
        """Bring models that are on the Hub to this disk; the embedded ones are there."""
        for one in filter(None, (model, second)):
            words = self.t["progress_fetching"].format(model=one)
            try:
                catalog.fetch(one, lambda done, total, words=words: progress((done, total), desc=words, unit="bytes"))
            except (HubError, ModelError) as error:
                raise self.error(f"{translate(error.message, self.language)} {self.t['errors']['others_go_on']}") from None

    def choose(self, model: str, second: str, progress: gr.Progress = gr.Progress()) -> None:  # noqa: B008
        """Fetch what was chosen; an error raised here would lie over the list, so that no other model could be chosen."""
        try:
            self.fetch(model, second, progress)
        except gr.Error as error:
            gr.Warning(error.message)

    def classify(
        self,
        files: list[str] | None,
        model: str,
        second: str,
        ranges: list,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict:
        """Classify the uploaded files."""
        if not files:
            raise self.error(self.t["errors"]["no_pictures"])
        try:
            sources = unpacked(files)
        except ArchiveError as error:
            raise self.error(translate(error.message, self.language)) from None
        if len(sources) > limits.MAX_FILES:
            raise self.error(self.t["errors"]["too_many"].format(count=len(sources), most=limits.MAX_FILES))
        return self.begin(sources, model, second, ranges, progress)

    def classify_drawn(
        self,
        model: str,
        second: str,
        ranges: list,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict:
        """Classify the drawn examples."""
        sources = [(f"{self.t['drawn']} {name(label, self.language)}", draw_cell(label)) for label in LABELS]
        return self.begin(sources, model, second, ranges, progress)

    def classify_real(
        self,
        model: str,
        second: str,
        ranges: list,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict:
        """Classify one real cell of each type, of a dataset on the Hub."""
        try:
            files = examples.fetch()
        except HubError as error:
            raise self.error(translate(error.message, self.language)) from None
        return self.begin([(Path(file).name, file) for file in files], model, second, ranges, progress)

    def begin(self, sources: list[tuple[str, Source]], model: str, second: str, ranges: list, progress: gr.Progress) -> dict:
        """A new review of pictures with their names."""
        progress((0, len(sources)), desc=self.t["progress_loading"])
        classifiers = [self.load(one) for one in filter(None, (model, second))]
        cells = []
        try:
            for cell in in_time(classified(sources, classifiers)):
                cells.append(cell)
                progress((len(cells), len(sources)), desc=self.t["progress_classifying"], unit=self.t["pictures"])
        except LateError:
            raise self.error(self.t["errors"]["too_long"].format(most=limits.SECONDS)) from None
        names = [*map(str, classifiers), ""][:2]
        first, second = (*(one.classes for one in classifiers), ())[:2]
        below = classifiers[0].uncertainty.review_below
        review = Review(tuple(cells), *names, review_below=below, classes=first, second_classes=second)
        pictures = [source for _, source in sources]
        return self.opened(review, pictures, self.typical(ranges)) | {
            self.kept: review.to_json(),
            self.work: {},
            self.comment: "",
        }

    def restore(self, kept: dict | None, work: dict | None, ranges: list | None) -> dict:
        """What this browser kept, after the page was loaded again."""
        rows = ranges or self.default_ranges()
        shown = {self.ranges: self.named(rows)}
        try:
            review = Review.from_json(kept, (work or {}).get("steps", ())) if kept else Review()
            comment = str((work or {}).get("comment", ""))
        except (ValueError, AttributeError):  # of another version of this page
            review = Review()
        if not review.cells:
            return shown
        return shown | self.opened(review, [], self.typical(rows)) | {self.comment: comment}

    def opened(self, review: Review, sources: list[Source], typical: dict) -> dict:
        """Everything that shows a review, from its first moment, with the first cell of the gallery selected."""
        selected = next(iter(review.groups().values()))[0]
        shown = self.shown(review, selected, sources, typical)
        return shown | {
            self.results: gr.Column(visible=True),
            self.sources: sources,
            self.styles: views.thumbnails(review),
            self.table: gr.Dataframe(shown[self.table], headers=self.headers(review)),
            self.give: self.radio(review, selected),
        }

    def shown(self, review: Review, selected: int, sources: list[Source], typical: dict) -> dict:
        """What changes with a step."""
        return {
            self.review: review,
            self.selected: selected,
            self.gallery: views.gallery(review, selected, self.language),
            self.table: views.rows(review, self.language),
            self.detail: self.large(review, selected, sources),
            self.counts: views.counts(review, typical, self.language),
        }

    def select(self, review: Review, sources: list[Source], event: gr.EventData) -> dict:
        """A cell of the gallery."""
        return self.chosen(review, sources, int(event.index))

    def select_row(self, review: Review, sources: list[Source], event: gr.SelectData) -> dict:
        """A cell of the table: by its number, since the table may have been sorted."""
        return self.chosen(review, sources, int(event.row_value[0]) - 1)

    def chosen(self, review: Review, sources: list[Source], index: int) -> dict:
        self.check(review, index)
        large = self.large(review, index, sources)
        return {self.selected: index, self.detail: large, self.give: self.radio(review, index)}

    def decide(self, review: Review, selected: int, sources: list[Source], choice: str, comment: str, ranges: list) -> dict:
        """A person gives the selected cell a class."""
        self.check(review, selected)
        return self.stepped(review.decide(selected, choice), selected, sources, comment, ranges)

    def undo(self, review: Review, selected: int, sources: list[Source], comment: str, ranges: list) -> dict:
        """Take the last step back, and show the cell that it was about."""
        if not review.steps:
            return {self.selected: selected}
        index = review.steps[-1][0]
        undone = review.undo()
        return self.stepped(undone, index, sources, comment, ranges) | {self.give: self.radio(undone, index)}

    def stepped(self, review: Review, selected: int, sources: list[Source], comment: str, ranges: list) -> dict:
        return self.shown(review, selected, sources, self.typical(ranges)) | {self.work: work_of(review, comment)}

    def note(self, review: Review, comment: str) -> dict:
        """Keep a comment in the browser."""
        return {self.work: work_of(review, comment)}

    def saliency(self, review: Review, selected: int, sources: list[Source]) -> dict:
        """The selected cell with a heatmap over it."""
        from cells.model.saliency import heatmap, overlay

        self.check(review, selected)
        label = review.cells[selected].prediction.label
        picture, is_small = self.picture(review, selected, sources)
        if label is None or picture is None:
            raise self.error(self.t["errors"]["no_picture_of_cell"])
        try:
            grid = heatmap(self.load(review.model.rpartition("@")[0]), picture, label)
        except ModelError as error:  # its files were cut off since it was loaded
            raise self.error(translate(error.message, self.language)) from None
        note = self.t["saliency_note"].format(name=class_name(review, label, self.language))
        note += f" {self.t['saliency_small']}" if is_small else ""
        seen = overlay(fitted(picture, LARGE), grid)
        return {self.detail: views.detail(review, selected, seen, self.language, note)}

    def recount(self, review: Review, rows: list) -> dict:
        """The differential with a user's typical ranges, which this browser keeps."""
        limits = [row[1:] for row in rows]
        return {self.counts: views.counts(review, self.typical(rows), self.language), self.kept_ranges: limits}

    def export(self, kind: str, review: Review, comment: str, ranges: list) -> str:
        """Write a file to download. The copy is Gradio's, which deletes it; ours is gone right after."""
        self.check(review)
        typical = self.typical(ranges)
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, {"csv": "cells.csv", "excel": "cells.xlsx", "report": "report.html"}[kind])
                if kind == "csv":
                    table.write_csv(table.to_frame(review), path)
                elif kind == "excel":
                    excel.write(review, path, comment, typical)
                else:
                    path.write_text(views.report(review, comment, typical, self.language), encoding="utf-8")
                return self.downloads[kind].move_resource_to_block_cache(path)
        except OSError as error:
            raise self.error(self.t["errors"][unkept(error)]) from None

    def clear(self) -> dict:
        """Forget everything, here and in the browser."""
        return {
            self.review: Review(), self.sources: [], self.files: None, self.kept: {}, self.work: {}, self.comment: "",
            self.results: gr.Column(visible=False), self.styles: "", self.gallery: "", self.detail: "", self.counts: "",
        }  # fmt: skip

    # --- what they need ---

    def error(self, message: str) -> gr.Error:
        return gr.Error(html.escape(message, quote=False), print_exception=False)  # Gradio shows it as HTML

    def load(self, model: str) -> Classifier:
        """A model that is on this disk."""
        try:
            return catalog.load(model)
        except (HubError, ModelError) as error:
            raise self.error(translate(error.message, self.language)) from None

    def check(self, review: Review, index: int = 0) -> None:
        if index >= len(review.cells):
            raise self.error(self.t["errors"]["gone"])

    def picture(self, review: Review, index: int, sources: list[Source]):
        """(the picture of a cell, whether it is only the small one); None for one that cannot be read."""
        if index < len(sources):
            try:
                return read_image(sources[index]), False
            except ImageError:  # it never was one, or it was deleted meanwhile
                pass
        small = review.cells[index].thumbnail
        return (read_image(small) if small else None), True

    def large(self, review: Review, index: int, sources: list[Source]) -> str:
        picture, _ = self.picture(review, index, sources)
        return views.detail(review, index, picture and fitted(picture, LARGE), self.language)

    def radio(self, review: Review, index: int) -> gr.Radio:
        """What a person may say of a cell, and said; the model's word is no choice yet, so that it can be confirmed."""
        choices = [(class_name(review, choice, self.language), choice) for choice in review.choices]
        return gr.Radio(choices, value=review.decisions.get(index))

    def headers(self, review: Review) -> list[str]:
        return [*self.t["headers"], *([self.t["compared_header"]] if review.second_model else [])]

    def typical(self, ranges: list) -> dict[str, differential.Range]:
        """The ranges that a user gave, by label; the typical ones, with a word, where one is none."""
        names = [name(label, self.language) for label in ORDER]
        try:
            checked = differential.check_ranges(dict(zip(names, (row[-2:] for row in ranges), strict=False)))
        except RangeError as error:
            gr.Warning(self.error(translate(error.message, self.language)).message)
            return differential.TYPICAL
        return {label: checked[one] for label, one in zip(ORDER, names, strict=True) if one in checked}

    def default_ranges(self) -> list[list]:
        return [list(differential.TYPICAL.get(label, (None, None))) for label in ORDER]

    def named(self, limits: list[list]) -> list[list]:
        return [[name(label, self.language), *pair] for label, pair in zip(ORDER, limits, strict=False)]

    def introduction(self) -> str:
        return f"# {self.t['title']}\n" + self.t["introduction"].format(types=views.type_names(self.language))

    # --- where they are ---

    def build(self) -> None:
        """The layout. To be called within a page of Blocks."""
        self.state()
        gr.Markdown(self.introduction())
        with gr.Tabs():
            with gr.Tab(self.t["tab_cells"]):
                self.build_upload()
                with gr.Column(visible=False, elem_id="results") as self.results:
                    with gr.Row():
                        with gr.Column(scale=3, min_width=320):
                            self.build_cells()
                        with gr.Column(scale=1, min_width=300):
                            self.build_selected()
                    self.build_differential()
            with gr.Tab(self.t["tab_about"]) as tab:
                about = gr.HTML(elem_id="about", apply_default_css=False)
        tab.select(functools.partial(views.about, self.language), None, about, api_visibility="private")
        self.connect()

    def state(self) -> None:
        self.review = gr.State(Review(), time_to_live=KEPT_SECONDS)
        self.sources = gr.State([], time_to_live=KEPT_SECONDS)
        self.selected = gr.State(0)
        self.kept = gr.BrowserState(None, storage_key=KEPT, secret=SECRET)
        self.work = gr.BrowserState(None, storage_key=STEPS, secret=SECRET)
        self.kept_ranges = gr.BrowserState(None, storage_key=RANGES, secret=SECRET)

    def build_upload(self) -> None:
        t = self.t
        with gr.Row():
            self.files = gr.File(
                label=t["files"].format(most=limits.MAX_FILES, size=f"{limits.FILE_BYTES // 1_000_000} MB"),
                file_count="multiple",
                height=220,
                scale=2,
                elem_id="files",
            )
            # Gradio's own makes an empty file for each, which nobody deletes.
            self.files.preprocess = lambda payload: [file.path for file in payload.root] if payload else None
            with gr.Column(min_width=240):
                models = catalog.names()
                self.model = gr.Dropdown(models, label=t["model"], filterable=False, elem_id="model")
                choices = [(t["nothing"], ""), *models]
                self.second = gr.Dropdown(choices, value="", label=t["second_model"], filterable=False, elem_id="second")
                self.button = gr.Button(t["classify"], variant="primary", elem_id="classify")
                self.examples = gr.Button(t["examples"], size="sm", elem_id="examples")
                self.real = gr.Button(t["real_examples"], size="sm", elem_id="real_examples", visible=bool(examples.dataset()))

    def build_cells(self) -> None:
        self.styles = gr.HTML(elem_id="styles")
        with gr.Tab(self.t["gallery"]):
            self.gallery = gr.HTML(
                elem_id="gallery", apply_default_css=False, js_on_load=views.GALLERY, max_height=800, padding=True
            )
        with gr.Tab(self.t["table"], elem_id="table_tab"):
            self.table = gr.Dataframe(
                headers=self.t["headers"],
                datatype=["number", "html", "str", "str", "str", "number", "str", "str", "str", "str"],
                column_widths=["48px", "84px", "180px", "136px", "120px", "116px", "166px", "150px", "150px", "136px"],
                wrap=True,
                interactive=False,
                label=self.t["table_note"],
                max_height=640,
                elem_id="table",
                buttons=["fullscreen"],
            )

    def build_selected(self) -> None:
        t = self.t
        self.detail = gr.HTML(elem_id="detail", apply_default_css=False, label=t["detail"])
        self.give = gr.Radio([], label=t["give"], info=t["keys"], elem_id="give")
        with gr.Row():
            self.show = gr.Button(t["saliency"], size="sm", min_width=80, elem_id="saliency")
            self.back = gr.Button(t["undo"], size="sm", min_width=80, elem_id="undo")

    def build_differential(self) -> None:
        t = self.t
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                self.counts = gr.HTML(elem_id="counts", apply_default_css=False)
                with gr.Accordion(t["ranges"], open=False):
                    self.ranges = gr.Dataframe(
                        self.named(self.default_ranges()),
                        headers=t["ranges_headers"],
                        datatype=["str", "number", "number"],
                        static_columns=[0],
                        interactive=True,
                        type="array",
                        label=t["ranges_note"],
                        buttons=[],
                        elem_id="ranges",
                    )
            with gr.Column(scale=1, min_width=300):
                self.comment = gr.Textbox(label=t["comment"], info=t["comment_note"], lines=3, elem_id="comment")
                with gr.Row():
                    self.exports = {
                        kind: gr.Button(t[kind], size="sm", min_width=60, elem_id=kind) for kind in ("csv", "excel", "report")
                    }
                self.downloads = {kind: gr.DownloadButton(visible="hidden", elem_id=f"{kind}_file") for kind in self.exports}
                self.clearing = gr.Button(t["clear"], size="sm", variant="stop", elem_id="clear")

    def connect(self) -> None:
        """Which event calls what. Steps of a review are taken one after another."""
        private = {"api_visibility": "private", "api_name": False}
        step = private | {"show_progress": "hidden", "trigger_mode": "multiple", "concurrency_id": "review"}
        steps = {self.review, self.selected, self.gallery, self.table, self.detail, self.counts, self.work}
        opening = steps | {self.results, self.sources, self.styles, self.give, self.comment, self.kept}
        fetching = {"inputs": [self.model, self.second], "concurrency_limit": FETCHES} | private
        for dropdown in (self.model, self.second):
            dropdown.select(self.choose, **fetching, show_progress_on=dropdown)
        chosen = [self.model, self.second, self.ranges]
        for button, handler, inputs in (
            (self.button, self.classify, [self.files, *chosen]),
            (self.examples, self.classify_drawn, chosen),
            (self.real, self.classify_real, chosen),
        ):
            button.click(self.fetch, **fetching, show_progress="hidden").success(
                handler, inputs, opening, show_progress_on=self.files, **private, **LINE
            )
        choosing = {"outputs": {self.selected, self.detail, self.give}} | step
        self.gallery.select(self.select, [self.review, self.sources], **choosing)
        self.table.select(self.select_row, [self.review, self.sources], **choosing)
        where = [self.review, self.selected, self.sources]
        self.give.input(self.decide, [*where, self.give, self.comment, self.ranges], steps, **step)
        self.back.click(self.undo, [*where, self.comment, self.ranges], steps | {self.give}, **step)
        self.show.click(self.saliency, where, {self.detail}, **private)
        self.comment.blur(self.note, [self.review, self.comment], {self.work}, **step)
        self.ranges.input(self.recount, [self.review, self.ranges], {self.counts, self.kept_ranges}, **step)
        for kind, button in self.exports.items():
            file = self.downloads[kind]
            button.click(
                functools.partial(self.export, kind), [self.review, self.comment, self.ranges], file, **private
            ).success(None, None, None, js=f"() => document.querySelector('#{kind}_file').click()", **private)
        self.clearing.click(self.clear, None, opening | {self.files, self.work}, **private)


def awaited(found: Iterable[T]) -> Iterator[T]:
    """Each, as long as someone waits for it: whoever closed the page or hung up frees what has not started."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = blocks and blocks._queue.event_ids_to_events.get(event_id)
    for one in found:
        if event and not event.alive:
            raise gr.Error("Nobody waits for this any more.", print_exception=False)
        yield one


def unkept(error: OSError) -> str:
    """The key of what a user is told of a file that could not be written; where, and which, is no one's business."""
    return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "disk_closed"


def refuse_upload(request: Request, error: OSError) -> PlainTextResponse:
    """In place of "Internal Server Error", which the page would show."""
    with contextlib.suppress(OSError):  # the log may lie on the same disk
        print(f"{request.url.path}: {error.strerror}", file=sys.stderr)
    return PlainTextResponse(texts(LANGUAGES[0])["errors"][unkept(error)], 507)


def unpacked(files: list[str]) -> list[tuple[str, Source]]:
    """(name, source) of every picture, without the folder of an uploaded file. Raises ArchiveError."""
    found = archive.expand_archives(files, limits.MAX_FILES)
    return [(Path(file).name if source is file else file, source) for file, source in found]


def classified(sources: list[tuple[str, Source]], classifiers: list[Classifier]) -> Iterator[Cell]:
    """A cell for each source, in order, as they are done."""
    names, pictures = zip(*sources, strict=True)
    for small, prediction, *others in awaited(classify_all(classifiers, pictures, names, thumbnail_side=THUMBNAIL)):
        yield Cell(prediction, small, *others)


class LateError(Exception):
    """A request took longer than limits.SECONDS."""


def in_time(found: Iterable[T]) -> Iterator[T]:
    """Each, as long as the request may take. Raises LateError; the batch under way is finished."""
    end = time.monotonic() + limits.SECONDS
    for one in found:
        if time.monotonic() > end:
            raise LateError
        yield one


def work_of(review: Review, comment: str) -> dict:
    """What a person did, for the browser."""
    return {"steps": [list(step) for step in review.steps], "comment": comment}


def classify(files: list[str] | None, model: str) -> list[dict]:
    """Classify pictures of single blood cells, or ZIPs of them; a row for each, with the columns of the CSV."""
    try:
        sources = unpacked(files or [])
        if not 1 <= len(sources) <= limits.MAX_FILES:
            raise gr.Error(f"{len(sources)} pictures were given; give 1 to {limits.MAX_FILES}.", print_exception=False)
        catalog.fetch(model)
        classifier = catalog.load(model)
    except (ArchiveError, HubError, ModelError) as error:
        raise gr.Error(str(error), print_exception=False) from None
    names, pictures = zip(*sources, strict=True)
    try:
        cells = tuple(map(Cell, in_time(awaited(classifier.predict(pictures, names)))))
    except LateError:
        raise gr.Error(
            f"Classifying took longer than {limits.SECONDS} s; give fewer pictures.", print_exception=False
        ) from None
    review = Review(cells, str(classifier), classes=classifier.classes)
    frame = table.to_frame(review).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def build_demo() -> gr.Blocks:
    """The page in every language, ready to launch: the first at the root, the others under their codes."""
    first, *others = (Page(language) for language in LANGUAGES)
    with gr.Blocks(title=first.t["title"], analytics_enabled=False) as demo:
        build(first, demo)
        # For programs. Through the page's components, since those check that a file was uploaded.
        called, answer = gr.Button(visible=False), gr.JSON(visible=False)
        called.click(classify, [first.files, first.model], answer, api_name="classify", **LINE)
    for page in others:
        with demo.route(page.t["language"], page.language):
            build(page, demo)
    return demo


def build(page: Page, demo: gr.Blocks) -> None:
    """A page, which shows what the browser kept once it is loaded."""
    gr.Navbar(main_page_name=texts(LANGUAGES[0])["language"])
    page.build()
    kept = [page.kept, page.work, page.kept_ranges]
    shown = {page.results, page.review, page.sources, page.selected, page.styles, page.gallery, page.table, page.detail,
             page.give, page.counts, page.comment, page.ranges}  # fmt: skip
    demo.load(page.restore, kept, shown, show_progress="hidden", api_visibility="private")


def theme() -> gr.themes.Base:
    """Soft, with system fonts, and darker where its letters are too pale to read (WCAG 2.2, contrast of 4.5)."""
    soft = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return soft.set(
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        block_label_text_color="*primary_700",
        block_title_text_color="*primary_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        checkbox_label_background_fill_selected="*primary_600",
        color_accent="*primary_600",
        link_text_color_dark="*primary_300",
    )


def check_folder() -> None:
    """That there is a folder for uploads, before anything else starts."""
    try:
        tempfile.TemporaryFile(dir=os.environ.get("GRADIO_TEMP_DIR")).close()
    except OSError as error:
        raise SystemExit(f"error: no folder for uploads ({error}); set TMPDIR to one that can be written.") from None


def main() -> None:
    """Serve the page until Ctrl-C or SIGTERM; what was uploaded goes with it."""
    check_folder()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    retention.quiet()
    with tempfile.TemporaryDirectory(prefix=retention.PREFIX, dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        os.environ["GRADIO_TEMP_DIR"], tempfile.tempdir = retention.make_folders(Path(folder))
        try:
            demo = build_demo()
        except HubError as error:  # a list of models that cannot be read
            raise SystemExit(f"error: {error}") from None
        demo.launch(
            css=views.CSS,
            js=views.script(),
            theme=theme(),
            max_file_size=limits.FILE_BYTES,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,  # in front of it, Node would send headers of its own
            app_kwargs={
                "exception_handlers": {OSError: refuse_upload},
                "middleware": [(Headers, (), {})],
                "lifespan": retention.cleaning(Path(folder), KEPT_SECONDS, CHECK_SECONDS),
            },
            footer_links=["api", "gradio", "settings"],
            state_session_capacity=SESSIONS,
            mcp_server=importlib.util.find_spec("mcp") is not None,
        )


if __name__ == "__main__":
    main()
