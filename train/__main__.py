"""python -m train RECIPE [key=value ...] [--data SOURCE ...] [--split FILE] [--out RUN]; python -m train --list"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from cells.classifier import Classifier
from cells.images import read_image
from cells.trust import Trust
from train import checkpoint, data, duplicates, figures, loop, metrics, model
from train import recipe as recipes
from train.recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.list:
        for name in recipes.names():
            print(f"{name:20s} {recipes.load(name).about}")
        return 0
    if not options.recipe:
        parser.error("name a recipe, or --list to see them.")
    try:
        recipe = recipes.load(options.recipe).override(options.overrides)
        run = options.out or Path("runs") / recipe.name
        return train(recipe, options.data, options.split, run, _stop_on_signal())
    except (recipes.RecipeError, data.DataError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m train", description="Train a recipe, evaluate it, write its model folder.")
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name that --list shows")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values of the recipe to change: epochs=5")
    parser.add_argument("--list", action="store_true", help="show the recipes")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[data.HUB_ID],
        metavar="SOURCE",
        help=f"a Hub id, parquet files, or the unpacked archive's folder (default {data.HUB_ID})",
    )
    parser.add_argument("--split", type=Path, metavar="FILE", help="a CSV of image_id and split, instead of a new split")
    parser.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default runs/RECIPE); carried on if it exists")
    return parser


class RunError(Exception):
    """A run folder that does not fit this call. Its text is one line for the user."""


def train(recipe: Recipe, sources: list[str], split_file: Path | None, run: Path, should_stop: Callable[[int], bool]) -> int:
    """Carry a run from where it stands to its metrics; 0 when complete, 130 when stopped on the way (see loop.fit)."""
    _claim(run, recipe)
    if (run / "metrics.json").exists():
        print(f"{run} is complete:")
        _report(run)
        return 0
    dataset, parts, pixels = _prepare(recipe, sources, split_file, run)
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    torch.manual_seed(recipe.seed)
    network = model.build(recipe)
    labels = torch.tensor(dataset["label"][:])
    subsets = {}
    for part in ("train", "validation"):
        rows = torch.tensor([index for index, one in enumerate(parts) if one == part])
        subsets[part] = loop.Pixels(pixels[rows].to(accelerator.device), labels[rows].to(accelerator.device))
    if not loop.fit(recipe, network, subsets["train"], subsets["validation"], run, accelerator, should_stop):
        print(f"stopped and saved in {run}; the same line carries on.")
        return 130
    if accelerator.is_main_process:
        _finish(recipe, network.to(accelerator.device), subsets, dataset, parts, run)
        _report(run)
    return 0


def _claim(run: Path, recipe: Recipe) -> None:
    """Make the run folder, or check that it is this recipe's."""
    file = run / "recipe.json"
    if not file.exists():
        run.mkdir(parents=True, exist_ok=True)
        file.write_text(recipe.to_json())
        return
    theirs, ours = json.loads(file.read_text()), json.loads(recipe.to_json())
    different = [key for key in ours if theirs.get(key) != ours[key]]
    if different:
        values = ", ".join(f"{key}={theirs.get(key)} there, {ours[key]} here" for key in different)
        raise RunError(f"{run} is a run of another recipe ({values}); give another --out, or remove it.")


def _prepare(recipe: Recipe, sources: list[str], split_file: Path | None, run: Path):
    """(dataset, the part of each row, its pixels), checked against the split that the run began with."""
    dataset = data.load(sources)
    if split_file:
        given = data.read_split(split_file)
        rows = [index for index, one in enumerate(dataset["image_id"][:]) if one in given]
        print(f"{split_file}: {len(rows)} of {len(given)} pictures found; {len(dataset) - len(rows)} others left out.")
        dataset = dataset.select(rows)
        parts = [given[one] for one in dataset["image_id"][:]]
    print(f"decoding {len(dataset)} pictures to {recipe.image_size} px", flush=True)
    pixels = data.decode(dataset, recipe.image_size)
    if not split_file:
        print("looking for pictures that show the same cells", flush=True)
        parts = data.split(dataset, duplicates.groups(pixels), recipe.seed)
    print(", ".join(f"{parts.count(part)} {part}" for part in data.PARTS))
    file = run / "split.csv"
    if file.exists() and data.read_split(file) != dict(zip(dataset["image_id"][:], parts, strict=True)):
        raise RunError(f"{run} was begun with other pictures or another split ({file}); give another --out.")
    data.write_split(file, dataset["image_id"][:], parts)
    return dataset, parts, pixels


def _stop_on_signal() -> Callable[[int], bool]:
    """A function that says whether Ctrl-C or SIGTERM came: the step under way is finished and saved first."""
    came = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: came.append(True))
    return lambda step: bool(came)


def _finish(recipe: Recipe, network, subsets: dict[str, loop.Pixels], dataset, parts: list[str], run: Path) -> None:
    """The kept weights -> model folder -> predictions through it, as its users would make them -> metrics, figures."""
    folder = run / "model"
    weights, kept = checkpoint.read(run / "checkpoints" / checkpoint.BEST)
    network.load_state_dict(weights)
    loop.recompute_batch_norm(network, subsets["train"])
    temperature = loop.calibrate(network, subsets["validation"])
    model.export(network, recipe, folder)

    validation = _predict(Classifier.load(folder), dataset, parts, "validation")
    trust = Trust.fit(metrics.probabilities_of(validation))
    trust.save(folder)
    validation.to_csv(run / "validation.csv", index=False, float_format="%.6g")
    test = _predict(Classifier.load(folder), dataset, parts, "test")
    test.to_csv(run / "predictions.csv", index=False, float_format="%.6g")

    history = pd.read_csv(run / "history.csv")
    summary = {
        "recipe": recipe.name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "pictures": {part: parts.count(part) for part in data.PARTS},
        "kept_epoch": kept["epoch"],
        "temperature": round(temperature, 4),
        "test": metrics.summarise(test),
        "review": metrics.review(test, trust.review_below),
        "validation": metrics.summarise(validation),
        "seconds": round(history["seconds"].sum()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    figures.draw_all(test, history, run / "figures")
    text = json.dumps(summary, indent=2) + "\n"
    (folder / "metrics.json").write_text(text)
    (run / "metrics.json").write_text(text)  # last: its presence says that the run is complete


def _predict(classifier: Classifier, dataset: datasets.Dataset, parts: list[str], part: str) -> pd.DataFrame:
    rows = dataset.select([index for index, one in enumerate(parts) if one == part])
    probabilities = []
    for start in range(0, len(rows), 64):
        images = [read_image(one["bytes"] or one["path"]) for one in rows[start : start + 64]["image"]]
        probabilities.append(classifier.probabilities(images))
    return metrics.table(rows["image_id"][:], rows["cell_type"][:], rows["cell_subtype"][:], np.concatenate(probabilities))


def _report(run: Path) -> None:
    summary = json.loads((run / "metrics.json").read_text())
    test = summary["test"]
    print(f"{summary['recipe']}, {test['pictures']} test pictures")
    for name in ("accuracy", "balanced_accuracy", "kappa", "error_rate", "macro_f1", "ece", "nll"):
        print(f"  {name:18s} {test[name]:.4f}   95 % {test[f'{name}_low']:.4f} to {test[f'{name}_high']:.4f}")
    for label, recall in test["recall"].items():
        print(f"  recall {label:12s} {recall:.4f}")


if __name__ == "__main__":
    sys.exit(main())
