"""The Gradio page: drop pictures of single blood cells, choose a model, read and download the table."""

import base64
import io
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent anywhere, not even that the app runs

import gradio as gr
import pandas as pd

from cells import table
from cells.classes import ENGLISH, LABELS, NAMES
from cells.classifier import ModelError, Prediction
from cells.images import read_image
from hub import catalog
from hub.publish import HubError

MAX_FILES = 200
MAX_FILE_SIZE = "64 MB"
SESSIONS = 100  # whose last table is in memory; the oldest goes first
THUMBNAIL = 48  # pixels
KEPT_SECONDS = 3000  # an uploaded file and what was made of it; a check runs every CHECK_SECONDS
CHECK_SECONDS = 300

TITLE = "Blood cell classifier"
INTRODUCTION = f"""# {TITLE}
Drop pictures of **single peripheral blood cells**, choose a model and press **Classify**. Eight types are told apart:
{", ".join(cell for cell in ENGLISH.values())}.

*For research and teaching, not for diagnosis. The models know the pictures of one hospital and one scanner: expect errors on
yours. Your pictures stay on this server, are sent nowhere else, and are deleted within the hour.*"""

HEADERS = ["#", "picture", "file", "cell type", "probability", "runner-up", "status"]
DATATYPES = ["number", "html", "str", "str", "str", "str", "str"]
COLUMN_WIDTHS = ["44px", "76px", "170px", "136px", "112px", "166px", "180px"]

CSS = """
.gradio-container { max-width: 1440px !important; width: 100%; }
#table img { display: block; border-radius: 4px; }
#summary { min-height: 1.5em; }
"""

FETCHES = 4  # models that are fetched at once; classifying goes on meanwhile


def fetch(model: str, progress: gr.Progress = gr.Progress()) -> None:  # noqa: B008
    """Bring a model that is on the Hub to this disk; the embedded ones are there."""
    try:
        catalog.fetch(model, lambda done, total: progress((done, total), desc=f"Fetching {model}", unit="bytes"))
    except (HubError, ModelError) as error:
        raise gr.Error(f"{error} The other models go on.", print_exception=False) from None


def classify(files: list[str] | None, model: str, progress: gr.Progress = gr.Progress()) -> Iterator[tuple]:  # noqa: B008
    """Classify the uploaded files: (results, summary, table, state, CSV, Excel, and the first picture's detail view)."""
    if not files:
        raise gr.Error("Drop one or more pictures first.", print_exception=False)
    if len(files) > MAX_FILES:
        raise gr.Error(f"{len(files)} pictures are too many at once; choose at most {MAX_FILES}.", print_exception=False)
    progress((0, len(files)), desc="Loading the model")
    try:
        classifier = catalog.load(model)
    except (HubError, ModelError) as error:
        raise gr.Error(str(error), print_exception=False) from None
    names = [Path(file).name for file in files]
    state, rows = [], []
    for file, prediction in zip(files, classifier.predict(files, names), strict=True):
        state.append((file, prediction))
        rows.append(_row(len(state), file, prediction))
        progress((len(state), len(files)), desc="Classifying", unit="pictures")
    frame = table.to_frame([prediction for _, prediction in state], str(classifier))
    # Gradio copies the two files when it takes what is yielded; ours are gone right after.
    with tempfile.TemporaryDirectory() as folder:
        csv, excel = Path(folder, "cells.csv"), Path(folder, "cells.xlsx")
        table.write(frame, csv)
        table.write(frame, excel)
        yield (
            gr.Column(visible=True),
            _summary(frame),
            rows,
            state,
            str(csv),
            str(excel),
            *_detail(*state[0]),
        )


def show(state: list[tuple[str, Prediction]], event: gr.SelectData) -> tuple:
    """The selected row in the detail view."""
    number = int(event.row_value[0])  # not its place: the table may have been sorted
    if number > len(state):
        raise gr.Error("These results were deleted after an hour; classify the pictures again.", print_exception=False)
    return _detail(*state[number - 1])


