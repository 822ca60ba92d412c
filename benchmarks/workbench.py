"""How soon the workbench answers with 500 cells on it: python -m benchmarks.workbench [REPEATS] [CELLS]

Measured in the browser: from the last answer of the server until all cells are drawn and a key that follows is answered; from a
key that decides until the next frame is painted, by network latency; and from a reload until all cells are shown. Prints
milliseconds.
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

# Set up before a batch. `answered`: the last answer with cells was read. `drawn`: all cells were painted, then what a key did.
WATCH = """count => {
  const read = Response.prototype.json, drawn = () => document.querySelectorAll('#gallery [data-cell]').length;
  const painted = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
  Response.prototype.json = async function () {
    const answer = await read.call(this);
    if (JSON.stringify(answer).includes('"cells"')) window.answered = performance.now();
    return answer;
  };
  new MutationObserver(async (_, observer) => {
    if (drawn() < count) return;
    observer.disconnect();
    await painted();
    document.querySelector('#gallery [data-cell]').focus();
    document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: '1', bubbles: true }));
    await painted();
    window.drawn = performance.now();
  }).observe(document.querySelector('#gallery'), { childList: true, subtree: true });
}"""


def main(repeats: int, cells: int = CELLS) -> None:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder, started("ours") as (url, _):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(300_000)
        classify(page, url, Path(folder), cells)
        page.wait_for_function("window.drawn")
        opened = page.evaluate("window.drawn - window.answered")
        print(f"from the last answer until {cells} cells are shown and a key is answered: {opened:.0f} ms", flush=True)
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
        print(f"from a reload until {cells} cells are shown: {spread(reloads, 'ms')}")
        browser.close()


def classify(page: Page, url: str, folder: Path, cells: int) -> None:
    """A page on which so many drawn cells are classified."""
    page.goto(url)
    page.locator("#bench[data-ready]").wait_for()
    drawn = [draw_cell(label, seed) for label in LABELS for seed in range(4)]
    files = [folder / f"{number:03d}.png" for number in range(cells)]
    for number, file in enumerate(files):
        drawn[number % len(drawn)].save(file)
    page.evaluate(WATCH, cells)
    page.set_input_files("#files input[type=file]", files)
    page.click("#classify")
    page.locator("#bench[data-phase=review]").wait_for()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["20"]))
