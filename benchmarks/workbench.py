"""How soon the workbench answers with 500 cells on it: python -m benchmarks.workbench [REPEATS]

Measured in the browser: from a key that decides until the next frame is painted, by network latency; and from a reload until
all cells are shown. The server is asked for none of the cells. Prints milliseconds.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.page_ready import CHROMIUM, started
from benchmarks.timing import spread
from cells.classes import LABELS
from cells.synthetic import draw_cell

CELLS = 500
LATENCIES = (0, 80, 150, 400)  # milliseconds

# The browser is asked to paint, and the time is taken after it has.
DECIDE = """async key => {
  const start = performance.now();
  document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
  return performance.now() - start;
}"""


def main(repeats: int) -> None:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder, started("ours") as (url, _):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(300_000)
        classify(page, url, Path(folder))
        session = page.context.new_cdp_session(page)
        for latency in LATENCIES:
            conditions = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
            session.send("Network.emulateNetworkConditions", conditions)
            page.locator("#gallery [data-decision='']").first.click()
            keys = [page.evaluate(DECIDE, str(1 + number % len(LABELS))) for number in range(repeats)]
            print(f"a key, latency {latency} ms: {spread(keys, 'ms')}", flush=True)
        session.detach()
        reloads = []
        for _ in range(3):
            page.reload()
            page.locator("#bench[data-ready]").wait_for()
            reloads.append(page.evaluate("performance.now()"))
        print(f"from a reload until {CELLS} cells are shown: {spread(reloads, 'ms')}")
        browser.close()


def classify(page: Page, url: str, folder: Path) -> None:
    """A page on which CELLS drawn cells are classified."""
    page.goto(url)
    page.locator("#bench[data-ready]").wait_for()
    drawn = [draw_cell(label, seed) for label in LABELS for seed in range(4)]
    files = [folder / f"{number:03d}.png" for number in range(CELLS)]
    for number, file in enumerate(files):
        drawn[number % len(drawn)].save(file)
    page.set_input_files("#files input[type=file]", files)
    page.click("#classify")
    page.locator("#bench[data-phase=review]").wait_for()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
