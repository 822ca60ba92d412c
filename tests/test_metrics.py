"""Metrics against scikit-learn, their intervals, and what derives from the table of predictions."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from cells.classes import LABELS
from cells.model.uncertainty import Uncertainty
from train import metrics
from train.metrics import CellMetrics


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    """400 pictures, most of them right."""
    rng = np.random.default_rng(0)
    labels = rng.choice(8, 400, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    logits = rng.normal(size=(400, 8)) + 3 * np.eye(8)[labels]
    shares = np.exp(logits)
    return shares / shares.sum(1, keepdims=True), labels


def test_values_are_scikit_learns(scored):
    probabilities, labels = scored
    predicted = probabilities.argmax(1)
    ours = CellMetrics(keep_in_memory=True).compute(predictions=probabilities.tolist(), references=labels, resamples=10)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert ours["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert ours["kappa"] == pytest.approx(reference.cohen_kappa_score(labels, predicted))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert ours["nll"] == pytest.approx(reference.log_loss(labels, probabilities))
    assert ours["error_rate"] == pytest.approx(1 - ours["accuracy"])


def test_intervals_hold_the_value_and_narrow_with_more_pictures(scored):
    probabilities, labels = scored
    widths = []
    for copies in (1, 9):
        many = CellMetrics(keep_in_memory=True).compute(
            predictions=np.tile(probabilities, (copies, 1)).tolist(), references=np.tile(labels, copies), resamples=300
        )
        assert many["accuracy_low"] < many["accuracy"] < many["accuracy_high"]
        widths.append(many["accuracy_high"] - many["accuracy_low"])
    assert widths[1] == pytest.approx(widths[0] / 3, rel=0.35)


def test_calibration_error_of_the_sure_and_wrong():
    sure = np.eye(8)[[0, 1, 2, 3]]
    compute = CellMetrics(keep_in_memory=True).compute
    assert compute(predictions=sure.tolist(), references=[0, 1, 2, 3], resamples=2)["ece"] == pytest.approx(0)
    assert compute(predictions=sure.tolist(), references=[0, 1, 5, 6], resamples=2)["ece"] == pytest.approx(0.5)


def test_a_class_without_a_picture_counts_in_no_mean():
    answers = np.eye(3)[[0, 0, 1, 2]]
    found = metrics.measure(answers, np.array([0, 0, 1, 1]))
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)


def test_blasts_are_counted_with_and_without_immature_granulocytes():
    labels = ("ig", "lymphocyte", "blast")
    truths = ["blast", "blast", "ig", "lymphocyte", "ig"]
    probabilities = np.array([[0.1, 0.1, 0.8], [0.1, 0.6, 0.3], [0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [0.9, 0.1, 0.0]])
    table = metrics.table(list("abcde"), truths, truths, probabilities, labels)
    pictures = pd.DataFrame({"image_id": list("abcde"), "source": ["jhu"] * 4 + ["pbc"], "group": list("11122")})
    found = metrics.blasts(table, Uncertainty(blast_from=0.4), pictures)  # the last picture is of a laboratory without blasts
    expected = {"sensitivity": 0.5, "specificity": 0.5, "n_blast": 2, "n_other": 2, "auc": 0.75, "sensitivity_at_95": 0.5}
    assert expected.items() <= found["cells"].items()
    expected = {"sensitivity": 0.5, "specificity": 1.0, "n_blast": 2, "n_other": 1, "auc": 1.0, "sensitivity_at_95": 1.0}
    assert expected.items() <= found["cells_but_ig"].items()
    assert found["patients"]["n_blast"] == 1
    assert found["others"] == {"pbc": {"pictures": 1, "suspected": 0}}


def test_the_interval_of_a_sensitivity_is_over_patients():
    """All blasts of a patient are found, or none: 40 cells of 4 patients say as much as 4 cells."""
    truths = ["blast"] * 40 + ["ig"] * 40
    probabilities = np.array([[0.1, 0.9] if number // 10 % 2 else [0.9, 0.1] for number in range(40)] + [[0.9, 0.1]] * 40)
    table = metrics.table([str(number) for number in range(80)], truths, truths, probabilities, ("ig", "blast"))
    pictures = pd.DataFrame(
        {"image_id": table["image_id"], "source": "jhu", "group": [f"{number // 10}" for number in range(80)]}
    )
    low, high = metrics.blasts(table, Uncertainty(blast_from=0.5), pictures)["cells"]["sensitivity_interval"]
    assert (low, high) == (0, 1)


def test_errors_of_pictures_without_a_subtype_are_those_of_their_class():
    answers = np.full((3, 8), 0.05)
    answers[:, LABELS.index("ig")] = 0.65
    table = metrics.table(list("abc"), ["monocyte", "monocyte", "neutrophil"], ["", None, "SNE"], answers, LABELS)
    summary = metrics.summarise(table)
    assert {row["subtype"]: row["count"] for row in summary["errors_by_subtype"]} == {"monocyte": 2, "SNE": 1}
    assert summary["recall_by_subtype"] == {"SNE": 0}


def test_summary_of_a_table():
    probabilities = np.full((4, 8), 0.05)
    for row, label in enumerate((0, 6, 6, 1)):
        probabilities[row, label] = 0.65
    names = ["basophil", "neutrophil", "ig", "eosinophil"]
    table = metrics.table(["a", "b", "c", "d"], names, ["BA", "SNE", "MMY", "EO"], probabilities, LABELS)
    assert table["loss"].tolist() == pytest.approx([-np.log(0.65), -np.log(0.65), -np.log(0.05), -np.log(0.65)])
    summary = metrics.summarise(table)
    assert summary["accuracy"] == 0.75
    assert summary["recall"] == {"basophil": 1, "eosinophil": 1, "ig": 0, "neutrophil": 1}
    assert summary["confusion"]["ig"][LABELS.index("neutrophil")] == 1
    assert summary["errors_by_subtype"] == [{"subtype": "MMY", "prediction": "neutrophil", "count": 1}]
    np.testing.assert_array_equal(metrics.probabilities_of(table), probabilities)
