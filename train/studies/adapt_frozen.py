"""Other ways to learn from a few labelled cells: python -m train adapt_frozen MODEL... --data ... --split FILE.

The draws are those of `train adapt`, which fine-tunes half of the network. Here the network stays as it is, and what it makes
of a cell is classified in the usual ways. The answers are among the labelled types; of fine-tuning they are among all classes.
"""

from collections.abc import Callable

import datasets
import numpy as np
import pandas as pd
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from sklearn.semi_supervised import LabelSpreading

from cells import pbc
from cells.model.torch_network import TorchNetwork
from train import data, options
from train.laboratories import FIVE
from train.studies.adapt import LABELS, balanced, drawn, never_seen, pictures

PART = 64  # pictures that are decoded and asked for together
SHARPNESS, WEIGHT = 5.5, 1.0  # of the cache: Tip-Adapter's beta and alpha (Zhang et al. 2022)
NEIGHBOURS = 7
AS_IT_IS = "as it is"

# features of the labelled cells (n, width), their types (n,), features of the others (m, width), their log-probabilities
# of the types by the network as it is (m, types) -> scores (m, types)
Method = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("adapt_frozen", "Compare ways to learn from a few labelled cells without training the network.")
    options.add_models(parser, "results/adapt_frozen.csv")
    parser.add_argument("--draws", type=int, default=20, metavar="N", help="default %(default)s")
    chosen = parser.parse_args(arguments)
    dataset, split = data.load(chosen.data), pbc.read_split(chosen.split)
    rows = []
    for folder, cells in never_seen(chosen.models, dataset, split):
        rows += measure(TorchNetwork(folder), cells, chosen.draws)
    frame = pd.DataFrame(rows)
    frame.to_csv(chosen.out, index=False, float_format="%.4f")
    print(frame.groupby(["laboratory", "method", "labels"])["balanced_accuracy"].mean().unstack().to_string())
    return 0


def measure(network: TorchNetwork, cells: datasets.Dataset, draws: int) -> list[dict]:
    """A row for each method, number of labels and draw, of the cells of one laboratory."""
    groups = np.array(cells["group"][:])
    answers = np.array([FIVE.index(one) if one in FIVE else -1 for one in cells["cell_type"][:]])
    columns = [network.labels.index(one) for one in FIVE]
    features, logits = states(network, cells, np.flatnonzero(answers >= 0))
    rows = []
    for number in LABELS:
        for draw in range(draws):
            labelled, measured = drawn(answers, groups, number, np.random.default_rng(draw))
            both = features[np.concatenate([labelled, measured])]
            scaled = (both - both.mean(0)) / (both.std(0) + 1e-6)  # the batch is at hand, labelled or not
            seen, types = np.unique(answers[labelled], return_inverse=True)  # a draw may have no cell of a type
            given = (scaled[: len(labelled)], types, scaled[len(labelled) :])
            prior = torch.log_softmax(torch.from_numpy(logits[measured][:, columns]), 1).numpy()
            found = {AS_IT_IS: prior.argmax(1)}
            found |= {method: seen[scores(*given, prior[:, seen]).argmax(1)] for method, scores in METHODS.items()}
            common = {"laboratory": cells["source"][0], "labels": number, "draw": draw}
            for method, one in found.items():
                rows.append(common | {"method": method, "balanced_accuracy": balanced(one, answers[measured])})
    return rows


@torch.inference_mode()
def states(network: TorchNetwork, cells: datasets.Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, width) means over the picture of the last two hidden states, and logits (n, classes), of these rows; else zeros."""
    features, logits = [], []
    for start in range(0, len(rows), PART):
        images = pictures(cells, rows[start : start + PART])
        pixels = torch.from_numpy(np.stack([network.preprocess(one) for one in images])).to(network.network.device)
        answer, hidden = network.layers.answer(pixels)
        features.append(torch.cat([_mean(state) for state in hidden[-2:]], 1).cpu())
        logits.append(answer.cpu())
    return tuple(_placed(torch.cat(values).numpy(), rows, len(cells)) for values in (features, logits))


def _placed(values: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    found = np.zeros((n, values.shape[1]), values.dtype)
    found[rows] = values
    return found


def _mean(state: torch.Tensor) -> torch.Tensor:
    return state.flatten(2).mean(2) if state.ndim == 4 else state[:, 1:].mean(1)


def prototypes(features: np.ndarray, types: np.ndarray, others: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The cosine to the mean of each type."""
    means = np.stack([features[types == one].mean(0) for one in range(prior.shape[1])])
    return normalize(others) @ normalize(means).T


def cache(features: np.ndarray, types: np.ndarray, others: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Tip-Adapter: to the network's own answer each labelled cell adds its type, the more the more it is alike."""
    alike = np.exp(SHARPNESS * (normalize(others) @ normalize(features).T - 1))
    return prior + WEIGHT * alike @ np.eye(prior.shape[1])[types]


def logistic_regression(features: np.ndarray, types: np.ndarray, others: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Without the network's own answer."""
    return LogisticRegression(C=0.01, max_iter=500).fit(features, types).predict_log_proba(others)


def with_prior(features: np.ndarray, types: np.ndarray, others: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """A logistic regression, times the network's own probabilities."""
    return logistic_regression(features, types, others, prior) + prior


def discriminant(features: np.ndarray, types: np.ndarray, others: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Linear discriminant analysis with Ledoit and Wolf's shrinkage; of one cell a type the nearest mean."""
    if len(features) == len(set(types)):
        return prototypes(features, types, others, prior)
    equal = np.full(prior.shape[1], 1 / prior.shape[1])
    fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=equal).fit(features, types)
    return fitted.decision_function(others)


def label_spreading(features: np.ndarray, types: np.ndarray, others: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """From the labelled cells to their neighbours among all."""
    known = np.concatenate([types, np.full(len(others), -1)])
    fitted = LabelSpreading("knn", n_neighbors=NEIGHBOURS).fit(normalize(np.concatenate([features, others])), known)
    return np.nan_to_num(fitted.label_distributions_[len(types) :])


METHODS: dict[str, Method] = {
    "nearest prototype": prototypes,
    "cache": cache,
    "logistic regression": logistic_regression,
    "logistic regression with prior": with_prior,
    "LDA with shrinkage": discriminant,
    "label spreading": label_spreading,
}
