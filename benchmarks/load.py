"""Many clients at once, each with its own pictures: python -m benchmarks.load [ours|demo] [--clients N] ...

The page, or the shortest Gradio demo of the same model that takes many files, runs on this machine. Each client uploads its
drawn cells over HTTP and asks for their classes, again and again; each time they are other files to the server. A client of the
page does what its script in the browser does: it uploads CHUNK pictures and asks for their classes, then the next, then the
differential. Every answer is compared with what that client got alone, before: names, order, classes, probabilities. Meanwhile
the server's memory and folder are weighed and the page is asked for. At the end, of ours, more clients come at once than there
are places for.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.many_large import Watch
from benchmarks.page_ready import started
from cells.classes import LABELS
from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT
from cells.read import limits
from cells.synthetic import draw_cell

DEMO = f"""
from pathlib import Path
import gradio as gr
from transformers import pipeline
model = pipeline("image-classification", model="models/{DEFAULT}")

def classify(files):
    return [{{"file": Path(file).name, "prediction": best["label"], "probability": best["score"]}}
            for file, (best, *_) in zip(files, model(files))]

gr.Interface(classify, gr.File(file_count="multiple"), gr.JSON(), api_name="classify").launch()
"""
NAMES = ("ours", "demo")
CHUNK = 8  # pictures of one call of the page
TIMEOUT = 600  # seconds, after which an answer is lost
EVERY = 0.5  # seconds between two looks at the page and the memory
SURPLUS = 40  # clients that come though no place is left


@dataclass
class Client:
    """Pictures of its own, what is to be said of them, and what became of its requests."""

    name: str
    pictures: dict[str, bytes]
    url: str
    expected: list[tuple] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    mixed_up: int = 0

    def ask(self, number: int) -> list[tuple]:
        """(file, class, probability) of each picture."""
        pictures = {file: picture + number.to_bytes(4) for file, picture in self.pictures.items()}
        return ask_page(self.url, pictures) if self.name == "ours" else ask_demo(self.url, pictures)

    def work(self, until: float) -> None:
        while time.monotonic() < until:
            start = time.monotonic()
            try:
                answer = self.ask(len(self.seconds) + len(self.lost) + 1)
            except (OSError, ValueError, KeyError) as error:
                self.lost.append(repr(error))
                continue
            self.seconds.append(time.monotonic() - start)
            self.mixed_up += answer != self.expected


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.load", description="Measure the page with many clients at once.")
    parser.add_argument("name", nargs="?", choices=NAMES, default="ours", help="default %(default)s")
    parser.add_argument("--clients", type=int, default=30, metavar="N", help="default %(default)s")
    parser.add_argument("--pictures", type=int, default=20, metavar="N", help="of each client (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="default %(default)s")
    options = parser.parse_args()
    Classifier.load(DEFAULT)  # exports the network, where that was not done yet
    with tempfile.TemporaryDirectory() as folder, started(options.name, DEMO, TMPDIR=folder) as (url, process):
        clients = [Client(options.name, draw(number, options.pictures), url) for number in range(options.clients)]
        for client in clients:
            client.expected = client.ask(0)
        with Watch(url, process.pid, EVERY) as watch, ThreadPoolExecutor(len(clients)) as pool:
            start = time.monotonic()
            for done in [pool.submit(client.work, start + 60 * options.minutes) for client in clients]:
                done.result()
            seconds = time.monotonic() - start
        print(f"{options.name}: {options.clients} clients with {options.pictures} pictures each, {seconds / 60:.1f} minutes")
        report(clients, seconds, watch, Path(folder))
        if options.name == "ours":
            surplus(clients[0])


def draw(seed: int, count: int) -> dict[str, bytes]:
    """name -> JPEG of drawn cells, in a mixture and an order of their own for each seed."""
    rng = np.random.default_rng(seed)
    pictures = {}
    for number in range(count):
        buffer = io.BytesIO()
        draw_cell(rng.choice(LABELS), seed=1000 * seed + number).save(buffer, "JPEG", quality=90)
        pictures[f"{seed:03d}-{number:03d}.jpg"] = buffer.getvalue()
    return pictures


def upload(url: str, pictures: dict[str, bytes]) -> list[dict]:
    """The pictures as the server calls them from then on."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() + picture + b"\r\n"
        for name, picture in pictures.items()
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{url}/gradio_api/upload", b"".join(parts) + b"--x--\r\n", headers)
    paths = json.load(urllib.request.urlopen(request, timeout=TIMEOUT))
    return [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=TIMEOUT))


