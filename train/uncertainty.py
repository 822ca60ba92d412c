"""The rule of uncertainty of a finished network, fitted on the pictures of its run: python -m train uncertainty RUN.

Training pictures say what is familiar; every threshold comes from validation pictures, as the backend that serves the model
answers them. That backend then answers the test pictures, once. With --left-out, temperature and thresholds also hold in
laboratories that other runs left out (see left_out.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf

from cells import pbc
from cells.classes import BLAST
from cells.measures import HOME, read_metrics
from cells.model.classifier import Classifier
from cells.model.folder import UNCERTAINTY_FILE
from cells.model.uncertainty import Familiar, Uncertainty
from train import backend, data, laboratories, left_out, metrics, options, report
from train.left_out import Answers
from train.network import set_temperature

# Of validation cells:
UNFAMILIAR_SHARE = 0.01  # called unfamiliar though they are not
REVIEW_SHARE = 0.04  # sent to a person; more would tire the person who looks
COVERAGE = 0.99  # whose type is in the prediction set
BLAST_SENSITIVITY = 0.9  # of the blasts of validation patients, that are suspected


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser(
        "uncertainty",
        "Choose the backend that serves a finished run's model and fit its rule of uncertainty again, without training; then "
        "derive metrics.json and figures.",
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument(
        "--left-out", nargs="+", type=Path, default=[], metavar="RUN", help="finished runs without a laboratory"
    )
    options.add_data(parser)
    chosen = parser.parse_args(arguments)
    report.check_finished([chosen.run])
    report.check_finished(chosen.left_out)
    dataset = data.load(chosen.data)
    facts = refit(chosen.run, dataset, chosen.left_out)
    report.rewrite(chosen.run, dataset, **facts)
    report.show(chosen.run)
    return 0


def fit(run: Path, dataset: datasets.Dataset, parts: list[str], elsewhere: Sequence[Answers] = ()) -> dict:
    """Write the rule into RUN/model, then validation.csv and predictions.csv; return facts for metrics.json.

    `dataset` is labelled, `parts` has the part of each row. `elsewhere` are answers of runs in laboratories that they left
    out: with them, temperature and thresholds hold there too. The facts name the backend that serves. Raises DataError.
    """
    folder = run / "model"
    rows = {part: dataset.select(np.flatnonzero(np.array(parts) == part)) for part in pbc.PARTS}
    _, features = backend.measure(backend.load(folder, backend.TORCH), rows["train"])
    familiar = fit_familiar(features, np.array(rows["train"]["label"][:]))
    chosen, rule, own = _fit_on_validation(folder, rows, familiar)
    facts = {}
    if elsewhere:
        limits = left_out.fit(own, elsewhere)
        facts = {"left_out": vars(limits), "laboratories": left_out.figures(own, elsewhere)}
        set_temperature(folder, limits.temperature)
        chosen, rule, _ = _fit_on_validation(folder, rows, familiar)
        review_below = tuple(limits.review_below[name] for name in own[0].classes)
        rule = replace(rule, review_below=review_below, unfamiliar_above=rule.unfamiliar_above * limits.farther)
    rule.save(folder / UNCERTAINTY_FILE)
    model = backend.load(folder, chosen, Uncertainty.load(folder / UNCERTAINTY_FILE))
    for part, name in (("validation", "validation.csv"), ("test", "predictions.csv")):
        _table(model, rows[part]).to_csv(run / name, index=False, float_format="%.6g")
    return facts | {"backend": chosen}


def _fit_on_validation(
    folder: Path, rows: dict[str, datasets.Dataset], familiar: Familiar
) -> tuple[str, Uncertainty, list[Answers]]:
    """(the backend that serves, the rule that its answers to validation pictures ask for, these answers by laboratory)."""
    chosen = backend.choose(folder, rows["train"], rows["validation"])
    model = backend.load(folder, chosen)
    probabilities, features = backend.measure(model, rows["validation"])
    labels, distances = np.array(rows["validation"]["label"][:]), familiar.distance(features)
    rule = fit_thresholds(probabilities, labels, familiar, distances)
    if BLAST.name in model.labels:
        rule = replace(rule, blast_from=fit_blast_from(probabilities, labels, model.labels.index(BLAST.name)))
    sources = np.array(rows["validation"]["source"][:])
    own = left_out.answers_at_home(sources, model.labels, probabilities, labels, distances / rule.unfamiliar_above)
    return chosen, rule, own


def refit(run: Path, dataset: datasets.Dataset, left_out_runs: Sequence[Path] = ()) -> dict:
    """fit() of a finished run, on the pictures of its split; returns facts for its metrics.json.

    Raises DataError.
    """
    given, summary = pbc.read_split(run / "split.csv"), read_metrics(run / "metrics.json")
    labelled, parts = rows_of(run, dataset, given)
    # Before anything is written: a run that does not fit is refused here.
    known = list(dict.fromkeys(np.array(labelled["source"][:])[np.array(parts) == "validation"].tolist()))
    answers = [one for each in left_out_runs for one in left_out.answers_left_out(each, dataset, given, known)]
    before = summary.get("left_out", {}).get("temperature", 1.0)
    set_temperature(run / "model", 1.0)  # as after training; a call that was stopped may have left another
    fitted = fit(run, labelled, parts, answers)
    is_of_home = set(dataset["source"][:]) == {HOME} and not summary.get("laboratories")
    if not answers and before == 1 and is_of_home:
        return fitted
    found = {"left_out": {}, "laboratories": []} | fitted
    temperature = summary["temperature"] / before * found["left_out"].get("temperature", 1.0)
    measured = laboratories.measure(Classifier.load(str(run / "model")), dataset, given)
    rows = [*map(laboratories.card_row, measured), *found["laboratories"]]
    return found | {"temperature": round(temperature, 4), "laboratories": rows}


def rows_of(run: Path, dataset: datasets.Dataset, given: dict[str, str]) -> tuple[datasets.Dataset, list[str]]:
    """(the labelled pictures of a run's split, the part of each)."""
    dataset = data.label(dataset, backend.load(run / "model", backend.TORCH).labels)
    ids = dataset["image_id"][:]
    missing = len(given.keys() - set(ids))
    if missing:
        raise pbc.DataError(f"{missing} pictures of {run} are not among the data; give --data what the run was made with.")
    rows = [row for row, image_id in enumerate(ids) if image_id in given]
    return dataset.select(rows), [given[ids[row]] for row in rows]


def fit_familiar(features: np.ndarray, labels: np.ndarray) -> Familiar:
    """From features (n, width) of training pictures and their labels (n,), of which each from 0 to the highest occurs.

    The covariance is the one within classes, shrunk towards equal variances as far as the number of pictures asks for (Ledoit &
    Wolf 2004). The whitening matrix is float16, which changes a distance by less than a thousandth.
    """
    centre, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    scaled = (features - centre) / scale
    means = np.stack([scaled[labels == label].mean(0) for label in range(labels.max() + 1)])
    covariance, _ = ledoit_wolf(scaled - means[labels], assume_centered=True)
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float16)
    return Familiar(centre, scale, whitening, means @ whitening.astype(np.float32))


