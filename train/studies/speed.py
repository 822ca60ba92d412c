"""How fast each network trains on this machine: python -m train speed. All networks, one size, nothing else running.

Random pixels stand for pictures: the time does not depend on what they show, nor on the weights. Each recipe is measured in
a process of its own, so that its peak of memory is its own.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train import options, recipe, run
from train.batches import Batches, Pictures
from train.network import adapter, build
from train.optim import build_optimizer
from train.recipe import VITS, Recipe
from train.step import train_step
from train.timing import Stopwatch, peak_memory

DEFAULT = ("resnet18", "resnet34", "vit_tiny_scratch", "vit_small_scratch", "vit_base_patch32", "vit_base", "vit_large")
WARM_UP = 2  # steps that are not counted: memory is allocated, kernels are chosen


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("speed", "Measure how fast networks train on this machine, one after another.")
    parser.add_argument("recipes", nargs="*", default=DEFAULT, metavar="RECIPE", help=f"default {' '.join(DEFAULT)}")
    for name, default, unit, text in (
        ("--size", 224, "PIXELS", "of the pictures"),
        ("--batch", 64, "N", "pictures a step"),
        ("--steps", 20, "N", "steps to measure"),
    ):
        parser.add_argument(
            name, type=options.number_from_2, default=default, metavar=unit, help=f"{text} (default %(default)s)"
        )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table as CSV")
    chosen = parser.parse_args(arguments)
    rows = []
    for row in measure(chosen.recipes, chosen.size, chosen.batch, chosen.steps):
        rows.append(row)
        print(f"{row['recipe']:20s} {row['images_per_second']:8.2f} images/s  {row['peak_memory_mb']:8,.0f} MB", flush=True)
        if chosen.out:
            pd.DataFrame(rows).to_csv(chosen.out, index=False, float_format="%.5g")
    return 0


def measure(names: Sequence[str], size: int, batch_size: int, steps: int) -> Iterator[dict]:
    """Yield a row per recipe as it is measured: see `measure_one`. One that fails is said and left out. Raises RecipeError."""
    values = [f"image_size={size}", f"batch_size={batch_size}", "pretrained=None", "teacher=None", "gpu=False"]
    for chosen in [recipe.load(name).override(values) for name in names]:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            try:
                yield pool.submit(measure_one, chosen, steps).result()
            except (BrokenProcessPool, MemoryError, RuntimeError) as error:
                print(f"{chosen.name}: not measured ({type(error).__name__}); if memory was short, try a smaller --batch.")


def measure_one(chosen: Recipe, steps: int) -> dict:
    """Images/s over `steps` training steps (median, slowest, fastest), share of it spent on pictures, peak of memory."""
    accelerator = run.start(chosen, Path())
    network = build(chosen).to(accelerator.device, memory_format=torch.channels_last)
    optimizer = accelerator.prepare_optimizer(build_optimizer(network, chosen))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(chosen.ema_decay)) if chosen.ema_decay else None
    prepared = accelerator.prepare_model(network)
    n = 2 * chosen.batch_size
    pictures = Pictures(
        torch.randint(0, 256, (n, 3, chosen.image_size, chosen.image_size), dtype=torch.uint8, device=accelerator.device),
        torch.randint(0, len(chosen.labels), (n,), device=accelerator.device),
    )
    batches = Batches.of({"random": pictures}, chosen, adapter(network).statistics)
    watch, rates = Stopwatch(accelerator.device), []
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            watch.read()
        clock = time.monotonic()
        with watch:
            images, targets = batches.at(step)
        loss = train_step(prepared, None, optimizer, images, targets, chosen, accelerator)
        if average:
            average.update_parameters(network)
        loss.item()  # waits for the device
        rates.append(chosen.batch_size / (time.monotonic() - clock))
    counted = pd.Series(rates[WARM_UP:])
    return {
        "recipe": chosen.name,
        "architecture": chosen.architecture,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "patch_size": chosen.patch_size if chosen.architecture in VITS else 0,
        "image_size": chosen.image_size,
        "batch_size": chosen.batch_size,
        "steps": steps,
        "images_per_second": counted.median(),
        "slowest": counted.min(),
        "fastest": counted.max(),
        "data_share": watch.read() / (chosen.batch_size / counted).sum(),
        "peak_memory_mb": peak_memory(accelerator.device) / 1e6,
        "device": run.describe_device(),
        "torch": torch.__version__,
    }
