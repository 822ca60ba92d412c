"""The learning-rate range test (Smith 2017), by which the thesis chose its rates: python -m train lr_finder RECIPE.

The rate grows from step to step until the loss explodes. A good peak lies where the loss falls fastest, well below the rate
at which it is lowest.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from matplotlib import pyplot as plt
from tqdm import tqdm

from train import options, recipe
from train.batches import Batches, Pictures
from train.data import prepare
from train.network import adapter, build
from train.optim import build_optimizer
from train.recipe import Recipe
from train.report import RunError
from train.run import start
from train.step import train_step

LOWEST, HIGHEST = 1e-6, 1.0
SMOOTHING = 0.9  # of the loss from step to step
EXPLODED = 3  # times the lowest smoothed loss: nothing more is to be learnt


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("lr_finder", "Range test: the training loss while the learning rate grows, as curve and figure.")
    options.add_recipe(parser)
    parser.add_argument("--steps", type=options.number_from_2, default=100, metavar="N", help="training steps (default 100)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for rates.csv and rates.png (default runs/RECIPE_rates)")
    given = parser.parse_intermixed_args(arguments)
    chosen = recipe.load(given.recipe).override(given.overrides)
    folder = given.out or Path("runs") / f"{chosen.name}_rates"
    accelerator = start(chosen, folder)
    training = prepare(chosen, given.data, given.split).subset("train", accelerator.device)
    curve = measure(chosen, training, accelerator, given.steps)
    if len(curve) < 2:
        raise RunError(f"{chosen.name}: the loss is not finite from the first steps on; there is no curve.")
    write(curve, chosen, folder)
    lowest = curve["rate"][curve["smoothed"].idxmin()]
    print(f"the loss falls fastest at {steepest(curve):.1e} and is lowest at {lowest:.1e}; see {folder}/rates.png")
    return 0


def measure(chosen: Recipe, training: Mapping[str, Pictures], accelerator: Accelerator, steps: int) -> pd.DataFrame:
    """Train for so many steps at growing rates; columns: rate (of the head), loss, smoothed."""
    torch.manual_seed(chosen.seed)
    network = build(chosen).to(accelerator.device, memory_format=torch.channels_last)
    optimizer = accelerator.prepare_optimizer(build_optimizer(network, chosen))
    statistics = adapter(network).statistics
    network = accelerator.prepare_model(network)
    batches = Batches.of(training, chosen, statistics)
    rows, average = [], 0.0
    for step in tqdm(range(steps), "lr_finder", leave=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["peak"] / chosen.lr
        loss = train_step(network, None, optimizer, *batches.at(step), chosen, accelerator).item()
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        rows.append((rate, loss, average / (1 - SMOOTHING ** (step + 1))))
        if not np.isfinite(loss) or rows[-1][2] > EXPLODED * min(row[2] for row in rows):
            break
    curve = pd.DataFrame(rows, columns=["rate", "loss", "smoothed"])
    return curve[np.isfinite(curve["loss"])]


def steepest(curve: pd.DataFrame) -> float:
    """The rate, below that of the lowest loss, at which the smoothed loss falls fastest by the logarithm of the rate."""
    falling = curve[: max(int(curve["smoothed"].argmin()) + 1, 2)]
    slopes = np.gradient(falling["smoothed"], np.log(falling["rate"]))
    return float(falling["rate"][int(slopes.argmin())])


def write(curve: pd.DataFrame, chosen: Recipe, folder: Path) -> None:
    """rates.csv and rates.png."""
    folder.mkdir(parents=True, exist_ok=True)
    curve.to_csv(folder / "rates.csv", index=False, float_format="%.5g")
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axes.plot(curve["rate"], curve["loss"], color="lightgrey", label="each step")
    axes.plot(curve["rate"], curve["smoothed"], label="smoothed")
    axes.axvline(steepest(curve), color="C1", linestyle="--", label=f"steepest, {steepest(curve):.1e}")
    axes.axvline(chosen.lr, color="C2", linestyle=":", label=f"the recipe's peak, {chosen.lr:.1e}")
    lowest = curve["smoothed"].min()
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=chosen.name)
    axes.set_ylim(lowest * 0.8, curve["smoothed"].iloc[0] * 1.5)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(folder / "rates.png", dpi=120)
    plt.close(figure)
