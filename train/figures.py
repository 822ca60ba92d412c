"""predictions.csv and history.csv -> figures (PNG)."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator
from PIL import Image
from scipy import stats

from cells.classes import ENGLISH, LABELS, SUBTYPE_LABELS, SUBTYPES, english
from cells.pbc import PARTS
from train import metrics

PICTURED = ("samples", "top_losses", "random_predictions")  # these show pictures of the dataset
SEED = 42  # of the pictures drawn at random
PER_TYPE, PAIRS, WORST, RANDOM = 4, 12, 12, 16  # how many a figure shows
BLUE, ORANGE, GREY = "#2b6ca3", "#e08a1e", "#8a8a8a"
GREEN, RED = "#1a7a32", "#b3202a"
PART_COLOURS = dict(zip(PARTS, (BLUE, "#9cc4e4", ORANGE), strict=True))

Picture = Callable[[str], Image.Image]


def draw_all(
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    best_epoch: int | None,
    counts: pd.DataFrame,
    picture: Picture,
    folder: Path,
) -> None:
    """Write every figure of a run into a folder. `best_epoch` is that of its weights; None for a mean of several runs.

    `counts` has a row per picture of the dataset: image_id, cell_type, cell_subtype, split. picture(image_id) is the picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "class_counts": class_counts(counts),
        "samples": samples(counts, picture),
        "training": training(history, predictions, best_epoch),
        "confusion": confusion(predictions, normalised=False),
        "confusion_normalised": confusion(predictions, normalised=True),
        "most_confused": most_confused(predictions),
        "top_losses": top_losses(predictions, picture),
        "random_predictions": random_predictions(predictions, picture),
        "reliability": reliability(predictions),
        "recall_by_subtype": recall_by_subtype(predictions),
    }.items():
        path = folder / f"{name}.png"
        save(figure, path, colours=None if name in PICTURED else 128)


def save(figure: plt.Figure, path: Path, colours: int | None = 128) -> None:
    """Write a figure and close it. A chart has few colours: with a palette it takes a third of the space in every clone."""
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    if colours:
        Image.open(path).convert("RGB").quantize(colours).save(path, optimize=True)


