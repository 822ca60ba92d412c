"""How fast each network trains on this machine: python -m train speed. All networks, one size, nothing else running.

Random pixels stand for pictures: the time does not depend on what they show, nor on the weights. Each recipe is measured in
a process of its own, so that its peak of memory is its own.
"""

import platform
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from train import loop, model, recipe, run
from train.recipe import Recipe

DEFAULT = ("resnet18", "resnet34", "vit_tiny_scratch", "vit_small_scratch", "vit_base_patch32", "vit_base", "vit_large")
WARM_UP = 2  # steps that are not counted: memory is allocated, kernels are chosen


def measure(names: Sequence[str], size: int, batch_size: int, steps: int) -> pd.DataFrame:
    """A row per recipe: see `measure_one`. Raises RecipeError."""
    chosen = [
        recipe.load(name).override(
            [f"image_size={size}", f"batch_size={batch_size}", "pretrained=None", "gpu=False", "accumulate=1"]
        )
        for name in names
    ]
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return pd.DataFrame(pool.map(measure_one, chosen, [steps] * len(chosen)))


def measure_one(chosen: Recipe, steps: int) -> dict:
    """Images/s over `steps` training steps (median, slowest, fastest), share of it spent on pictures, peak of memory."""
    accelerator = run.start(chosen, Path())
    network = model.build(chosen).to(accelerator.device, memory_format=torch.channels_last)
    optimizer = accelerator.prepare_optimizer(loop.build_optimizer(network, chosen))
    prepared = accelerator.prepare_model(network)
    n = 2 * chosen.batch_size
    pixels = loop.Pixels(
        torch.randint(0, 256, (n, 3, chosen.image_size, chosen.image_size), dtype=torch.uint8, device=accelerator.device),
        torch.randint(0, len(chosen.labels), (n,), device=accelerator.device),
    )
    watch, rates = loop.Stopwatch(accelerator.device), []
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            watch.read()
        clock = time.monotonic()
        with watch:
            batch = loop.fetch(pixels, loop.order_of(n, chosen, step)[0], step, chosen, accelerator)
        loop.train_step(prepared, None, optimizer, *batch, chosen, accelerator).item()  # waits for the device
        rates.append(chosen.batch_size / (time.monotonic() - clock))
    counted = pd.Series(rates[WARM_UP:])
    return {
        "recipe": chosen.name,
        "architecture": chosen.architecture,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "patch_size": chosen.patch_size if chosen.architecture in model.VITS else 0,
        "image_size": chosen.image_size,
        "batch_size": chosen.batch_size,
        "steps": steps,
        "images_per_second": counted.median(),
        "slowest": counted.min(),
        "fastest": counted.max(),
        "data_share": watch.read() / (chosen.batch_size / counted).sum(),
        "peak_memory_mb": loop.peak_memory(accelerator.device) / 1e6,
        "device": describe_device(),
        "torch": torch.__version__,
    }


def describe_device() -> str:
    """The GPU's name, or the processor's with the number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
