"""python -m train RECIPE [key=value ...] [--data SOURCE ...] [--split FILE] [--out RUN]; python -m train --list"""

import argparse
import contextlib
import io
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from cells import trust
from cells.classifier import Classifier
from cells.trust import Trust
from train import checkpoint, data, duplicates, figures, loop, metrics, model, recipe
from train.recipe import Recipe


class RunError(Exception):
    """A run folder or a machine that does not fit this call. Its text is one line for the user."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the run is complete, 130 when it was stopped and saved, 2 for a wrong call."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.list:
        for name in recipe.names():
            print(f"{name:20s} {recipe.load(name).about}")
        return 0
    if not options.recipe:
        parser.error("name a recipe, or --list to see them.")
    try:
        chosen = recipe.load(options.recipe).override(options.overrides)
        run = options.out or Path("runs") / chosen.name
        return train(chosen, options.data, options.split, run)
    except (recipe.RecipeError, data.DataError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before training or after it; during it, the state is saved first
        print("stopped; the same line carries on.", file=sys.stderr)
        return 130


def train(
    chosen: Recipe,
    sources: list[str],
    split_file: Path | None,
    run: Path,
    should_stop: Callable[[int], bool] = lambda step: False,
) -> int:
    """Carry a run from where it stands to its metrics; 0 when complete, 130 when stopped on the way.

    should_stop(step) is asked after every step, as are Ctrl-C and SIGTERM.
    """
    _check_run(run, chosen)
    if (run / "metrics.json").exists():
        print(f"{run} is complete:")
        _report(run)
        return 0
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    if accelerator.num_processes > 1:
        raise RunError(f"{accelerator.num_processes} processes were started; training runs in one.")
    torch.manual_seed(chosen.seed)
    network = model.build(chosen)
    dataset, parts, pixels = _prepare(chosen, sources, split_file, run)
    subsets = {part: _subset(dataset, parts, pixels, part, accelerator.device) for part in ("train", "validation")}
    with _signals() as came:
        complete = loop.fit(
            chosen, network, subsets["train"], subsets["validation"], run, accelerator, lambda step: came() or should_stop(step)
        )
    if not complete:
        print(f"stopped and saved in {run}; the same line carries on.")
        return 130
    # Without Accelerate's autocast: the folder's users compute in float32.
    _finish(chosen, accelerator.unwrap_model(network, keep_fp32_wrapper=False), subsets, dataset, parts, run)
    _report(run)
    return 0


def _check_run(run: Path, chosen: Recipe) -> None:
    """Refuse a folder in which another recipe was begun."""
    file = run / "recipe.json"
    if not file.exists():
        return
    theirs = json.loads(file.read_text())
    different = chosen.differences(theirs)
    if different:
        values = ", ".join(f"{key}={theirs.get(key)} there, {value} here" for key, value in different.items())
        raise RunError(f"{run} is a run of another recipe ({values}); give another --out, or remove it.")


def _prepare(
    chosen: Recipe, sources: list[str], split_file: Path | None, run: Path
) -> tuple[datasets.Dataset, list[str], Tensor]:
    """(dataset, the part of each row, its pixels), and the run folder with its recipe and its split."""
    dataset = data.load(sources)
    if split_file:
        given = data.read_split(split_file)
        rows = [index for index, one in enumerate(dataset["image_id"][:]) if one in given]
        print(f"{split_file}: {len(rows)} of {len(given)} pictures found; {len(dataset) - len(rows)} others left out.")
        dataset = dataset.select(rows)
        parts = [given[one] for one in dataset["image_id"][:]]
    print(f"decoding {len(dataset)} pictures to {chosen.image_size} px", flush=True)
    pixels = data.decode(dataset, chosen.image_size)
    if not split_file:
        print("looking for pictures that show the same cells", flush=True)
        parts = data.split(dataset, duplicates.groups(pixels), chosen.seed)
    counts = {part: parts.count(part) for part in data.PARTS}
    print(", ".join(f"{count} {part}" for part, count in counts.items()), flush=True)
    if not all(counts.values()):
        raise data.DataError(f"every part needs pictures; there are {counts}.")
    if counts["train"] < chosen.batch_size:
        raise data.DataError(f"{counts['train']} training pictures are fewer than batch_size={chosen.batch_size}.")
    file = run / "split.csv"
    if file.exists() and data.read_split(file) != dict(zip(dataset["image_id"][:], parts, strict=True)):
        raise RunError(f"{run} was begun with other pictures or another split ({file}); give another --out.")
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(chosen.to_json())
    data.write_split(file, dataset["image_id"][:], parts)
    return dataset, parts, pixels


def _subset(dataset: datasets.Dataset, parts: list[str], pixels: Tensor, part: str, device: torch.device) -> loop.Pixels:
    rows = torch.tensor(_rows(parts, part))
    return loop.Pixels(pixels[rows].to(device), torch.tensor(dataset["label"][:])[rows].to(device))


def _rows(parts: list[str], part: str) -> list[int]:
    return [index for index, one in enumerate(parts) if one == part]


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Within it, a first Ctrl-C or SIGTERM waits for the step under way; yields whether one came. A second ends at once."""
    came: list[int] = []
    before = {}

    def note(number: int, frame: object) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(
    chosen: Recipe,
    network: nn.Module,
    subsets: dict[str, loop.Pixels],
    dataset: datasets.Dataset,
    parts: list[str],
    run: Path,
) -> None:
    """The kept weights -> model folder -> predictions through it, as its users would make them -> metrics, figures."""
    folder = run / "model"
    weights, kept = checkpoint.read(run / "checkpoints" / checkpoint.BEST)
    network.load_state_dict(weights)
    loop.recompute_batch_norm(network, subsets["train"])
    temperature = loop.calibrate(network, subsets["validation"])
    model.export(network, chosen, folder)

    validation = _predict(Classifier.load(folder), dataset, parts, "validation")
    rule = Trust.fit(metrics.probabilities_of(validation))
    rule.save(folder / trust.FILE)
    validation.to_csv(run / "validation.csv", index=False, float_format="%.6g")
    test = _predict(Classifier.load(folder), dataset, parts, "test")
    test.to_csv(run / "predictions.csv", index=False, float_format="%.6g")

    history = pd.read_csv(run / "history.csv")
    figures.draw_all(test, history, run / "figures")
    overrides = chosen.differences(json.loads(recipe.load(chosen.name).to_json()))
    summary = {
        "recipe": chosen.name,
        "command": " ".join(["python -m train", chosen.name, *(f"{key}={value}" for key, value in overrides.items())]),
        "pretrained": chosen.pretrained,
        "seed": chosen.seed,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "pictures": {part: parts.count(part) for part in data.PARTS},
        "picture_format": _format(dataset),
        "kept_epoch": kept["epoch"],
        "temperature": round(temperature, 4),
        "test": metrics.summarise(test),
        "validation": metrics.summarise(validation),
        "review": metrics.review(test, rule.review_below),
        "seconds": round(history["seconds"].sum()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    text = json.dumps(summary, indent=2) + "\n"
    (folder / "metrics.json").write_text(text)
    (run / "metrics.json").write_text(text)  # last: its presence says that the run is complete


def _predict(classifier: Classifier, dataset: datasets.Dataset, parts: list[str], part: str) -> pd.DataFrame:
    rows = dataset.select(_rows(parts, part))
    ids, sources = rows["image_id"][:], [one["bytes"] or one["path"] for one in rows["image"][:]]
    probabilities = np.stack([prediction.probabilities for prediction in classifier.predict(sources, ids)])
    return metrics.table(ids, rows["cell_type"][:], rows["cell_subtype"][:], probabilities)


def _format(dataset: datasets.Dataset) -> str:
    """As what the pictures are stored, for a reader who has them in another format: WEBP, JPEG."""
    first = dataset[0]["image"]
    with Image.open(io.BytesIO(first["bytes"]) if first["bytes"] else first["path"]) as image:
        return image.format


def _report(run: Path) -> None:
    summary = json.loads((run / "metrics.json").read_text())
    test = summary["test"]
    print(f"{summary['recipe']}, {test['pictures']} test pictures")
    for name in metrics.MEASURES:
        print(f"  {name:18s} {test[name]:.4f}   95 % {test[f'{name}_low']:.4f} to {test[f'{name}_high']:.4f}")
    for label, recall in test["recall"].items():
        print(f"  recall {label:12s} {recall:.4f}")


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


if __name__ == "__main__":
    sys.exit(main())
