"""`python app.py` as a process of its own, for the tests that look at the page."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

START_SECONDS = 240  # on a machine that is busy


@contextlib.contextmanager
def serve(folder: Path, logs: Path, python: str = sys.executable, **environment: str) -> Iterator[str]:
    """The address of the page that `folder` holds, while it is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port)} | environment
    with open(logs / "app.log", "w") as log:
        process = subprocess.Popen([python, "app.py"], cwd=folder, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    try:
        while not _answers(url):
            running = process.poll() is None and time.monotonic() < deadline
            assert running, f"the page did not come up: {(logs / 'app.log').read_text()}"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=30).status == 200
    except OSError:
        return False
