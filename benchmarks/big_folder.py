"""A big folder on the command line, unbroken and killed: python -m benchmarks.big_folder [FILES] [KILLS]

FILES drawn cells of 64 px are classified into a CSV by `python -m cells classify`, with a network of 32 px and random weights:
what is tried is the command. Then the same again, killed (SIGKILL) KILLS times at moments spread over the work and started
again by the same line. Prints pictures a second, the memory after 1,000 pictures and at the end, and whether both files are
the same.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from cells.classes import LABELS
from cells.synthetic import draw_cell
from train import recipe
from train.network import build, export

ROOT = Path(__file__).resolve().parent.parent
DRAWN = 80  # different pictures; the others are links to them


def main(files: int = 20_000, kills: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), files)
        unbroken, broken = Path(folder) / "unbroken.csv", Path(folder) / "broken.csv"
        start = time.monotonic()
        early, last = measure(unbroken)
        seconds = time.monotonic() - start
        print(f"{files} files  {seconds:.0f} s  {files / seconds:.1f} pictures/s, with the start", flush=True)
        print(f"memory {early:.0f} MB after 1,000 pictures, {last:.0f} MB at the end", flush=True)
        for number in range(kills):
            rows = kill(broken, unbroken.stat().st_size * (number + 1) // (kills + 1))
            print(f"killed at {rows} rows", flush=True)
        started(broken).wait()
        same = broken.read_bytes() == unbroken.read_bytes()
        print(f"{kills} kills: the result {'equals' if same else 'DIFFERS FROM'} that of the unbroken run")


def make(folder: Path, files: int) -> None:
    """A model, and pictures in folders of 1,000."""
    smallest = recipe.load("resnet18_scratch").override(["image_size=32", "growth=()"])
    torch.manual_seed(0)
    export(build(smallest), folder / "model")
    (folder / "drawn").mkdir()
    for number in range(DRAWN):
        draw_cell(LABELS[number % len(LABELS)], seed=number).resize((64, 64)).save(folder / "drawn" / f"{number}.png")
    for number in range(files):
        place = folder / "pictures" / f"{number // 1000:03}" / f"{number:06}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / "drawn" / f"{number % DRAWN}.png", place)


def started(out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "cells", "classify", str(out.parent / "pictures"), "--out", str(out)]
    return subprocess.Popen([*command, "--model", str(out.parent / "model")], cwd=ROOT)


def measure(out: Path) -> tuple[float, float]:
    """MB of the process in memory when 1,000 rows were written, and when the last were being written."""
    process = started(out)
    early = last = 0.0
    while process.poll() is None:
        now = resident(process.pid)
        if part(out).exists():
            last = now
        if not early and rows(part(out)) >= 1000:
            early = now
        time.sleep(0.1)
    assert process.returncode == 0
    return early, last


def kill(out: Path, size: int) -> int:
    """Kill the command once its file has so many bytes, at any moment of a batch; the rows that are there then."""
    process = started(out)
    while process.poll() is None and (not part(out).exists() or part(out).stat().st_size < size):
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    process.wait()
    return rows(part(out))


def part(out: Path) -> Path:
    return out.with_name(f"{out.name}.part")


def rows(file: Path) -> int:
    """Without the header."""
    return max(0, file.read_bytes().count(b"\n") - 1) if file.exists() else 0


def resident(process: int) -> float:
    """MB, 0 for a process that has ended."""
    status = Path(f"/proc/{process}/status").read_text()
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