def _detail(file: str, prediction: Prediction) -> tuple:
    """(name, picture, probabilities) of one cell; an unreadable one has its message in place of the two."""
    readable = prediction.probabilities is not None and Path(file).exists()
    shares = {NAMES[label]: share for label, share in prediction.ranking}
    return (
        gr.Textbox(prediction.file, info=prediction.message),
        gr.Image(read_image(file) if readable else None, visible=readable),
        gr.Label(shares or None, visible=bool(shares)),
    )


def _row(number: int, file: str, prediction: Prediction) -> list:
    if not prediction.ranking:
        return [number, "", prediction.file, "", "", "", f"{prediction.status}: {prediction.message}"]
    (first, share), (second, second_share) = prediction.ranking[:2]
    runner_up = f"{NAMES[second]} ({second_share:.1%})"
    return [number, _thumbnail(file), prediction.file, NAMES[first], f"{share:.1%}", runner_up, prediction.status]


def _thumbnail(file: str) -> str:
    """The picture as an <img> that carries its own bytes, so that no further file is kept."""
    picture = read_image(file)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{picture.width}" height="{picture.height}" alt="thumbnail">'


def _summary(frame: pd.DataFrame) -> str:
    counts = frame["status"].value_counts()
    parts = [f"**{len(frame)} picture{'s' if len(frame) > 1 else ''}**"]
    for status, text in (("ok", "ok"), ("review", "to look at yourself"), ("error", "that could not be read")):
        if status in counts:
            parts.append(f"{counts[status]} {text}")
    return f"{' · '.join(parts)} · model **{frame['model'][0]}**"


def build_demo() -> gr.Blocks:
    """The page, ready to launch."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CHECK_SECONDS, KEPT_SECONDS)) as demo:
        state = gr.State([], time_to_live=KEPT_SECONDS)
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            files = gr.File(
                label=f"Pictures: up to {MAX_FILES}, {MAX_FILE_SIZE} each",
                file_count="multiple",
                height=220,
                scale=2,
                elem_id="files",
            )
            with gr.Column(min_width=240):
                model = gr.Dropdown(catalog.names(), label="Model", filterable=False, elem_id="model")
                button = gr.Button("Classify", variant="primary", elem_id="classify")
        with gr.Column(visible=False, elem_id="results") as results:
            summary = gr.Markdown(elem_id="summary")
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    rows = gr.Dataframe(
                        headers=HEADERS,
                        datatype=DATATYPES,
                        column_widths=COLUMN_WIDTHS,
                        wrap=True,
                        interactive=False,
                        label="Select a row to see the cell",
                        max_height=640,
                        elem_id="table",
                        buttons=["fullscreen"],
                    )
                    with gr.Row():
                        csv = gr.DownloadButton("Download CSV", elem_id="csv")
                        excel = gr.DownloadButton("Download Excel", elem_id="excel")
                with gr.Column(scale=1, min_width=300, elem_id="detail"):
                    name = gr.Textbox(label="Selected picture", interactive=False, elem_id="name")
                    picture = gr.Image(
                        label="Picture", interactive=False, buttons=["fullscreen"], height=320, elem_id="picture"
                    )
                    shares = gr.Label(label="Probability of each type", num_top_classes=len(LABELS), elem_id="shares")
        fetching = {"fn": fetch, "inputs": model, "concurrency_limit": FETCHES, "api_visibility": "private"}
        model.input(**fetching, show_progress_on=model)
        button.click(**fetching, show_progress="hidden").success(
            classify,
            [files, model],
            [results, summary, rows, state, csv, excel, name, picture, shares],
            show_progress_on=files,
            api_visibility="private",
        )
        rows.select(show, state, [name, picture, shares], show_progress="hidden", api_visibility="private")
    return demo


def main() -> None:
    """Serve the page until Ctrl-C or SIGTERM; what was uploaded goes with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="blood-cells-", dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            demo = build_demo()
        except HubError as error:  # a list of models that cannot be read
            raise SystemExit(f"error: {error}") from None
        demo.launch(
            css=CSS,
            theme=gr.themes.Soft(),
            max_file_size=MAX_FILE_SIZE,
            run_history=False,
            footer_links=["gradio", "settings"],
            state_session_capacity=SESSIONS,
        )


if __name__ == "__main__":
    main()
