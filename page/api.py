"""What programs and agents call, over Gradio's queue: pictures in, rows with the columns of the CSV out.

A program uploads its files and calls /classify. An agent has no uploads: it hands pictures over as base64, in a tool of MCP.
"""

import base64
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import gradio as gr

from cells.locate.parts import AUTO, HOW
from cells.messages import Error
from cells.model.classifier import Classifier
from cells.read import archive, limits
from cells.read.images import Source
from cells.review import Cell, Review
from cells.write import table
from hub import catalog
from hub.messages import HubError
from page import uploads
from page.gradio_internals import has_left
from page.texts import LANGUAGES, RefusedError


def add(demo: gr.Blocks) -> None:
    """The call and its hidden components, within a page of Blocks."""
    files = gr.File(file_count="multiple", visible=False)
    model, how = gr.Dropdown(catalog.names(), visible=False), gr.Dropdown(HOW, value=AUTO, label="how", visible=False)
    answer, called = gr.JSON(visible=False), gr.Button(visible=False)

    def classify_files(files, model, request: gr.Request) -> list[dict]:
        """Classify pictures of single blood cells or of whole fields, or ZIPs; a row for each cell, as in the CSV."""
        return classify_as(files, model, AUTO, request)

    def classify_as(files, model, how, request: gr.Request) -> list[dict]:
        """The same, where `how` says what each picture is: cell, field, or auto, by what is found in it."""
        session = request.session_hash if request else None
        return rows(files or [], model, lambda: has_left(demo, session), how)

    lane = {"concurrency_limit": limits.CLASSIFYING, "concurrency_id": "classify"}
    # Gradio's own preprocessing makes an empty file for each one that was uploaded, which nobody deletes.
    called.click(classify_files, [files, model], answer, api_name="classify", preprocess=False, **lane)
    # Another call, since a program over HTTP has to give every value of a call.
    called.click(classify_as, [files, model, how], answer, api_name="classify_as", preprocess=False, **lane)
    gr.api(classify, api_name="classify_base64", **lane)


def classify(pictures: list[str], model: str = "") -> list[dict]:
    """Classify blood cells, in pictures of single cells or of whole fields; a row for each cell, with the columns of the CSV.

    Args:
        pictures: Each is the content of one picture file in base64.
        model: The name of a model; left out, it is the default one.
    """
    names = [f"picture {number}" for number in range(1, len(pictures) + 1)]
    with refusals():
        return classified(list(zip(names, decoded(pictures), strict=True)), model or catalog.names()[0], lambda: False, AUTO)


def decoded(pictures: list[str]) -> list[bytes]:
    """The files behind base64, which may have a `data:image/png;base64,` before it. Raises gr.Error."""
    if sum(map(len, pictures)) > limits.SENT_BYTES:
        raise refused(f"The pictures are more than {limits.SENT_BYTES // 1_000_000} MB in base64; send them in several calls.")
    try:
        return [base64.b64decode(picture.rpartition("base64,")[2], validate=True) for picture in pictures]
    except ValueError:  # binascii.Error, or a letter outside ASCII
        raise refused("A picture is not base64; send the content of a picture file in base64.") from None


def rows(files: list[dict], model: str, is_over: Callable[[], bool] = lambda: False, how: str = AUTO) -> list[dict]:
    """A row for each cell of these uploads, which are deleted; once `is_over` says so, the rest is not begun.

    A file is as Gradio has it: `path`, and `orig_name`, which is the name that its owner gave it. Raises gr.Error.
    """
    paths: list[Path] = []
    try:
        with refusals():
            paths = [uploads.find(file["path"]) for file in files]
            called = [(file.get("orig_name") or Path(file["path"]).name)[: limits.NAME] for file in files]
            return classified(unpacked(list(map(str, paths)), called), model, is_over, how)
    finally:
        uploads.delete(paths)


def classified(sources: list[tuple[str, Source]], model: str, is_over: Callable[[], bool], how: str) -> list[dict]:
    """A row for each cell of each (name, picture). Raises gr.Error, RefusedError, and the errors of models and archives."""
    if not 1 <= len(sources) <= limits.MAX_FILES:
        raise refused(f"{len(sources)} pictures were given; give 1 to {limits.MAX_FILES}.")
    if how not in HOW:
        raise refused(f"how is to be {', '.join(HOW[:-1])} or {HOW[-1]}.")
    classifier = present(model)
    names, pictures = zip(*sources, strict=True)
    cells = tuple(map(Cell, in_time(classifier.predict(pictures, names, how=how), is_over)))
    frame = table.to_frame(Review(cells, str(classifier), classes=classifier.classes)).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Within it, the errors that are meant for a person become Gradio's, in their own words."""
    try:
        yield
    except RefusedError as error:
        raise refused(error.sentence(LANGUAGES[0])) from None
    except Error as error:
        raise refused(str(error)) from None


def refused(sentence: str) -> gr.Error:
    return gr.Error(sentence, print_exception=False)


def present(model: str) -> Classifier:
    """A model, fetched where it is not on this disk yet. Raises HubError, ModelError."""
    try:
        return catalog.load(model)
    except HubError as error:
        if error.code != "hub_not_cached":
            raise
    catalog.fetch(model)
    return catalog.load(model)


def unpacked(files: list[str], called: list[str]) -> list[tuple[str, Source]]:
    """(name, source) of every picture of files with these names; a picture in a ZIP has its name there. Raises ArchiveError."""
    names = dict(zip(files, called, strict=True))
    found = archive.expand_archives(files, limits.MAX_FILES)
    return [(names[file] if source is file else file, source) for file, source in found]


def in_time(found: Iterable, is_over: Callable[[], bool]) -> Iterator:
    """Each, for at most limits.SECONDS and as long as somebody waits; the batch under way is finished. Raises RefusedError."""
    end = time.monotonic() + limits.SECONDS
    for one in found:
        if time.monotonic() > end:
            raise RefusedError("too_long", most=limits.SECONDS)
        if is_over():
            raise RefusedError("nobody_waits")
        yield one