def ask_demo(url: str, pictures: dict[str, bytes]) -> list[tuple]:
    event = post(f"{url}/gradio_api/call/classify", {"data": [upload(url, pictures)]})["event_id"]
    return rows(urllib.request.urlopen(f"{url}/gradio_api/call/classify/{event}", timeout=TIMEOUT).read().decode())


def ask_page(url: str, pictures: dict[str, bytes]) -> list[tuple]:
    found, names = [], list(pictures)
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        files = upload(url, {name: pictures[name] for name in chunk})
        sources = [{"id": name, "name": name, "path": file["path"]} for name, file in zip(chunk, files, strict=True)]
        asked = {"language": "en", "batch": "load", "model": DEFAULT, "second": "", "sources": sources}
        answer = call(url, "classify", asked)
        if "error" in answer:
            raise ValueError(answer["error"]["text"])
        found += [best(cell, answer["labels"]) for cell in answer["cells"]]
    counts = Counter(label for _, label, _ in found)
    if "rows" not in call(url, "differential", {"language": "en", "counts": counts}):
        raise ValueError("no differential")
    return found


def best(cell: dict, labels: list[str]) -> tuple:
    probability = max(cell["probabilities"])
    return cell["name"], labels[cell["probabilities"].index(probability)], round(probability, 4)


def call(url: str, function: str, asked: dict) -> dict:
    """What the page's script in the browser does with server.FUNCTION(asked)."""
    body = {"data": asked, "component_id": component(url), "fn_name": function, "session_hash": uuid.uuid4().hex}
    return post(f"{url}/gradio_api/component_server", body)


@cache
def component(url: str) -> int:
    config = json.load(urllib.request.urlopen(f"{url}/config", timeout=TIMEOUT))
    return next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "workbench")


def rows(events: str) -> list[tuple]:
    """What the last event of a stream says."""
    event, data = events.strip().split("\n\n")[-1].split("\n")
    if event != "event: complete":
        raise ValueError(events)
    (answer,) = json.loads(data.removeprefix("data: "))
    return [(row["file"], row["prediction"], round(row["probability"], 4)) for row in answer]


def report(clients: list[Client], seconds: float, watch: Watch, folder: Path) -> None:
    times = [one for client in clients for one in client.seconds]
    lost = [one for client in clients for one in client.lost]
    pictures = sum(len(client.seconds) * len(client.pictures) for client in clients)
    print(f"{len(times)} requests answered, {pictures / seconds:.1f} pictures/s; {len(lost)} lost {lost[:2]}")
    print(f"mixed up: {sum(client.mixed_up for client in clients)}")
    print(f"a request took {statistics.median(times):.1f} s (median), at most {max(times):.1f} s")
    a_minute = round(60 / EVERY)
    minutes = [watch.sizes[at : at + a_minute] for at in range(0, len(watch.sizes), a_minute)]
    print("memory, minute by minute:", ", ".join(f"{statistics.median(one):.0f}" for one in minutes), "MB")
    waits = watch.waits
    print(f"the page answered in {statistics.median(waits):.2f} s (median), at most {max(waits):.2f} s, {len(waits)} times")
    there = [path.lstat().st_size for path in folder.rglob("*") if path.is_file()]
    print(f"in the folder of uploads: {len(there)} files, {sum(there) / 1e6:.0f} MB", flush=True)


def surplus(client: Client) -> None:
    """As many at once as there are places, and SURPLUS more."""
    sources = [{"id": f"{number}", "drawn": LABELS[number % len(LABELS)]} for number in range(limits.CHUNK)]
    asked = {"language": "en", "batch": "load", "model": DEFAULT, "second": "", "sources": sources}

    def join(_: int) -> tuple[float, str]:
        start = time.monotonic()
        answer = call(client.url, "classify", asked)
        return time.monotonic() - start, answer["error"]["text"] if "error" in answer else "answered"

    count = limits.CLASSIFYING + limits.WAITING + SURPLUS
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(join, range(count)))
    for said in sorted({said for _, said in answers}):
        times = [seconds for seconds, one in answers if one == said]
        print(f"{len(times)} of {count} that came at once: {said} (after at most {max(times):.1f} s)")


if __name__ == "__main__":
    main()
