"""How the cost of training grows with the number and the size of pictures: python -m benchmarks.growth; --help says more.

Decoding and the peak of memory are measured with all of the pictures; the time of an epoch is that of some of its steps, times
their number. Each setting is measured once, in a process of its own. Writes growth.csv and growth.png.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from matplotlib import pyplot as plt

from benchmarks.steps import Window, as_measured, read_pictures, write_pictures
from benchmarks.timing import alone
from train import data, figures, loop, recipe, run
from train.network import build
from train.recipe import Recipe
from train.timing import peak_memory

WARM_UP = 3  # steps that do not count
PANELS = {"decode_seconds": "decoding once, s", "epoch_seconds": "an epoch, s", "peak_memory_mb": "peak of memory, MB"}


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.growth", description="Measure how the cost of training grows.")
    parser.add_argument("recipe", nargs="?", default="resnet18", metavar="RECIPE", help="default %(default)s")
    parser.add_argument("--pictures", type=int, nargs="+", default=[1000, 4000, 15000], metavar="N", help="how many")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128, 160, 224], metavar="PIXELS", help="how large")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="pictures a step (default %(default)s)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="measured of each epoch (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="default %(default)s")
    options = parser.parse_args()
    chosen = recipe.load(options.recipe).override([f"batch_size={options.batch}"])
    print(f"{chosen.name} in batches of {chosen.batch_size}, {run.describe_device()}, torch {torch.__version__}")
    print(f"an epoch's time is that of {options.steps} steps after {WARM_UP}, times its number of steps", flush=True)
    rows = []
    for pictures in options.pictures:
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder), pictures)
            for size in options.sizes:
                rows.append(alone(measure, as_measured(chosen, size), Path(folder), options.steps))
                print("  ".join(f"{key} {value:.5g}" for key, value in rows[-1].items()), flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "growth.csv", index=False, float_format="%.5g")
    figures.save(draw(table), options.out / "growth.png")
    print("\n".join(growth(table)))


def measure(chosen: Recipe, folder: Path, steps: int) -> dict[str, float]:
    """Decode the pictures as train.run does, and train on them for some steps."""
    window, clock = Window(WARM_UP, steps), time.perf_counter()
    pictures = read_pictures(folder)
    prepared = data.Prepared(pictures, data.decode(pictures, chosen.image_size), ["train"] * len(pictures))
    decoded = time.perf_counter() - clock
    with tempfile.TemporaryDirectory() as out:
        accelerator = run.start(chosen, Path(out))
        subset = prepared.subset("train", accelerator.device)
        del prepared
        loop.fit(chosen, build(chosen), subset, subset, Path(out), accelerator, should_stop=window)
    return {
        "pictures": len(pictures),
        "image_size": chosen.image_size,
        "decode_seconds": decoded,
        "images_per_second": window.rate * chosen.batch_size,
        "epoch_seconds": len(pictures) // chosen.batch_size / window.rate,
        "peak_memory_mb": peak_memory(accelerator.device) / 1e6,
    }


def growth(table: pd.DataFrame) -> list[str]:
    """A line for each size: what the most pictures cost, in times of what the fewest cost."""
    lines = []
    for size, rows in table.sort_values("pictures").groupby("image_size"):
        few, many = rows.iloc[0], rows.iloc[-1]
        ratios = ", ".join(f"{title.split(',')[0]} {many[column] / few[column]:.2f} times" for column, title in PANELS.items())
        lines.append(f"{size} px, {many['pictures']:,.0f} pictures / {few['pictures']:,.0f}: {ratios}")
    return lines


def draw(table: pd.DataFrame) -> plt.Figure:
    """Seconds and megabytes against the number of pictures, a line for each size."""
    figure, panels = plt.subplots(1, len(PANELS), figsize=(10.5, 3.6), layout="constrained")
    for axes, (column, title) in zip(panels, PANELS.items(), strict=True):
        for size, rows in table.groupby("image_size"):
            axes.plot(rows["pictures"], rows[column], "o-", label=f"{size} px")
        axes.set(title=title, xlabel="pictures", xlim=(0, None), ylim=(0, None), xticks=sorted(table["pictures"].unique()))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


if __name__ == "__main__":
    main()
