"""The Gradio page: drop pictures of single blood cells, choose a model, review the cells, take the differential away."""

import importlib.util
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent anywhere, not even that the app runs

import gradio as gr
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from cells.read import limits
from hub.messages import HubError
from page import gradio_internals, handlers, layout, retention, static, uploads, views
from page.headers import Headers
from page.texts import LANGUAGES, RefusedError, texts

KEPT_SECONDS = 3000  # an upload that was not deleted, and an answer of the API; a check runs every CHECK_SECONDS
CHECK_SECONDS = 300
SESSIONS = 1  # whose last answer is in memory; none is asked for again


def refuse_upload(request: Request, error: OSError) -> PlainTextResponse:
    """In place of "Internal Server Error", which the page would show."""
    uploads.log(request.url.path.rpartition("/")[2], error)
    return PlainTextResponse(texts(LANGUAGES[0])["errors"][uploads.unkept(error)], 507)


def refuse_call(request: Request, error: HTTPException) -> JSONResponse:
    """A full queue of programs, in our words in place of Gradio's."""
    full = str(error.detail).startswith("Queue is full")
    sentence = RefusedError("busy", most=limits.WAITING).sentence(LANGUAGES[0]) if full else error.detail
    return JSONResponse({"detail": sentence}, error.status_code)


class Wordless(logging.Filter):
    """The server's own log: a line on an error's kind and place, without its words, which may name a visitor's file."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            uploads.log(record.name, record.exc_info[1])
            return False
        return True


def keep_words_out_of_the_log() -> None:
    logging.getLogger("uvicorn.error").addFilter(Wordless())
    logging.getLogger("asyncio").addFilter(Wordless())


def check_folder() -> None:
    """That there is a folder for uploads, before anything else starts."""
    try:
        tempfile.TemporaryFile(dir=os.environ.get("GRADIO_TEMP_DIR")).close()
    except OSError as error:
        raise SystemExit(
            f"error: no folder for uploads ({error}); set GRADIO_TEMP_DIR or TMPDIR to one that can be written."
        ) from None


def build_demo() -> gr.Blocks:
    """The page, with a queue for the programs that call it."""
    return layout.build().queue(max_size=limits.WAITING, api_open=False)  # a call past the queue would have no limit


def memory_clearing(demo: gr.Blocks) -> Callable[[gr.routes.App], None]:
    """A function that clears what Gradio remembers of visitors; it is called every CHECK_SECONDS."""
    answers = gradio_internals.Answers(KEPT_SECONDS)

    def clear(app: gr.routes.App) -> None:
        handlers.read_archive.cache_clear()
        gradio_internals.forget_uploads(demo)
        answers.forget(app, time.monotonic())

    return clear


def launch(demo: gr.Blocks, folder: Path) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    demo.launch(
        css=views.CSS,
        max_file_size=limits.FILE_BYTES,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,  # in front of it, Node would send headers of its own
        app_kwargs={
            "routes": [static.route()],
            "exception_handlers": {OSError: refuse_upload, 503: refuse_call},
            "middleware": [(Headers, (), {})],
            "lifespan": retention.cleaning(folder, KEPT_SECONDS, CHECK_SECONDS, memory_clearing(demo)),
        },
        footer_links=["api", "gradio", "settings"],
        state_session_capacity=SESSIONS,
        mcp_server=importlib.util.find_spec("mcp") is not None,
    )


def main() -> None:
    """Serve the page; what was uploaded goes with it."""
    check_folder()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_words_out_of_the_log()
    gradio_internals.unguessable_uploads()
    with tempfile.TemporaryDirectory(prefix=retention.PREFIX, dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        os.environ["GRADIO_TEMP_DIR"], tempfile.tempdir = retention.make_folders(Path(folder))
        try:
            demo = build_demo()
        except HubError as error:  # a list of models that cannot be read
            raise SystemExit(f"error: {error}") from None
        launch(demo, Path(folder))


if __name__ == "__main__":
    main()
