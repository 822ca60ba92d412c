"""Training killed at random moments: python -m benchmarks.killed [KILLS] [SEED]

A small ViT learns drawn cells with everything on that draws random numbers, and saves a checkpoint after every step. Once it
runs unbroken. Then the same line is started and killed (SIGKILL) again and again: in turns while a checkpoint is being written,
at any moment while it trains, and at any moment since its start. Prints each kill, and whether what the last start ends with
equals what the unbroken run left.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.steps import pbc_rows, write_parquet

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ["vit_tiny_scratch", "image_size=64", "progressive_resizing=((0.5, 0.5),)", "epochs=60", "batch_size=32"]
CHANCE = ["mixup=0.4", "drop_path=0.2"]
PER_SUBTYPE = 12
# `python -m train`, but for the time between two checkpoints.
PROGRAM = "import sys; from train import __main__ as program, loop; loop.CHECKPOINT_SECONDS = 0; sys.exit(program.main())"
SAME = ("predictions.csv", "validation.csv", "model/model.safetensors", "model/trust.json")
START = 12  # seconds, about, until a start trains
TRAINING = 3  # seconds of training in which a kill falls


def main(kills: int = 20, seed: int = 0) -> None:
    random.seed(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_parquet(pbc_rows(PER_SUBTYPE), folder / "cells.parquet")
        unbroken, broken = folder / "unbroken", folder / "broken"
        if started(unbroken).wait():
            raise SystemExit("the unbroken run failed")
        writing = 0
        for number in range(kills):
            left = changed(partial(broken))
            process = started(broken)
            MOMENTS[number % len(MOMENTS)](process, broken)
            if process.poll() is not None:
                raise SystemExit(f"the run ended by itself after {number} kills")
            process.kill()
            process.wait()
            half = changed(partial(broken)) not in (None, left)
            writing += half
            print(f"kill {number + 1}: {'while a checkpoint was being written' if half else 'between two'}", flush=True)
        if started(broken).wait():
            raise SystemExit("the run does not go on")
        same = all((unbroken / file).read_bytes() == (broken / file).read_bytes() for file in SAME)
        print(f"{kills} kills, {writing} of them while a checkpoint was being written:")
        print(f"the run {'ends as' if same else 'DIFFERS FROM'} the unbroken one ({', '.join(SAME)})")


def started(out: Path) -> subprocess.Popen:
    line = [sys.executable, "-c", PROGRAM, *RECIPE, *CHANCE, "--data", str(out.parent / "cells.parquet"), "--out", str(out)]
    return subprocess.Popen(
        line, cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def partial(out: Path) -> Path:
    """What a checkpoint is called until it is whole."""
    return out / "checkpoints" / "last.partial"


def at_any_moment(process: subprocess.Popen, out: Path) -> None:
    time.sleep(random.uniform(0, START + TRAINING))


def while_it_trains(process: subprocess.Popen, out: Path) -> None:
    wait_for_change(process, out / "checkpoints" / "last.safetensors")
    time.sleep(random.uniform(0, TRAINING))


def while_it_saves(process: subprocess.Popen, out: Path) -> None:
    while_it_trains(process, out)
    wait_for_change(process, partial(out))


def wait_for_change(process: subprocess.Popen, file: Path) -> None:
    before = changed(file)
    while process.poll() is None and changed(file) in (None, before):
        time.sleep(0.001)


def changed(file: Path) -> int | None:
    """When, in nanoseconds; None where there is none."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


MOMENTS = (while_it_saves, while_it_trains, at_any_moment)

if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