def fit_thresholds(probabilities: np.ndarray, labels: np.ndarray, familiar: Familiar, distances: np.ndarray) -> Uncertainty:
    """From probabilities (n, classes), labels (n,) and distances (n,) of validation cells."""
    own = np.sort(probabilities[np.arange(len(labels)), labels])
    # The split-conformal quantile: n + 1 in place of n, so that the coverage holds for the next cell.
    left_out = int(np.floor((len(labels) + 1) * (1 - COVERAGE))) - 1
    return Uncertainty(
        review_below=float(np.quantile(probabilities.max(1), REVIEW_SHARE)),
        candidate_from=float(own[left_out]) if left_out >= 0 else 0.0,  # so few cells promise nothing: each set holds all
        unfamiliar_above=float(np.quantile(distances, 1 - UNFAMILIAR_SHARE)),
        familiar=familiar,
    )


def fit_blast_from(probabilities: np.ndarray, labels: np.ndarray, blast: int) -> float | None:
    """The probability that BLAST_SENSITIVITY of the blasts reach; None where there is none. `blast` is the label of blasts.

    Rounded down to four decimals: answers differ by a millionth from machine to machine, and the blast at the quantile is to
    be suspected on each.
    """
    found = probabilities[labels == blast, blast]
    return float(np.floor(1e4 * np.quantile(found, 1 - BLAST_SENSITIVITY, method="lower")) / 1e4) if len(found) else None


def _table(model: Classifier, rows: datasets.Dataset) -> pd.DataFrame:
    """metrics.table() of labelled rows, with the distance of each picture from the training pictures."""
    predictions = backend.predict(model, rows)
    truths = [model.labels[label] for label in rows["label"][:]]
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    table = metrics.table(rows["image_id"][:], truths, rows["cell_subtype"][:], probabilities, model.labels)
    return table.assign(distance=[prediction.distance for prediction in predictions])
