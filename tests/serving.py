"""`python app.py` as a process of its own, for the tests that look at the page."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

START_SECONDS = 240  # on a machine that is busy


@contextlib.contextmanager
def serve(folder: Path, logs: Path, python: str = sys.executable, **environment: str) -> Iterator[str]:
    """The address of the page that `folder` holds, while it is served."""
    with started(folder, logs, [python, "app.py"], **environment) as (url, _):
        yield url


@contextlib.contextmanager
def started(folder: Path, logs: Path, command: list[str], **environment: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """(the address, the process) of a server that the command starts in `folder`, until it has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port)} | environment
    with open(logs / "app.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    try:
        while not _answers(url):
            running = process.poll() is None and time.monotonic() < deadline
            assert running, f"the page did not come up: {(logs / 'app.log').read_text()}"
            time.sleep(0.2)
        yield url, process
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=30).status == 200
    except OSError:
        return False


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(address: str, body: bytes | dict | None = None, method: str | None = None, **headers: str) -> Answer:
    """What a server answers, errors too; a dict goes as JSON."""
    if isinstance(body, dict):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers, method=method), timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def form(name: str, content: bytes) -> bytes:
    """A file as a browser sends it, with the boundary x."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--x--\r\n"


def upload(url: str, name: str, content: bytes) -> Answer:
    return ask(f"{url}/gradio_api/upload", form(name, content), Content_Type="multipart/form-data; boundary=x")


def classify(url: str, path: str, event_id: bool = False) -> str:
    """The README's lines for plain HTTP: start the work, then read its events."""
    data = [[{"path": path, "meta": {"_type": "gradio.FileData"}}], "resnet18"]
    event = json.loads(ask(f"{url}/gradio_api/call/classify", {"data": data}).body)["event_id"]
    return event if event_id else ask(f"{url}/gradio_api/call/classify/{event}").body.decode()
