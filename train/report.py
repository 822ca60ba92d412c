"""predictions.csv, validation.csv and history.csv of a run -> metrics.json and figures.

Whatever is said of a run comes from these files, so anyone can derive it again: python -m train report RUN --data SOURCE.
"""

import json
import shutil
from pathlib import Path

import datasets
import pandas as pd
from PIL import Image

from cells import pbc
from cells.measures import MEASURES
from cells.model.folder import UNCERTAINTY_FILE
from cells.model.uncertainty import Uncertainty
from cells.read.images import read_image
from train import checkpoint, figures, metrics

CARD_FIGURES = ("confusion", "training")  # these go with the model
# The rest of metrics.json are facts that only the run knew.
DERIVED = ("test", "validation", "review", "unfamiliar", "candidates", "time")


def write(run: Path, facts: dict, dataset: datasets.Dataset) -> None:
    """Derive everything. `dataset` has the pictures, for the figures that show some."""
    test, validation, history = (pd.read_csv(run / f"{name}.csv") for name in ("predictions", "validation", "history"))
    rule = Uncertainty.load(run / "model" / UNCERTAINTY_FILE)
    measured = (metrics.summarise(test), metrics.summarise(validation))
    judged = (metrics.review(test, rule), metrics.unfamiliar(test), metrics.candidates(test, rule))
    derived = (*measured, *judged, timing(history))
    figures.draw_all(test, history, *_pictures(dataset, run), run / "figures")
    (run / "model" / "figures").mkdir(exist_ok=True)
    for name in CARD_FIGURES:
        shutil.copyfile(run / "figures" / f"{name}.png", run / "model" / "figures" / f"{name}.png")
    text = json.dumps(facts | dict(zip(DERIVED, derived, strict=True)), indent=2) + "\n"
    checkpoint.write_text(run / "model" / "metrics.json", text)
    checkpoint.write_text(run / "metrics.json", text)  # last: its presence says that the run is complete


def rewrite(run: Path, dataset: datasets.Dataset) -> None:
    """The same for a finished run, from its own files."""
    summary = json.loads((run / "metrics.json").read_text())
    write(run, {key: value for key, value in summary.items() if key not in DERIVED}, dataset)


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


def _pictures(dataset: datasets.Dataset, run: Path):
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
    summary = json.loads((run / "metrics.json").read_text())
    test = summary["test"]
    print(f"{summary['recipe']}, {test['pictures']} test pictures")
    for name in MEASURES:
        print(f"  {name:18s} {test[name]:.4f}   95 % {test[f'{name}_low']:.4f} to {test[f'{name}_high']:.4f}")
    for label, recall in test["recall"].items():
        print(f"  recall {label:12s} {recall:.4f}")
