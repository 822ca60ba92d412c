"""How soon the page is ready, and the first picture classified, beside the shortest Gradio demo of the same model.

python -m benchmarks.page_ready [REPEATS]

Each is started in a process of its own, alternately; measured is the time from the start of the process until a browser shows
its button, then until it shows the answer to a picture that was chosen at once. The exported network was made before, as it is
at the first start on a machine.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks import timing
from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT
from cells.synthetic import draw_cell

ROOT = Path(__file__).resolve().parent.parent
DEMO = f"""
import gradio as gr
from transformers import pipeline
classify = pipeline("image-classification", model="models/{DEFAULT}")
gr.Interface(lambda image: {{row["label"]: row["score"] for row in classify(image)}}, gr.Image(type="pil"), gr.Label()).launch()
"""
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
BUTTONS = {"ours": "#classify", "demo": "button.primary"}
ANSWERS = {"ours": "#gallery [data-cell]", "demo": "[data-testid=label-output-value]"}
UPLOADED = {"ours": "#classify:enabled", "demo": "[data-testid=image] img"}


def main(repeats: int) -> None:
    Classifier.load(DEFAULT)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "cell.jpg")
        draw_cell("monocyte").convert("RGB").save(picture)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        ready, first = ({name: [] for name in BUTTONS} for _ in range(2))
        for number in range(repeats):
            for name in list(BUTTONS)[:: 1 if number % 2 == 0 else -1]:
                seconds = measure(browser, name, picture)
                ready[name].append(seconds[0])
                first[name].append(seconds[1])
            print("  ".join(f"{name} {ready[name][-1]:.1f} s, {first[name][-1]:.1f} s" for name in BUTTONS), flush=True)
    for what, values in (("page ready", ready), ("first picture", first)):
        print("\n".join([what, *timing.report(values, "s")]))


def measure(browser: Browser, name: str, picture: Path) -> tuple[float, float]:
    """Seconds from the start of the process until the button is there, and until the picture has an answer."""
    start = time.monotonic()
    with started(name) as (url, _):
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        page.locator(BUTTONS[name]).first.wait_for()
        ready = time.monotonic() - start
        page.locator("input[type=file]").first.set_input_files(picture)
        page.locator(UPLOADED[name]).first.wait_for()
        page.locator(BUTTONS[name]).first.click()
        page.locator(ANSWERS[name]).first.wait_for()
        first = time.monotonic() - start
        page.close()
    return ready, first


@contextmanager
def started(name: str, demo: str = DEMO, **environment: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of the page, or of the demo, and its process, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "app.py"] if name == "ours" else [sys.executable, "-c", demo]
    own = {"GRADIO_SERVER_PORT": url.rpartition(":")[2], "GRADIO_ANALYTICS_ENABLED": "False"} | environment
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(url):
            assert process.poll() is None, f"{name} did not start"
            time.sleep(0.05)
        yield url, process
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
