"""The pictures of a dataset that a person should look at again: python -m train audit RUN.

Four kinds of finds are listed, the surest first: pictures of the same cells under two labels, probably wrong labels (confident
learning, Northcutt et al. 2021), pictures that seem to show two cells, and pictures that show the same cells under one label.

Probabilities must be out of sample. Those of validation and test pictures are the run's own; those of a training picture come
from a linear classifier on the run's pooled features that was not fitted on it (cross-validated, pictures of the same cells in
one fold). The network that gives the features was fitted on its label: wrong labels of training pictures are found less surely.
"""

from pathlib import Path

import datasets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from cleanlab.filter import find_label_issues
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cells import pbc
from cells.classes import english
from cells.model.classifier import Classifier
from cells.read.images import read_image
from train import data, duplicates, metrics, options, report
from train.evaluation import head_inputs
from train.network import adapter

COLUMNS = ("kind", "image_id", "label", "other_image_id", "other_label", "score", "split")
KINDS = TWO_LABELS, LABEL, TWO_CELLS, ONE_LABEL = ("same cells, two labels", "label", "two cells", "same cells, one label")
FOLDS = 5
SHOWN = 24  # on the contact sheet
SIZE = 64  # pixels; the side at which nuclei are looked for
SECOND_NUCLEUS = 0.35  # the smallest area of a second nucleus, as a share of the first's, that suggests two cells
APART = 0.3  # of the side; dark areas that are nearer are lobes of one nucleus


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser(
        "audit",
        "List what a person should look at again: labels that are probably wrong, pictures of the same cells, and pictures "
        "that seem to show two cells.",
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    options.add_data(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for finds.csv and contact_sheet.png (default RUN/audit)")
    chosen = parser.parse_args(arguments)
    report.check_finished([chosen.run])
    dataset, folder = data.load(chosen.data), chosen.out or chosen.run / "audit"
    finds = audit(chosen.run, dataset)
    write(finds, dataset, folder)
    print("\n".join(f"{count:5d}  {kind}" for kind, count in finds["kind"].value_counts(sort=False).items()))
    print(f"see {folder}/finds.csv and contact_sheet.png")
    return 0


def audit(run: Path, dataset: datasets.Dataset) -> pd.DataFrame:
    """A row per find, with COLUMNS; the surest of each kind first. `score` is from 0 to 1, higher for a surer find.

    `dataset` has the pictures of the run. Raises DataError, ModelError.
    """
    parts = pbc.read_split(run / "split.csv")
    dataset = dataset.select([row for row, one in enumerate(dataset["image_id"][:]) if one in parts])
    classifier = Classifier.load(run / "model")
    dataset = data.label(dataset, classifier.labels)
    ids, labels = np.array(dataset["image_id"][:]), np.array(dataset["label"][:])
    split = np.array([parts[one] for one in ids])
    pixels = data.decode(dataset, adapter(classifier.network).input_size)
    pairs, correlation = duplicates.overlaps(pixels)
    groups = duplicates.groups_of(pairs, correlation, len(pixels))
    probabilities = out_of_sample(run, ids, labels, split, groups, pixels, classifier)
    names = np.array(classifier.labels)
    same = _same_cells(pairs, correlation, labels)
    finds = [
        *(find for find in same if find[0] == TWO_LABELS),
        *_wrong_labels(labels, probabilities),
        *_two_cells(pixels),
        *(find for find in same if find[0] == ONE_LABEL),
    ]
    rows = []
    for kind, first, second, score in finds:
        suggested = names[probabilities[first].argmax()] if kind == LABEL else ""
        other = ("", suggested) if second is None else (ids[second], names[labels[second]])
        rows.append((kind, ids[first], names[labels[first]], *other, round(float(score), 4), split[first]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def out_of_sample(
    run: Path,
    ids: np.ndarray,
    labels: np.ndarray,
    split: np.ndarray,
    groups: np.ndarray,
    pixels: Tensor,
    classifier: Classifier,
) -> np.ndarray:
    """Probabilities (n, classes) of every picture, each by a classifier that was not fitted on it.

    `ids`, `labels` (indices), `split` and `groups` (pictures of the same cells) are (n,); `pixels` is uint8 (n, 3, s, s).
    """
    held_out = pd.concat([pd.read_csv(run / f"{name}.csv") for name in ("predictions", "validation")]).set_index("image_id")
    probabilities = np.empty((len(ids), len(classifier.labels)))
    known = split != "train"
    probabilities[known] = metrics.probabilities_of(held_out.loc[ids[known]])
    rows = np.flatnonzero(~known)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(rows, labels[rows], groups[rows]))
    features = head_inputs(classifier.network, pixels[torch.from_numpy(rows)])
    probabilities[rows] = cross_val_predict(probe, features, labels[rows], cv=folds, method="predict_proba")
    return probabilities


def _same_cells(pairs: Tensor, correlation: Tensor, labels: np.ndarray) -> list[tuple]:
    """Pairs of pictures of one field, the most alike first."""
    found = []
    for row in correlation.argsort(descending=True).tolist():
        if correlation[row] > duplicates.SAME_FIELD:
            first, second = pairs[row].tolist()
            kind = TWO_LABELS if labels[first] != labels[second] else ONE_LABEL
            found.append((kind, first, second, correlation[row]))
    return found


def _wrong_labels(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple]:
    """Labels that confident learning finds wrong, the least probable first."""
    rows = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [(LABEL, row, None, 1 - probabilities[row, labels[row]]) for row in rows.tolist()]


def _two_cells(pixels: Tensor) -> list[tuple]:
    """Pictures with two nuclei that lie apart, those with the most equal ones first."""
    scores = np.array([second_nucleus(image.permute(1, 2, 0).numpy()) for image in pixels])
    rows = np.argsort(-scores, kind="stable")
    return [(TWO_CELLS, row, None, scores[row]) for row in rows.tolist() if scores[row] >= SECOND_NUCLEUS]


def second_nucleus(image: np.ndarray) -> float:
    """The area of the second nucleus of a picture, uint8 (s, s, 3), as a share of the first's; 0 without a second."""
    image = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR), dtype=np.float32)
    green = image[..., 1]
    # Nuclei are the darkest parts in green light, and bluer than red cells.
    dark = (green < green.min() + 0.35 * (np.median(green) - green.min())) & (image[..., 2] > green + 20)
    joined = ndimage.binary_closing(np.pad(dark, 6), iterations=4)[6:-6, 6:-6]  # lobes of one nucleus
    found, n = ndimage.label(joined)
    if n < 2:
        return 0.0
    areas = ndimage.sum_labels(dark, found, range(1, n + 1))
    first, second = np.argsort(-areas)[:2]
    centres = np.array(ndimage.center_of_mass(dark, found, [first + 1, second + 1]))
    apart = np.linalg.norm(centres[0] - centres[1]) > APART * SIZE
    return float(areas[second] / areas[first]) if apart else 0.0


def write(finds: pd.DataFrame, dataset: datasets.Dataset, folder: Path) -> None:
    """finds.csv and contact_sheet.png, which shows the first of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    finds.to_csv(folder / "finds.csv", index=False)
    rows = {image_id: row for row, image_id in enumerate(dataset["image_id"][:])}
    shown = finds.groupby("kind", sort=False).head(SHOWN // len(KINDS))
    figure, axes = plt.subplots(-(-len(shown) // 6) or 1, 6, figsize=(13, 2.9 * (-(-len(shown) // 6) or 1)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, find in zip(axes.flat, shown.itertuples(), strict=False):
        picture = read_image(pbc.source_of(dataset[rows[find.image_id]]["image"]))
        axis.imshow(picture)
        other = f"\n{find.other_image_id or 'rather'} {english(find.other_label)}" if find.other_label else ""
        axis.set_title(f"{find.kind}\n{find.image_id} {english(find.label)}{other}", fontsize=7)
    figure.tight_layout()
    figure.savefig(folder / "contact_sheet.png", dpi=120)
    plt.close(figure)
