"""Several runs of one recipe: a run for each seed, or for each fold of a cross-validation."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from accelerate import PartialState

from cells import pbc
from cells.measures import MEASURES, read_metrics
from train import checkpoint, data, metrics
from train.recipe import Recipe, RecipeError
from train.run import RunError, start, train

SEEDS = re.compile(r"seed=(\d+)\.\.(\d+)")


def train_seeds(
    recipes: dict[int, Recipe], places: Sequence[str], split_file: Path | None, out: Path, tracker: str | None = None
) -> int:
    """A run for each seed, in OUT_seed1 and so on; then the mean and spread of their test metrics. The status is train()'s."""
    runs = {f"{out}_seed{seed}": (chosen, split_file) for seed, chosen in recipes.items()}
    return _train_each(runs, places, tracker)


def train_folds(chosen: Recipe, places: Sequence[str], number: int, out: Path, tracker: str | None = None) -> int:
    """Cross-validation: each picture is tested once, by the run of its fold, in OUT_fold1 and so on. The status is train()'s.

    Groups (a patient, a slide, pictures of the same cells) stay in one fold. At the end OUT_folds/ has the predictions of all
    folds together, with the number of the fold, and their metrics. Raises what train() raises.
    """
    folder = Path(f"{out}_folds")
    files = [folder / f"split_{fold}.csv" for fold in range(1, number + 1)]
    accelerator = start(chosen, folder)
    with accelerator.main_process_first():
        if not files[-1].exists():
            _write_splits(chosen, places, files, accelerator.print)
        elif files[-1].with_name(f"split_{number + 1}.csv").exists():
            raise RunError(f"{folder} has more than {number} folds; give another --out, or remove it.")
    runs = {f"{out}_fold{fold}": (chosen, file) for fold, file in enumerate(files, 1)}
    status = _train_each(runs, places, tracker)
    if status == 0 and accelerator.is_main_process:
        _pool(list(map(Path, runs)), folder)
    return status


def seeds_of(assignments: list[str]) -> tuple[list[int], list[str]]:
    """The seeds of `seed=1..3` (none where it is not written), and the other assignments. Raises RecipeError."""
    ranges = [found for text in assignments if (found := SEEDS.fullmatch(text))]
    if not ranges:
        return [], assignments
    first, last = map(int, ranges[-1].groups())
    if last < first:
        raise RecipeError(f"seed={first}..{last}: the last seed is to be {first} or more.")
    return list(range(first, last + 1)), [text for text in assignments if not SEEDS.fullmatch(text)]


def _train_each(runs: dict[str, tuple[Recipe, Path | None]], places: Sequence[str], tracker: str | None) -> int:
    for run, (chosen, split_file) in runs.items():
        status = train(chosen, places, split_file, Path(run), tracker=tracker)
        if status:
            return status
    if PartialState().is_main_process:  # the others do not wait for its files
        _show(list(map(Path, runs)))
    return 0


def _write_splits(chosen: Recipe, places: Sequence[str], files: list[Path], say) -> None:
    ids, folds = data.folds(chosen, places, len(files), say)
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for file, parts in zip(files, folds, strict=True):
        partial = file.with_suffix(".partial")
        pbc.write_split(partial, ids, parts)
        partial.replace(file)


def _show(runs: list[Path]) -> None:
    """Print the mean of the runs' test metrics, and their standard deviation."""
    tests = pd.DataFrame([read_metrics(run / "metrics.json")["test"] for run in runs])
    print(f"{', '.join(run.name for run in runs)}: mean and standard deviation")
    for name in MEASURES:
        print(f"  {name:18s} {tests[name].mean():.4f}   {tests[name].std():.4f}")


def _pool(runs: list[Path], folder: Path) -> None:
    """The predictions of all folds as one table, and their metrics."""
    tables = (pd.read_csv(run / "predictions.csv", keep_default_na=False) for run in runs)
    pooled = pd.concat([table.assign(fold=fold) for fold, table in enumerate(tables, 1)])
    pooled.to_csv(folder / "predictions.csv", index=False)
    checkpoint.write_text(folder / "metrics.json", json.dumps({"test": metrics.summarise(pooled)}, indent=2) + "\n")
    print(f"{folder}/metrics.json has the metrics of all {len(pooled)} pictures, each tested once")
