"""python -m train RECIPE [key=value ...] | --list | COMMAND; COMMAND --help tells more of each of COMMANDS"""

import sys
from importlib import import_module
from pathlib import Path

import torch

from cells.model.folder import ModelError
from cells.pbc import DataError
from train import options, recipe, repeats
from train.checkpoint import CheckpointError
from train.recipe import RecipeError
from train.run import TRACKERS, RunError, train

# Each module has a main(arguments) of its own; it is imported when it is called, since some take seconds.
COMMANDS = {
    "audit": "train.studies.audit",
    "average": "train.average",
    "batch_statistics": "train.studies.batch_statistics",
    "compare": "train.studies.compare",
    "degraded": "train.studies.degraded",
    "laboratories": "train.studies.laboratories",
    "adapt": "train.studies.adapt",
    "adapt_frozen": "train.studies.adapt_frozen",
    "equal_budget": "train.studies.equal_budget",
    "fields": "train.studies.fields",
    "locate": "train.locate.run",
    "lr_finder": "train.studies.lr_finder",
    "onnx_check": "train.studies.onnx_check",
    "ood_eval": "train.studies.ood_eval",
    "probe": "train.studies.probe",
    "report": "train.report",
    "speed": "train.studies.speed",
    "uncertainty": "train.uncertainty",
    "unknown_types": "train.studies.unknown_types",
}
OLD_NAMES = {"challenge": "ood_eval", "exported": "onnx_check", "rates": "lr_finder", "trust": "uncertainty"}


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the work is complete, 130 when it was stopped and saved, 2 for a wrong call."""
    arguments = sys.argv[1:] if arguments is None else arguments
    first = arguments[0] if arguments else ""
    module = COMMANDS.get(OLD_NAMES.get(first, first))
    try:
        return import_module(module).main(arguments[1:]) if module else _train(arguments)
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
    parser = options.parser("", "Train a recipe, evaluate it, write its model folder.")
    parser.epilog = f"Other commands: {', '.join(COMMANDS)}; python -m train COMMAND --help tells more."
    options.add_recipe(parser, required=False)
    parser.add_argument("--list", action="store_true", help="show the recipes")
    parser.add_argument(
        "--folds",
        type=options.number_from_2,
        metavar="K",
        help="cross-validation: K runs, RUN_fold1 and so on, so that each picture is tested once, by group",
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="the run folder (default runs/RECIPE); carried on if it exists")
    parser.add_argument("--track", choices=TRACKERS, help="log the epochs to this tracker as well, in the run folder")
    given = parser.parse_intermixed_args(arguments)
    if given.list:
        for each in map(recipe.load, recipe.names()):
            print(f"{each.name}\n    {each.about}\n    expected: {each.expected}\n    needs: {each.needs}")
        return 0
    if not given.recipe:
        parser.error("name a recipe, or --list to see them.")
    seeds, overrides = repeats.seeds_of(given.overrides)
    chosen = recipe.load(given.recipe).override(overrides)
    run = given.out or Path("runs") / chosen.name
    if given.folds and (seeds or given.split):
        parser.error("--folds makes its own splits, with one seed: leave out --split, and give one seed.")
    if given.folds:
        return repeats.train_folds(chosen, given.data, given.folds, run, given.track)
    if seeds:
        each = {seed: chosen.override([f"seed={seed}"]) for seed in seeds}
        return repeats.train_seeds(each, given.data, given.split, run, given.track)
    return train(chosen, given.data, given.split, run, tracker=given.track)


if __name__ == "__main__":
    sys.exit(main())
