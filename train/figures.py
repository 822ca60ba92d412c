"""predictions.csv and history.csv -> figures (PNG)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cells.classes import LABELS
from train import metrics


def draw_all(predictions: pd.DataFrame, history: pd.DataFrame, folder: Path) -> None:
    """Write every figure of a run into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "confusion": confusion(predictions, normalised=False),
        "confusion_normalised": confusion(predictions, normalised=True),
        "training": training(history),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
        plt.close(figure)


def confusion(predictions: pd.DataFrame, normalised: bool) -> plt.Figure:
    """The confusion matrix: counts, or shares of each row in per cent."""
    counts = metrics.confusion(predictions).to_numpy()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1) * 100
    figure, axes = plt.subplots(figsize=(6.4, 5.6))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row in range(len(LABELS)):
        for column in range(len(LABELS)):
            if counts[row, column]:
                text = f"{shares[row, column]:.1f}" if normalised else str(counts[row, column])
                colour = "white" if shares[row, column] > 50 else "black"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=45, ha="right")
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set(xlabel="predicted", ylabel="labelled", title="Test pictures" + (", % of each row" if normalised else ""))
    return figure


def training(history: pd.DataFrame) -> plt.Figure:
    """Losses and validation accuracy by epoch; lines mark where the pictures grow."""
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(10, 3.8))
    losses.plot(history["epoch"], history["train_loss"], label="training (augmented, smoothed labels)")
    losses.plot(history["epoch"], history["validation_loss"], label="validation")
    losses.set(xlabel="epoch", ylabel="cross-entropy", yscale="log")
    scores.plot(history["epoch"], history["validation_accuracy"], label="accuracy")
    scores.plot(history["epoch"], history["validation_balanced_accuracy"], label="balanced accuracy")
    scores.set(xlabel="epoch", ylabel="validation", ylim=(max(0, history["validation_accuracy"].median() - 0.1), 1))
    grown = history["epoch"][history["size"].diff() > 0]
    for axes in (losses, scores):
        for epoch in grown:
            axes.axvline(epoch - 0.5, color="grey", linewidth=0.8, linestyle=":")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