def class_counts(counts: pd.DataFrame) -> plt.Figure:
    """Pictures per type and per subtype, by part of the split; a class without pictures keeps its row."""
    figure, (types, subtypes) = plt.subplots(2, 1, figsize=(8.5, 8), height_ratios=(8, 13), sharex=True, layout="constrained")
    further = {name: english(name) for name in sorted(set(counts["cell_type"]) - set(ENGLISH))}  # of other laboratories
    names = {subtype.name: f"{subtype.english} ({subtype.name})" for subtype in SUBTYPES}
    for axes, column, labels in ((types, "cell_type", ENGLISH | further), (subtypes, "cell_subtype", names)):
        table = pd.crosstab(counts[column], counts["split"]).reindex(index=labels, columns=PARTS, fill_value=0)
        left = np.zeros(len(table))
        for part in PARTS:
            axes.barh(list(labels.values()), table[part], left=left, color=PART_COLOURS[part], label=part)
            left += table[part].to_numpy()
        for row, parts in enumerate(table.to_numpy()):  # beside the bar: the parts of a rare subtype have no room in it
            text = f"{parts.sum():,} = " + " + ".join(f"{number:,}" for number in parts)
            axes.annotate(text, (parts.sum(), row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    types.set(title=f"{len(counts):,} pictures: {' + '.join(PARTS)}", xlim=(0, counts["cell_type"].value_counts().max() * 1.35))
    subtypes.set(xlabel="pictures")
    if (known := counts["cell_subtype"].isin(names).sum()) < len(counts):
        subtypes.set(title=f"{known:,} of these have a subtype of PBC")
    subtypes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(*types.get_legend_handles_labels(), loc="outside upper center", ncols=len(PARTS), frameon=False)
    return figure


def samples(counts: pd.DataFrame, picture: Picture) -> plt.Figure:
    """A few training pictures of each type, a column a type, with their subtypes."""
    figure, grid = plt.subplots(PER_TYPE, len(LABELS), figsize=(12, 7.2), layout="constrained", squeeze=False)
    training_part = counts[counts["split"] == "train"]
    for axes in grid.flat:
        axes.axis("off")
    for column, label in zip(grid.T, LABELS, strict=True):
        rows = training_part[training_part["cell_type"] == label]
        chosen = rows.sample(min(len(rows), PER_TYPE), random_state=SEED)
        for axes, row in zip(column, chosen.itertuples(), strict=False):
            axes.imshow(picture(row.image_id))
            if row.cell_subtype in SUBTYPE_LABELS:  # a picture may have none
                axes.set_title(row.cell_subtype, fontsize=7, color=GREY, pad=2)
        heading = ENGLISH[label].replace(" ", "\n")
        column[0].annotate(heading, (0.5, 1), (0, 16), xycoords="axes fraction", textcoords="offset points", ha="center")
    return figure


def training(history: pd.DataFrame, predictions: pd.DataFrame, best_epoch: int | None) -> plt.Figure:
    """Losses and validation scores by epoch; lines mark where the pictures grow. The test loss is one point, at `best_epoch`.

    The mean of several runs is the model of no epoch: its test loss is a line.
    """
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    _lines(losses, history, "train_loss", "training (augmented, smoothed labels)")
    _lines(losses, history, "validation_loss", "validation")
    test_loss = predictions["loss"].mean()
    whose = "mean of the runs' weights" if best_epoch is None else "best epoch"
    label = f"test, {whose}, calibrated (scored once)"
    losses.axhline(test_loss, color=RED, linewidth=1, linestyle=":", label=label if best_epoch is None else None)
    if best_epoch is not None:
        losses.plot(best_epoch, test_loss, "D", color=RED, linestyle=":", label=label)
    losses.set(xlabel="epoch", ylabel="cross-entropy", yscale="log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("")
    _lines(scores, history, "validation_accuracy", "accuracy")
    _lines(scores, history, "validation_balanced_accuracy", "balanced accuracy")
    # The first epochs would flatten the rest.
    middle = history[["validation_accuracy", "validation_balanced_accuracy"]].median().min()
    scores.set(xlabel="epoch", ylabel="validation", ylim=(max(0, middle - 0.1), 1))
    grown = history[history["size"].diff() > 0]
    for axes in (losses, scores):
        for row in grown.itertuples():
            axes.axvline(row.epoch - 0.5, color=GREY, linewidth=0.8, linestyle=":")
            place = axes.get_xaxis_transform()
            axes.text(row.epoch - 0.5, 1.01, f"{row.size} px", transform=place, ha="center", fontsize=8, color=GREY)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _lines(axes: plt.Axes, history: pd.DataFrame, column: str, label: str) -> None:
    """A line by epoch; one for each run where the model is a mean of several."""
    colour = None
    for _, of in history.groupby(history.get("run", pd.Series("", history.index)), sort=False):
        (line,) = axes.plot(of["epoch"], of[column], ".-", color=colour, label=label if colour is None else None)
        colour = line.get_color()


def confusion(predictions: pd.DataFrame, normalised: bool) -> plt.Figure:
    """The confusion matrix: counts, or shares of each row in per cent."""
    table = metrics.confusion(predictions)
    counts, names = table.to_numpy(), list(map(english, table.index))
    totals = counts.sum(1)
    shares = counts / np.maximum(totals, 1)[:, None] * 100
    side = 0.55 * len(names)
    figure, axes = plt.subplots(figsize=(side + 3, side + 2), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(counts):
        text = f"{shares[row, column]:.1f}" if normalised else str(counts[row, column])
        colour = "white" if shares[row, column] > 50 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [f"{name} ({total:,})" for name, total in zip(names, totals, strict=True)])
    title = f"{len(predictions):,} test pictures" + (", % of each row" if normalised else "")
    axes.set(xlabel="predicted", ylabel="labelled (pictures)", title=title)
    figure.colorbar(image, label="% of the row", shrink=0.7)
    return figure


def most_confused(predictions: pd.DataFrame) -> plt.Figure:
    """The most frequent pairs label -> prediction among the errors."""
    errors = _errors(predictions)
    if errors.empty:
        return _words(f"No error among {len(predictions):,} test pictures.")
    pairs = errors.groupby(["label", "prediction"]).size().sort_values(ascending=False, kind="stable")
    shown = pairs.head(PAIRS)
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.32 * len(shown)), layout="constrained")
    bars = axes.barh(range(len(shown)), shown, color=BLUE)
    axes.bar_label(bars, padding=3)
    axes.set_yticks(range(len(shown)), [f"{english(label)} → {english(prediction)}" for label, prediction in shown.index])
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    title = f"Label → prediction: {shown.sum()} of {len(errors)} errors, {len(shown)} of {len(pairs)} pairs"
    axes.set(xlabel="test pictures", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def top_losses(predictions: pd.DataFrame, picture: Picture) -> plt.Figure:
    """The errors with the highest loss, the worst first."""
    errors = _errors(predictions).sort_values("loss", ascending=False, kind="stable").head(WORST)
    if errors.empty:
        return _words(f"No error among {len(predictions):,} test pictures.")
    figure, grid = _gallery(errors, picture)
    for axes, (_, row) in zip(grid, errors.iterrows(), strict=False):
        text = f"labelled {english(row['label'])}\npredicted {english(row['prediction'])}\n"
        text += f"probability {_probability(row)}, loss {row['loss']:.2f}, {row['image_id']}"
        axes.set_title(text, fontsize=8, loc="left")
    return figure


def random_predictions(predictions: pd.DataFrame, picture: Picture) -> plt.Figure:
    """Test pictures drawn at random, right and wrong told apart by colour and by mark."""
    chosen = predictions.sample(min(len(predictions), RANDOM), random_state=SEED)
    figure, grid = _gallery(chosen, picture)
    for axes, (_, row) in zip(grid, chosen.iterrows(), strict=False):
        right = row["label"] == row["prediction"]
        text = f"{'✓' if right else '✗'} {english(row['prediction'])}, {_probability(row)}"
        text += "" if right else f"\nlabelled {english(row['label'])}"
        axes.set_title(text, fontsize=8, loc="left", color=GREEN if right else RED)
    return figure


def reliability(predictions: pd.DataFrame) -> plt.Figure:
    """Accuracy against confidence in equal bins, with 95 % limits; below, how many pictures each bin holds."""
    bins = _bins(predictions)
    error = (bins["n"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / bins["n"].sum()
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6, 7), height_ratios=(3, 1), sharex=True, layout="constrained")
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="accuracy = confidence")
    bars = _error_bars(bins["right"], bins["n"])
    upper.errorbar(bins["confidence"], bins["accuracy"], bars, fmt="o", color=BLUE, capsize=3, label="bin, 95 % limits")
    upper.set(ylabel="accuracy", ylim=(-0.03, 1.03), title=f"{len(predictions):,} test pictures, ECE {error:.4f}")
    upper.legend(loc="upper left")
    upper.grid(alpha=0.3)
    width = 1 / metrics.CALIBRATION_BINS
    columns = lower.bar((bins.index + 0.5) * width, bins["n"], 0.9 * width, color=BLUE)
    lower.bar_label(columns, fmt="{:,.0f}", fontsize=8, padding=1)
    lower.set(xlabel="confidence (probability of the prediction)", ylabel="pictures", yscale="log", xlim=(0, 1.02))
    lower.set_ylim(0.5, 5 * bins["n"].max())  # from below 1, so that a bin with one picture has a bar
    return figure


def recall_by_subtype(predictions: pd.DataFrame) -> plt.Figure:
    """Recall per subtype with exact limits, the lowest first; pictures without a subtype are left out."""
    known = predictions[predictions["subtype"].isin(SUBTYPE_LABELS)]
    if known.empty:
        return _words("No test picture has a subtype.")
    right = (known["label"] == known["prediction"]).groupby(known["subtype"])
    table = pd.DataFrame({"recall": right.mean(), "right": right.sum(), "n": right.size()}).sort_values("recall", kind="stable")
    low, high = _limits(table["right"], table["n"])
    figure, axes = plt.subplots(figsize=(9, 1.4 + 0.32 * len(table)), layout="constrained")
    bars = _error_bars(table["right"], table["n"])
    axes.barh(range(len(table)), table["recall"], xerr=bars, color="#9cc4e4", ecolor="black", capsize=3)
    axes.set_yticks(range(len(table)), [f"{english(code)} (n = {n})" for code, n in table["n"].items()])
    for row, values in enumerate(zip(table["recall"], low, high, strict=True)):
        axes.text(1.02, row, "{:.3f} ({:.3f} to {:.3f})".format(*values), va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel="recall", xlim=(0, 1.36), xticks=np.linspace(0, 1, 6))
    axes.set_title("Recall of the test pictures of each subtype, 95 % limits (Clopper-Pearson)", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["bottom"].set_bounds(0, 1)
    return figure


def _errors(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[predictions["label"] != predictions["prediction"]]


def _words(text: str) -> plt.Figure:
    """In place of a figure that has nothing to show."""
    figure, axes = plt.subplots(figsize=(6, 1.5))
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def _gallery(rows: pd.DataFrame, picture: Picture) -> tuple[plt.Figure, np.ndarray]:
    """The pictures of the rows, four in a line, and their axes."""
    lines = -(-len(rows) // 4)
    figure, grid = plt.subplots(lines, 4, figsize=(12, 3.5 * lines), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image_id in zip(grid.flat, rows["image_id"], strict=False):
        axes.imshow(picture(image_id))
    return figure, grid.ravel()


def _probability(row: pd.Series) -> str:
    return f"{row['p_' + row['prediction']] * 100:.1f} %"


def _bins(predictions: pd.DataFrame) -> pd.DataFrame:
    """Pictures, right ones, accuracy and mean confidence of the bins that hold any, with the edges of metrics' ECE."""
    confidence = metrics.probabilities_of(predictions).max(1)
    numbers = np.minimum((confidence * metrics.CALIBRATION_BINS).astype(int), metrics.CALIBRATION_BINS - 1)
    table = pd.DataFrame({"confidence": confidence, "right": predictions["label"] == predictions["prediction"]}).groupby(
        numbers
    )
    return table.agg(n=("right", "size"), right=("right", "sum"), accuracy=("right", "mean"), confidence=("confidence", "mean"))


def _limits(right: pd.Series, n: pd.Series) -> np.ndarray:
    """(2, bins): the exact 95 % limits (Clopper-Pearson) of each share."""
    intervals = [stats.binomtest(int(k), int(of)).proportion_ci(0.95, "exact") for k, of in zip(right, n, strict=True)]
    return np.array(intervals).T


def _error_bars(right: pd.Series, n: pd.Series) -> np.ndarray:
    """The same as lengths below and above the share, as matplotlib takes them."""
    share = (right / n).to_numpy()
    low, high = _limits(right, n)
    return np.clip([share - low, high - share], 0, None)  # rounding may leave -1e-17 at 0 and 1
