"""python -m train RECIPE [key=value ...] | --list | COMMAND; the commands are named at the end, and each has --help"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch

from cells.model.folder import ModelError
from cells.pbc import DataError
from train import data, recipe, report, uncertainty
from train.checkpoint import CheckpointError
from train.recipe import RecipeError
from train.run import TRACKERS, RunError, prepare, start, train
from train.studies import compare, lr_finder, onnx_check, ood_eval, speed


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the work is complete, 130 when it was stopped and saved, 2 for a wrong call."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = COMMANDS.get(arguments[0] if arguments else "")
    try:
        return command(arguments[1:]) if command else _train(arguments)
    except (RecipeError, DataError, RunError, CheckpointError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print(
            "error: the GPU has too little memory for such a batch; gradient_accumulation_steps=4 computes it in four parts.",
            file=sys.stderr,
        )
        return 2
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"error: {error}; what was finished before is kept.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before training or after it; during it, the state is saved first
        print("stopped; the same line carries on.", file=sys.stderr)
        return 130


def _train(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train",
        description="Train a recipe, evaluate it, write its model folder.",
        epilog=f"Other commands: {', '.join(COMMANDS)}; python -m train COMMAND --help tells more.",
    )
    _add_recipe(parser, needed=False)
    parser.add_argument("--list", action="store_true", help="show the recipes")
    parser.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default runs/RECIPE); carried on if it exists")
    parser.add_argument("--track", choices=TRACKERS, help="log the epochs to this tracker as well, in the run folder")
    options = parser.parse_intermixed_args(arguments)
    if options.list:
        for one in map(recipe.load, recipe.names()):
            print(f"{one.name}\n    {one.about}\n    expected: {one.expected}\n    needs: {one.needs}")
        return 0
    if not options.recipe:
        parser.error("name a recipe, or --list to see them.")
    chosen = recipe.load(options.recipe).override(options.overrides)
    run = options.out or Path("runs") / chosen.name
    return train(chosen, options.data, options.split, run, tracker=options.track)


def _rates(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train rates",
        description="Learning-rate range test: the training loss while the rate grows, as curve and figure.",
    )
    _add_recipe(parser)
    parser.add_argument("--steps", type=_several, default=100, metavar="N", help="training steps (default 100)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for rates.csv and rates.png (default runs/RECIPE_rates)")
    options = parser.parse_intermixed_args(arguments)
    chosen = recipe.load(options.recipe).override(options.overrides)
    folder = options.out or Path("runs") / f"{chosen.name}_rates"
    accelerator = start(chosen, folder)
    training = prepare(chosen, options.data, options.split).subset("train", accelerator.device)
    curve = lr_finder.measure(chosen, training, accelerator, options.steps)
    if len(curve) < 2:
        raise RunError(f"{chosen.name}: the loss is not finite from the first steps on; there is no curve.")
    lr_finder.write(curve, chosen, folder)
    lowest = curve["rate"][curve["smoothed"].idxmin()]
    print(f"the loss falls fastest at {lr_finder.steepest(curve):.1e} and is lowest at {lowest:.1e}; see {folder}/rates.png")
    return 0


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train report", description="Derive metrics.json and figures of finished runs again, from their predictions."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    _add_data(parser)
    options = parser.parse_args(arguments)
    _check_finished(options.runs)
    dataset = data.load(options.data)
    for run in options.runs:
        report.rewrite(run, dataset)
        report.show(run)
    return 0


def _trust(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train trust",
        description="Fit a finished run's rule of trust again, without training, then derive metrics.json and figures.",
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    _add_data(parser)
    options = parser.parse_args(arguments)
    _check_finished([options.run])
    dataset = data.load(options.data)
    uncertainty.refit(options.run, dataset)
    report.rewrite(options.run, dataset)
    report.show(options.run)
    return 0


def _challenge(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train challenge",
        description="Measure how many pictures of each kind models call unfamiliar: cells of the test part as they are and "
        "altered, and pictures of other things.",
    )

    def line(row: dict) -> str:
        return f"{row['model']:20s} {row['kind']:20s} {row['pictures']:6d} pictures {row['unfamiliar']:8.1%}"

    return _measure_models(parser, arguments, ood_eval.measure, line, "results/challenge.csv")


def _exported(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train exported",
        description="Compare models as ONNX, in 32 and in 8 bits, with themselves in PyTorch, on the test part; one is "
        "served in 8 bits from then on if its accuracy falls by no more than 0.2 points.",
    )

    def line(row: dict) -> str:
        return (
            f"{row['model']:10s} {row['form']:14s} accuracy {row['accuracy']:.4f}  same answer {row['same_answer']:.2%}  "
            f"largest difference {row['largest_difference']:.1e}  review {row['review']:.2%}  "
            f"unfamiliar {row['unfamiliar']:.2%}"
        )

    return _measure_models(parser, arguments, onnx_check.measure, line, "results/exported.csv")


def _measure_models(parser: argparse.ArgumentParser, arguments: list[str], measure, line, out: str) -> int:
    """Print and write what `measure` finds of models on the test part."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="an embedded model's name, a model folder or a Hub id")
    _add_data(parser)
    parser.add_argument("--split", type=Path, required=True, metavar="FILE", help="a CSV of image_id and split")
    parser.add_argument("--out", type=Path, default=Path(out), metavar="FILE", help="default %(default)s")
    options = parser.parse_args(arguments)
    rows = []
    for row in measure(options.models, data.load(options.data), options.split):
        rows.append(row)
        print(line(row), flush=True)
    pd.DataFrame(rows).to_csv(options.out, index=False, float_format="%.5g")
    return 0


