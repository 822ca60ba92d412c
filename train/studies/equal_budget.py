"""Networks at an equal budget of pictures, with several seeds each: python -m train equal_budget RUN...

Collects finished runs, named NETWORK_seedN as `seed=1..3` leaves them, in three tables that results/README.md is written from.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from cells.classes import LABELS, NAMES, SUBTYPES
from cells.measures import read_metrics
from train import metrics, options, paired, report

RUNS, PREDICTIONS, HISTORY = "equal_budget.csv", "equal_budget_predictions.csv", "equal_budget_history.csv"
TEMPLATE = Path(__file__).with_name("compare_equal_budget.md")
MEASURES = ("accuracy", "balanced_accuracy", "kappa", "macro_f1", "ece", "nll")
DECIDING = ("epochs", "image_size", "batch_size", "progressive_resizing")  # what an equal budget is equal in
REACHED = (0.9, 0.95)  # accuracies on validation for which the minutes are given
SHOWN_ERRORS = 8


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("equal_budget", "Collect runs of several networks and seeds. Rows of other runs in FOLDER stay.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder NETWORK_seedN")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="default results")
    chosen = parser.parse_args(arguments)
    report.check_finished(chosen.runs)
    for name, table in collect(chosen.runs, chosen.out).items():
        table.to_csv(chosen.out / name, index=False, float_format="%.5g")
    print(chosen.out / RUNS)
    return 0


def collect(runs: list[Path], out: Path) -> dict[str, pd.DataFrame]:
    """The three tables, with the rows (of predictions: the columns) of earlier runs. Raises RunError."""
    rows = pd.DataFrame([_row(run) for run in runs])
    history = pd.concat([pd.read_csv(run / "history.csv").assign(run=run.name) for run in runs])
    history = history[["run", "epoch", "size", "seconds", "validation_accuracy", "validation_balanced_accuracy"]]
    predictions = pd.read_csv(runs[0] / "predictions.csv")[["image_id", "label", "subtype"]]
    for run in runs:
        own = pd.read_csv(run / "predictions.csv").set_index("image_id")["prediction"]
        _check_same(predictions["image_id"], own.index, f"{run} and {runs[0]}")
        predictions[run.name] = predictions["image_id"].map(own)
    if (out / RUNS).exists():
        rows = _without(pd.read_csv(out / RUNS, dtype={"commit": str}), rows)
        history = _without(pd.read_csv(out / HISTORY), history)
        before = _read_predictions(out)
        _check_same(before["image_id"], predictions["image_id"], f"{runs[0]} and the runs in {out}")
        predictions = before.drop(columns=predictions.columns[3:], errors="ignore").merge(
            predictions.drop(columns=["label", "subtype"]), on="image_id", validate="one_to_one"
        )
    if rows["budget"].nunique() > 1:
        raise report.RunError(f"the runs have other budgets: {'; '.join(rows['budget'].unique())}.")
    answers = predictions.iloc[:, 3:]
    predictions.iloc[:, 3:] = answers.mask(answers.eq(predictions["label"], axis=0))  # most are right
    return {RUNS: rows, HISTORY: history, PREDICTIONS: predictions}


def _check_same(ids: Iterable[str], others: Iterable[str], whose: str) -> None:
    if set(ids) != set(others):
        raise report.RunError(f"{whose} have other test pictures; runs that are compared share a split.")


def _read_predictions(out: Path) -> pd.DataFrame:
    """image_id, label, subtype, and the answer of each run, of which the file has those that are wrong."""
    predictions = pd.read_csv(out / PREDICTIONS, dtype=str)
    for run in predictions.columns[3:]:
        predictions[run] = predictions[run].fillna(predictions["label"])
    return predictions


def _without(before: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([before[~before["run"].isin(rows["run"])], rows])


def _row(run: Path) -> dict:
    summary, recipe = read_metrics(run / "metrics.json"), json.loads((run / "recipe.json").read_text())
    network, seeded, seed = run.resolve().name.rpartition("_seed")
    if not seeded or not seed.isdecimal():
        raise report.RunError(f"{run}: its name is to end in _seedN, as `seed=1..3` names runs.")
    return {
        "run": run.resolve().name,
        "network": network,
        "seed": int(seed),
        "recipe": summary["recipe"],
        "start": summary["pretrained"] or "nothing",
        "parameters": summary["parameters"],
        "budget": ", ".join(f"{key}={recipe[key]}" for key in DECIDING),
        "seconds": summary["time"]["seconds"],
        "device": summary["device"],
        "precision": summary["mixed_precision"],
        "commit": summary.get("commit"),
        "command": summary["command"],
        "validation_accuracy": summary["validation"]["accuracy"],
        "validation_balanced_accuracy": summary["validation"]["balanced_accuracy"],
        **{key: summary["test"][key] for key in MEASURES},
    }


def section(out: Path) -> str:
    """The part of results/README.md; empty where nothing was collected."""
    if not (out / RUNS).exists():
        return ""
    runs, history = (pd.read_csv(out / name, dtype={"commit": str}) for name in (RUNS, HISTORY))
    predictions = _read_predictions(out)
    means = runs.groupby("network")["accuracy"].transform("mean")
    runs = runs.iloc[np.lexsort((runs["seed"], -means))]  # the best network first; seeds in order: pairs of runs have one seed
    names = {network: list(of["run"]) for network, of in runs.groupby("network", sort=False)}
    right = {network: np.stack([predictions[run] == predictions["label"] for run in own]) for network, own in names.items()}
    first, seconds = runs.iloc[0], runs.groupby("network")["seconds"]
    return Template(TEMPLATE.read_text()).substitute(
        budget=first["budget"],
        table="\n".join(_scores(runs, right)),
        differences="\n".join(one.row() for one in paired.differences(right)),
        networks=" | ".join(names),
        rule=" | ".join(["---"] * len(names)),
        types="\n".join(_types(predictions, names)),
        subtypes="\n".join(_subtypes(predictions, names)),
        errors="\n".join(_errors(predictions, names)),
        minutes="\n".join(_minutes(runs, history)),
        reached=" | ".join(f"to {accuracy:.2f} on validation" for accuracy in REACHED),
        slowest=f"{(seconds.max() / seconds.min()).max():.1f}",
        device=", ".join(runs["device"].unique()),
        precision=", ".join(runs["precision"].replace("no", "float32").unique()),
        commands="\n".join(_commands(runs)),
    )


def _scores(runs: pd.DataFrame, right: dict[str, np.ndarray]) -> Iterator[str]:
    for network, of in runs.groupby("network", sort=False):
        low, high = metrics.interval(right[network].mean(0))
        own = of.iloc[0]
        cells = (
            f"`{network}`",
            own["start"],
            f"{own['parameters'] / 1e6:.1f} million",
            str(len(of)),
            _spread(of["validation_accuracy"]),
            f"{_spread(of['accuracy'])} ({low:.4f} to {high:.4f})",
            *(_spread(of[key]) for key in ("balanced_accuracy", "macro_f1", "ece")),
        )
        yield f"| {' | '.join(cells)} |"


def _spread(values: pd.Series) -> str:
    """Mean, and standard deviation where there are several."""
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def _types(predictions: pd.DataFrame, names: dict[str, list[str]]) -> Iterator[str]:
    """Recall / precision / F1 of each type, the mean over seeds."""
    for label in LABELS:
        truth = predictions["label"] == label
        cells = (_three(truth, [predictions[run] == label for run in own]) for own in names.values())
        yield f"| {NAMES[label]} | {truth.sum()} | {' | '.join(cells)} |"


def _three(truth: pd.Series, called: list[pd.Series]) -> str:
    scores = np.mean([metrics.recall_precision_f1(truth, one) for one in called], axis=0)
    return " / ".join(f"{score:.3f}" for score in scores)


def _subtypes(predictions: pd.DataFrame, names: dict[str, list[str]]) -> Iterator[str]:
    """Recall of each subtype, the mean over seeds."""
    for subtype in SUBTYPES:
        rows = predictions[predictions["subtype"] == subtype.name]
        if len(rows):
            cells = (f"{np.mean([(rows[run] == rows['label']).mean() for run in own]):.3f}" for own in names.values())
            yield f"| {subtype.english} | {len(rows)} | {' | '.join(cells)} |"


def _errors(predictions: pd.DataFrame, names: dict[str, list[str]]) -> Iterator[str]:
    """The commonest errors between types, for each network the mean number over seeds."""
    counts = pd.DataFrame({network: _confused(predictions, own) for network, own in names.items()}).fillna(0)
    order = counts.mean(axis=1).sort_values(ascending=False, kind="stable").index[:SHOWN_ERRORS]
    for label, answer in order:
        cells = (f"{count:.1f}" for count in counts.loc[(label, answer)])
        yield f"| {NAMES[label]} | {NAMES[answer]} | {' | '.join(cells)} |"


def _confused(predictions: pd.DataFrame, runs: list[str]) -> pd.Series:
    """(label, answer) -> mean number of errors."""
    each = [pd.crosstab(predictions["label"], predictions[run]).stack() for run in runs]
    mean = pd.concat(each, axis=1).fillna(0).mean(axis=1)
    return mean[[label != answer for label, answer in mean.index]]


def _minutes(runs: pd.DataFrame, history: pd.DataFrame) -> Iterator[str]:
    """Minutes of training until the validation accuracy was reached, and in all: the mean over seeds."""
    for network, of in runs.groupby("network", sort=False):
        own = [history[history["run"] == run] for run in of["run"]]
        cells = (_until(own, accuracy) for accuracy in REACHED)
        yield f"| `{network}` | {' | '.join(cells)} | {of['seconds'].mean() / 60:.1f} |"


def _until(histories: list[pd.DataFrame], accuracy: float) -> str:
    minutes = []
    for history in histories:
        reached = (history["validation_accuracy"] >= accuracy).to_numpy()
        if not reached.any():
            return "not reached"
        minutes.append(history["seconds"].iloc[: reached.argmax() + 1].sum() / 60)
    return f"{np.mean(minutes):.1f}"


def _commands(runs: pd.DataFrame) -> Iterator[str]:
    """A line a network, with the range of its seeds: a single seed would name its run without it."""
    for network, of in runs.groupby("network", sort=False):
        first, last = of["seed"].min(), of["seed"].max()
        values = [value for value in of["command"].iloc[0].split(" ") if not value.startswith("seed=")]
        yield f"{' '.join(values)} seed={first}..{last} --split results/split.csv --out runs/equal/{network}"
