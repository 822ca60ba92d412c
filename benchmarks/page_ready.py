"""How soon the page is ready, beside the shortest Gradio demo of the same model: python -m benchmarks.page_ready [REPEATS]

Each is started in a process of its own, alternately; measured is the time until a browser shows its button. Prints seconds and
the ratio ours / demo of each pair, with the spread.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks import timing

ROOT = Path(__file__).resolve().parent.parent
DEMO = """
import gradio as gr
from transformers import pipeline
classify = pipeline("image-classification", model="models/resnet18")
gr.Interface(lambda image: {row["label"]: row["score"] for row in classify(image)}, gr.Image(type="pil"), gr.Label()).launch()
"""
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
BUTTONS = {"ours": "#classify", "demo": "button.primary"}


def main(repeats: int) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        timing.compare({name: partial(ready, browser, name) for name in BUTTONS}, repeats, "s")


def ready(browser: Browser, name: str) -> float:
    """Seconds from the start of the process until the button is there."""
    start = time.monotonic()
    with started(name) as url:
        page = browser.new_page()
        page.goto(url)
        page.locator(BUTTONS[name]).first.wait_for(timeout=120_000)
        seconds = time.monotonic() - start
        page.close()
    return seconds


@contextmanager
def started(name: str) -> Iterator[str]:
    """The address of the page, or of the demo, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "app.py"] if name == "ours" else [sys.executable, "-c", DEMO]
    environment = os.environ | {"GRADIO_SERVER_PORT": url.rpartition(":")[2], "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(url):
            assert process.poll() is None, f"{name} did not start"
            time.sleep(0.05)
        yield url
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
