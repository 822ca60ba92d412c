"""What a batch of many large pictures costs the page: python -m benchmarks.many_large [PICTURES] [MEGAPIXELS]

A browser chooses them all at once and classifies them. Meanwhile the memory of the server's process is read and the page asked
for again and again; printed are megabytes above the idle page and seconds until the page answered.
"""

import math
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.page_ready import CHROMIUM, started
from cells.classes import LABELS
from cells.synthetic import draw_cell

EVERY = 0.1  # seconds between two looks at the memory


def main(count: int, megapixels: float) -> None:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder, started("ours") as (url, process):
        files = draw(Path(folder), count, megapixels)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(1_800_000)
        page.goto(url)
        page.locator("#classify").wait_for()
        idle = resident(process.pid)
        with Watch(url, process.pid) as watch:
            start = time.monotonic()
            page.set_input_files("#files input[type=file]", files)
            page.click("#classify")  # a picture is uploaded with the eight of its call
            page.locator("#gallery [data-cell]").nth(count - 1).wait_for()
            end = time.monotonic()
        browser.close()
    waits = sorted(watch.waits)
    print(f"{count} pictures of {megapixels:g} megapixels: uploaded and classified in {end - start:.0f} s")
    print(f"idle {idle:.0f} MB, at most {max(watch.sizes) - idle:.0f} MB more, {watch.sizes[-1] - idle:.0f} MB more at the end")
    print(f"the page answered in {waits[len(waits) // 2]:.2f} s (median), at most {waits[-1]:.2f} s, {len(waits)} requests")


def draw(folder: Path, count: int, megapixels: float) -> list[Path]:
    """Drawn cells as a camera would give them: large, and with noise, without which a JPEG is small."""
    side = round((megapixels * 1e6) ** 0.5)
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        file = folder / f"{number:04d}.jpg"
        if number < len(LABELS):
            picture = np.asarray(draw_cell(LABELS[number]).convert("RGB").resize((side, side)), np.int16)
            noisy = (picture + rng.integers(-8, 9, picture.shape, np.int16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(file, quality=85)
        else:
            file.hardlink_to(files[number % len(LABELS)])
        files.append(file)
    return files


class Watch:
    """Looks at the memory of a process, and at how soon a page answers, until it is left."""

    def __init__(self, url: str, pid: int, every: float = EVERY) -> None:
        self.url, self.pid, self.every = url, pid, every
        self.sizes: list[float] = []
        self.waits: list[float] = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=one) for one in (self.weigh, self.ask)]

    def weigh(self) -> None:
        while not self.over.wait(self.every):
            self.sizes.append(resident(self.pid))

    def ask(self) -> None:
        while not self.over.wait(self.every):
            start = time.monotonic()
            try:
                urllib.request.urlopen(self.url, timeout=60).read()
                self.waits.append(time.monotonic() - start)
            except OSError:  # no answer at all
                self.waits.append(math.inf)

    def __enter__(self) -> "Watch":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500, float(sys.argv[2]) if len(sys.argv) > 2 else 12)
