"""One process against two that share each batch, on CPUs: python -m benchmarks.processes [RECIPE] [--size PIXELS] ...

Both are started by torchrun on the same drawn cells, with the same seed and total batch and one thread a process, in turns. The
recipe loses MixUp and stochastic depth, which draw for each process's part of a batch; it is to be a ViT, since batch-norm's
statistics are of a process's part. Prints how far the losses of a step differ at most, and images/s per process: the ratio says
what is left of a process's throughput when it has a companion. That takes two cores with nothing else to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from benchmarks.steps import Window, as_measured, decode_pictures, write_pictures
from benchmarks.timing import compare
from train import loop, recipe, run
from train.network import build
from train.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 3  # steps that do not count


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.processes", description="Measure what a second process gains.")
    parser.add_argument("recipe", nargs="?", default="vit_tiny_scratch", metavar="RECIPE", help="default %(default)s")
    parser.add_argument("--size", type=int, default=128, metavar="PIXELS", help="default %(default)s")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="of all processes together (default %(default)s)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default %(default)s)")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)  # where the pictures are: this is one of the processes
    options = parser.parse_args()
    # One epoch, so that the rate rises and falls within the steps that are compared.
    values = ["mixup=0.0", "drop_path=0.0", "epochs=1", f"batch_size={options.batch}"]
    chosen = as_measured(recipe.load(options.recipe).override(values), options.size)
    if options.work:
        work(chosen, options.work, options.steps)
    else:
        side_by_side(chosen, options.steps, options.repeats)


def side_by_side(chosen: Recipe, steps: int, repeats: int) -> None:
    print(f"{chosen.name} at {chosen.image_size} px, {chosen.batch_size} pictures a step, float32, torch {torch.__version__}")
    print(f"one thread a process, {os.cpu_count()} cores; {steps} steps after {WARM_UP} that do not count", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder, (WARM_UP + steps) * chosen.batch_size)
        losses: dict[int, list[float]] = {}
        turns = {"each of two": partial(launch, 2, folder, losses), "one alone": partial(launch, 1, folder, losses)}
        compare(turns, repeats, "images/s")
    far = farthest(losses[1], losses[2])
    print(f"training loss from {losses[1][0]:.4g} to {losses[1][-1]:.4g}; that of a step differs by {far:.2g} at most")


def farthest(ours: list[float], theirs: list[float]) -> float:
    """The largest difference, step by step."""
    return max(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def launch(processes: int, folder: Path, losses: dict[int, list[float]]) -> float:
    """Images/s of each of the processes; their losses, a step each, are noted by the number of processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    line = ["-m", "benchmarks.processes", *sys.argv[1:], "--work", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*torchrun, *line], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, check=True)
    found = json.loads((folder / "found.json").read_text())
    losses[processes] = found["losses"]
    return found["images_per_second"] / processes


def work(chosen: Recipe, folder: Path, steps: int) -> None:
    """Train as one of the processes; the main one writes what all of them found to folder/found.json."""
    window, losses, step = Window(WARM_UP, steps), [], loop.train_step

    def noted(*arguments: object) -> torch.Tensor:
        losses.append(step(*arguments))
        return losses[-1]

    with tempfile.TemporaryDirectory() as out, mock.patch.object(loop, "train_step", noted):
        accelerator = run.start(chosen, Path(out))
        torch.manual_seed(chosen.seed)
        pictures = {"pbc": decode_pictures(folder, chosen.image_size, accelerator.device)}
        loop.fit(chosen, build(chosen), pictures, pictures, Path(out), accelerator, should_stop=window)
    mean = accelerator.reduce(torch.stack(losses), "mean").tolist()
    if accelerator.is_main_process:
        found = {"losses": mean, "images_per_second": window.rate * chosen.batch_size}
        (folder / "found.json").write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main()
