"""predictions.csv, validation.csv and history.csv of a run -> metrics.json and figures: python -m train report RUN.

All figures of a run derive from these files, so anyone can derive them again.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas as pd
from PIL import Image

from cells import pbc
from cells.measures import MEASURES, read_metrics, trained_on
from cells.model.folder import UNCERTAINTY_FILE
from cells.model.uncertainty import Uncertainty
from cells.read.images import read_image
from train import checkpoint, data, figures, metrics, options

CARD_FIGURES = ("confusion", "training")  # these go with the model
# The other keys of metrics.json are facts that only the run knows.
DERIVED = ("test", "validation", "review", "unfamiliar", "prediction_set", "blast", "time")
OF_SEVERAL = ("test_by_source", "validation_recall")  # derived too, of a model of several laboratories


class RunError(Exception):
    """A run folder or a machine that does not fit a call. Its text is one line for the user."""


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("report", "Derive metrics.json and figures of finished runs again, from their predictions.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options.add_data(parser)
    chosen = parser.parse_args(arguments)
    check_finished(chosen.runs)
    dataset = data.load(chosen.data)
    for run in chosen.runs:
        rewrite(run, dataset)
        show(run)
    return 0


def check_finished(runs: list[Path]) -> None:
    """Raises RunError for a folder that is no finished run, and for two folders of one name."""
    for run in runs:
        if not (run / "metrics.json").is_file():
            raise RunError(f"{run} is no finished run: it has no metrics.json.")
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise RunError(f"two of the runs have one name ({', '.join(names)}); rename a folder.")


def write(run: Path, facts: dict, dataset: datasets.Dataset) -> None:
    """Write RUN/metrics.json and RUN/figures, and copy into RUN/model what belongs to the model.

    `facts` are those that only the run knows; `dataset` has the pictures, for the figures that show some. Raises DataError.
    """
    test, validation, history = (pd.read_csv(run / f"{name}.csv") for name in ("predictions", "validation", "history"))
    rule = Uncertainty.load(run / "model" / UNCERTAINTY_FILE)
    measured = (metrics.summarise(test), metrics.summarise(validation))
    statuses = (metrics.review(test, rule), metrics.unfamiliar(test), metrics.prediction_set(test, rule))
    blasts = metrics.blasts(validation, rule, dataset.select_columns(["image_id", "source", "group"]).to_pandas())
    derived = (*measured, *statuses, blasts, timing(history))
    if len(trained_on(facts)) > 1:
        of_each = _by_source(test, metrics.summarise, dataset), _by_source(validation, metrics.recall, dataset)
        facts = facts | dict(zip(OF_SEVERAL, of_each, strict=True))
    figures.draw_all(test, history, facts.get("best_epoch"), *_pictures(dataset, run), run / "figures")
    (run / "model" / "figures").mkdir(exist_ok=True)
    for name in CARD_FIGURES:
        shutil.copyfile(run / "figures" / f"{name}.png", run / "model" / "figures" / f"{name}.png")
    text = json.dumps(facts | dict(zip(DERIVED, derived, strict=True)), indent=2) + "\n"
    checkpoint.write_text(run / "model" / "metrics.json", text)
    checkpoint.write_text(run / "metrics.json", text)  # last: its presence says that the run is complete


def rewrite(run: Path, dataset: datasets.Dataset, **facts: str) -> None:
    """The same for a finished run, from its own files; `facts` replace what it says of itself."""
    summary = read_metrics(run / "metrics.json")
    write(run, {key: value for key, value in summary.items() if key not in DERIVED} | facts, dataset)


def _by_source(
    predictions: pd.DataFrame, measure: Callable[[pd.DataFrame], dict], dataset: datasets.Dataset
) -> dict[str, dict]:
    """What is measured of the predictions of each source."""
    sources = dict(zip(dataset["image_id"][:], dataset["source"][:], strict=True))
    groups = predictions.groupby(predictions["image_id"].map(sources), sort=False)
    return {name: measure(rows) for name, rows in groups}


def timing(history: pd.DataFrame) -> dict[str, float | None]:
    """What training took: seconds, images/s over the run, at the last size, and the peak of memory."""
    seconds = history["seconds"].sum()
    last = history[history["size"] == history["size"].iloc[-1]]
    shares = history.get("data_share")
    peak = history.get("peak_memory_mb")
    return {
        "seconds": round(seconds),
        "epochs": len(history),
        "seconds_per_epoch": round(seconds / len(history), 1),
        "images_per_second": round((history["images_per_second"] * history["seconds"]).sum() / seconds, 1),
        "images_per_second_at_full_size": round((last["images_per_second"] * last["seconds"]).sum() / last["seconds"].sum(), 1),
        "data_share": None if shares is None else round((shares * history["seconds"]).sum() / seconds, 4),
        "peak_memory_mb": None if peak is None else round(peak.max()),
    }


def _pictures(dataset: datasets.Dataset, run: Path) -> tuple[pd.DataFrame, Callable[[str], Image.Image]]:
    """(a row per picture of the run, with its part; image_id -> picture)."""
    parts = pbc.read_split(run / "split.csv")
    rows = {image_id: index for index, image_id in enumerate(dataset["image_id"][:])}
    missing = len(parts.keys() - rows.keys())
    if missing:
        raise pbc.DataError(f"{missing} pictures of {run} are not among the data; give --data what the run was made with.")
    counts = dataset.select_columns(["image_id", "cell_type", "cell_subtype"]).to_pandas()
    counts = counts[counts["image_id"].isin(parts)].assign(split=lambda frame: frame["image_id"].map(parts))

    def picture(image_id: str) -> Image.Image:
        return read_image(pbc.source_of(dataset[rows[image_id]]["image"]))

    return counts, picture


def show(run: Path) -> None:
    """Print the figures of a finished run."""
    summary = read_metrics(run / "metrics.json")
    test = summary["test"]
    print(f"{summary['recipe']}, {test['pictures']} test pictures")
    for name in MEASURES:
        print(f"  {name:18s} {test[name]:.4f}   95 % {test[f'{name}_low']:.4f} to {test[f'{name}_high']:.4f}")
    for label, recall in test["recall"].items():
        print(f"  recall {label:12s} {recall:.4f}")