def _audit(arguments: list[str]) -> int:
    from train.studies import audit  # what it imports takes seconds

    parser = argparse.ArgumentParser(
        "python -m train audit",
        description="List what a person should look at again: labels that are probably wrong, pictures of the same cells, and "
        "pictures that seem to show two cells.",
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    _add_data(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for finds.csv and contact_sheet.png (default RUN/audit)")
    options = parser.parse_args(arguments)
    _check_finished([options.run])
    dataset, folder = data.load(options.data), options.out or options.run / "audit"
    finds = audit.audit(options.run, dataset)
    audit.write(finds, dataset, folder)
    print("\n".join(f"{count:5d}  {kind}" for kind, count in finds["kind"].value_counts(sort=False).items()))
    print(f"see {folder}/finds.csv and contact_sheet.png")
    return 0


def _compare(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train compare", description="Collect finished runs in a folder and write its README.md, which compares them."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or one that was collected before")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="default results")
    options = parser.parse_args(arguments)
    _check_finished(options.runs)
    options.out.mkdir(parents=True, exist_ok=True)
    compare.write(options.runs, options.out)
    print(options.out / "README.md")
    return 0


def _speed(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train speed", description="Measure how fast networks train on this machine, one after another."
    )
    parser.add_argument(
        "recipes", nargs="*", default=speed.DEFAULT, metavar="RECIPE", help=f"default {' '.join(speed.DEFAULT)}"
    )
    parser.add_argument("--size", type=_several, default=224, metavar="PIXELS", help="of the pictures (default 224)")
    parser.add_argument("--batch", type=_several, default=64, metavar="N", help="pictures a step (default 64)")
    parser.add_argument("--steps", type=_several, default=20, metavar="N", help="steps to measure (default 20)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table as CSV")
    options = parser.parse_args(arguments)
    rows = []
    for row in speed.measure(options.recipes, options.size, options.batch, options.steps):
        rows.append(row)
        print(f"{row['recipe']:20s} {row['images_per_second']:8.2f} images/s  {row['peak_memory_mb']:8,.0f} MB", flush=True)
        if options.out:
            pd.DataFrame(rows).to_csv(options.out, index=False, float_format="%.5g")
    return 0


def _several(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is to be a whole number from 2")
    return int(text)


def _check_finished(runs: list[Path]) -> None:
    for run in runs:
        if not (run / "metrics.json").is_file():
            raise RunError(f"{run} is no finished run: it has no metrics.json.")
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise RunError(f"two of the runs have one name ({', '.join(names)}); rename a folder.")


def _add_recipe(parser: argparse.ArgumentParser, needed: bool = True) -> None:
    parser.add_argument("recipe", nargs=None if needed else "?", metavar="RECIPE", help="a name that --list shows")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values of the recipe to change: epochs=5")
    _add_data(parser)
    parser.add_argument("--split", type=Path, metavar="FILE", help="a CSV of image_id and split, instead of a new split")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        nargs="+",
        default=[data.HUB_ID],
        metavar="SOURCE",
        help=data.PLACES,
    )


COMMANDS = {
    "audit": _audit,
    "challenge": _challenge,
    "compare": _compare,
    "exported": _exported,
    "rates": _rates,
    "report": _report,
    "speed": _speed,
    "trust": _trust,
}

if __name__ == "__main__":
    sys.exit(main())
