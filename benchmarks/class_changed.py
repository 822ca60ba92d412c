"""How soon the page follows a changed class, with 200 cells on it: python -m benchmarks.class_changed [REPEATS]

Measured in a browser, from the key that gives a cell its class until the number of reviewed cells follows.
The server is not asked. Prints milliseconds.
"""

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.page_ready import CHROMIUM, started
from benchmarks.timing import spread
from cells.classes import LABELS
from cells.synthetic import draw_cell

CELLS = 200


def main(repeats: int) -> None:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder, started("ours") as (url, _):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        files = [Path(folder, f"{number:03d}.png") for number in range(CELLS)]
        for number, file in enumerate(files):
            draw_cell(LABELS[number % len(LABELS)], number).save(file)
        page.set_input_files("#files input[type=file]", files)
        page.click("#classify")
        page.locator("#gallery [data-cell]").nth(CELLS - 1).wait_for()
        times = []
        for _ in range(repeats):
            page.locator("#gallery [data-decision='']").first.click()
            before = page.inner_text("#reviewed")
            start = time.perf_counter()
            page.keyboard.press("9")
            page.wait_for_function("before => document.querySelector('#reviewed').innerText !== before", arg=before)
            times.append(1000 * (time.perf_counter() - start))
        browser.close()
    print(f"{CELLS} cells: {spread(times, 'ms')}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
