"""`python app.py` as a process of its own, for the tests that look at the page."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

START_SECONDS = 240  # on a machine that is busy


@contextlib.contextmanager
def serve(folder: Path, logs: Path, python: str = sys.executable, **environment: str) -> Iterator[str]:
    """The address of the page that `folder` holds, while it is served."""
    with started(folder, logs, python=python, **environment) as (url, _):
        yield url


@contextlib.contextmanager
def started(
    folder: Path, logs: Path, *command: str, python: str = sys.executable, **environment: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """(the address, the process) of a server that python starts in `folder` with these arguments, until it has ended."""
    port = free_port()
    process = start(folder, logs, port, python, command or ("app.py",), **environment)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(
    folder: Path, logs: Path, port: int, python: str = sys.executable, command: Sequence[str] = ("app.py",), **environment: str
) -> subprocess.Popen:
    """The process that serves the page, once it answers."""
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port)} | environment
    with open(logs / "app.log", "a") as log:
        process = subprocess.Popen(
            [python, *command], cwd=folder, env=environment, stdout=log, stderr=log, preexec_fn=heed_interrupts
        )
    deadline = time.monotonic() + START_SECONDS
    while not _answers(f"http://127.0.0.1:{port}"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"the page did not come up: {(logs / 'app.log').read_text()}")
        time.sleep(0.2)
    return process


def heed_interrupts() -> None:
    """In a new process: where the tests are a background job, it would inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=30).status == 200
    except OSError:
        return False
