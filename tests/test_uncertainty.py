"""Uncertainty: a far picture is unfamiliar, an unsure one is sent to a person, and the prediction set holds the true type."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from cells.classes import LABELS
from cells.model.classifier import Classifier
from cells.model.folder import UNCERTAINTY_ARRAYS, ModelError
from cells.model.torch_network import pooled
from cells.model.uncertainty import Uncertainty
from cells.synthetic import draw_cell
from train import metrics
from train.uncertainty import fit_familiar, fit_thresholds

WIDTH = 12


def features_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(features, labels): a long, slanted cloud around each of 8 means."""
    means = np.random.default_rng(0).normal(0, 3, (8, WIDTH))
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 8
    noise = rng.normal(size=(n, WIDTH)) * np.geomspace(0.5, 2, WIDTH)
    noise[:, 0] += noise[:, -1]  # the first and the last go together
    return (means[labels] + noise).astype(np.float32), labels


def answers(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities (n, 8), labels (n,)) of a calibrated model that is mostly right."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(n, 8))
    logits[np.arange(n), rng.integers(0, 8, n)] += 12
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) > rng.random((n, 1))).argmax(1)
    return probabilities, labels


@pytest.fixture(scope="module")
def rule() -> Uncertainty:
    familiar = fit_familiar(*features_of(4000, seed=1))
    features, _ = features_of(2000, seed=2)
    return fit_thresholds(*answers(2000, seed=2), familiar, familiar.distance(features))


def test_the_distance_is_mahalanobiss(rule):
    features, labels = features_of(4000, seed=1)
    means = np.stack([features[labels == label].mean(0) for label in range(8)])
    precision = np.linalg.inv(np.cov((features - means[labels]).T.astype(np.float64)))
    some, _ = features_of(50, seed=3)
    gaps = some[:, None] - means
    expected = np.sqrt(np.einsum("ncw,wv,ncv->nc", gaps, precision, gaps).min(1))
    np.testing.assert_allclose(rule.familiar.distance(some), expected, rtol=0.1)  # but for shrinkage and float16


def test_far_features_are_unfamiliar_and_near_ones_are_not(rule):
    near, _ = features_of(2000, seed=4)
    distances = np.array(rule.distances(near))
    assert 0.004 < (distances > 1).mean() < 0.02
    far = near.copy()
    far[:, 0] -= 2 * (near[:, -1] - near[:, -1].mean())  # each value as usual by itself, not together
    assert (np.array(rule.distances(far)) > 1).mean() > 0.5
    sure = np.eye(8)[0]
    assert rule.status(sure, 0.99) == ("ok", "")
    status, message = rule.status(sure, 1.01)
    assert status == "unfamiliar"
    assert message.count(".") == 1
    assert rule.status(np.full(8, 1 / 8), 1.01)[0] == "unfamiliar"  # before review
    assert rule.status(np.full(8, 1 / 8), 0.99)[0] == "review"
    assert rule.status(sure, float("nan"))[0] == "unfamiliar"


def test_the_least_sure_are_sent_to_review(rule):
    probabilities, _ = answers(4000, seed=5)
    sent = [rule.status(row)[0] == "review" for row in probabilities]
    assert 0.03 < np.mean(sent) < 0.05
    status, message = rule.status(probabilities[np.argmin(probabilities.max(1))])
    assert status == "review"
    assert "yourself" in message


def test_prediction_sets_hold_the_true_type_as_often_as_promised(rule):
    shares = []
    for seed in range(20):
        one = fit_thresholds(*answers(500, seed=100 + seed), rule.familiar, np.ones(500))
        probabilities, labels = answers(4000, seed=200 + seed)
        kept = one.prediction_sets(probabilities)
        assert kept[np.arange(4000), probabilities.argmax(1)].all()
        shares.append(kept[np.arange(4000), labels].mean())
    assert 0.988 < np.mean(shares) < 0.996
    assert kept.sum(1).mean() < 2


def test_few_cells_promise_nothing(rule):
    probabilities, labels = answers(98, seed=6)
    assert fit_thresholds(probabilities, labels, rule.familiar, np.ones(98)).prediction_sets(probabilities).all()
    probabilities, labels = answers(99, seed=6)
    assert not fit_thresholds(probabilities, labels, rule.familiar, np.ones(99)).prediction_sets(probabilities).all()


def test_saved_and_loaded_it_is_the_same(rule, tmp_path):
    rule.save(tmp_path / "trust.json")
    loaded = Uncertainty.load(tmp_path / "trust.json")
    thresholds = [dataclasses.replace(one, familiar=None) for one in (rule, loaded)]
    assert thresholds[0] == thresholds[1]
    features, _ = features_of(100, seed=7)
    assert loaded.distances(features) == rule.distances(features)
    assert {array.dtype.name for array in vars(loaded.familiar).values()} == {"float16", "float32"}


def test_an_old_trust_json_knows_no_unfamiliar_picture(tmp_path):
    (tmp_path / "trust.json").write_text('{"review_below": 0.5}\n')
    old = Uncertainty.load(tmp_path / "trust.json")
    assert old == Uncertainty(review_below=0.5)
    assert old.distances(np.zeros((2, WIDTH))) == [None, None]
    assert old.status(np.array([0.45, 0.55]), None) == ("ok", "")
    np.testing.assert_array_equal(old.prediction_sets(np.array([[0.45, 0.55]])), [[False, True]])
    old.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == {"review_below": 0.5}
    assert not (tmp_path / UNCERTAINTY_ARRAYS).exists()


def test_features_are_means_and_deviations_a_quarter_and_half_way():
    torch.manual_seed(0)
    convolutional = [torch.rand(3, 4, 5, 5) for _ in range(5)]
    features = pooled(convolutional)
    assert features.shape == (3, 4 * 4)
    mean, deviation = convolutional[1].mean((2, 3)), convolutional[2].flatten(2).std(2)
    np.testing.assert_allclose(features[:, :4], mean / mean.norm(dim=1, keepdim=True), rtol=1e-5)
    np.testing.assert_allclose(features[:, 12:], deviation / deviation.norm(dim=1, keepdim=True), rtol=1e-5)
    transformer = [state.flatten(2).transpose(1, 2) for state in convolutional]
    with_class_token = [torch.cat([torch.full((3, 1, 4), 9.0), state], dim=1) for state in transformer]
    np.testing.assert_allclose(pooled(with_class_token), features, rtol=1e-5)
    assert pooled([torch.rand(2, 300, 3, 3)] * 5).shape == (2, 4 * 100)  # every third channel of a wide state
    assert np.isfinite(pooled([torch.zeros(2, 4, 3, 3)] * 5)).all()


@pytest.fixture(scope="module")
def trusting(model_folder, tmp_path_factory):
    """A model folder with a rule fitted on drawn cells."""
    folder = shutil.copytree(model_folder, tmp_path_factory.mktemp("models") / "trusting")
    cells = [draw_cell(label, seed).convert("RGB") for seed in range(12) for label in LABELS]
    probabilities, features = Classifier.load(folder).measure(cells)
    labels = np.arange(len(cells)) % 8
    familiar = fit_familiar(features[:64], labels[:64])
    fit_thresholds(probabilities[64:], labels[64:], familiar, familiar.distance(features[64:])).save(folder / "trust.json")
    return folder


def test_a_prediction_has_its_distance_and_its_prediction_set(trusting, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)
    classifier = Classifier.load(trusting)
    names = ["cell", "noise", "broken"]
    cell, far, broken = classifier.predict(
        [draw_cell("monocyte", 99).convert("RGB"), Image.fromarray(noise), str(tmp_path / "broken.png")], names
    )
    assert cell.distance < 1 < far.distance
    assert (cell.status, far.status, broken.status) == (cell.status, "unfamiliar", "error")
    assert cell.status in ("ok", "review")
    assert (broken.prediction_set, broken.distance) == ((), None)
    assert cell.prediction_set == tuple(label for label, _ in cell.ranking)  # so few cells promise nothing
    (alone,) = Classifier.load(trusting).predict([draw_cell("monocyte", 99).convert("RGB")], names[:1])
    assert alone.distance == pytest.approx(cell.distance, rel=1e-3)


def test_a_prediction_set_has_the_most_probable_first_and_alone_without_a_threshold(trusting, tmp_path):
    folder = shutil.copytree(trusting, tmp_path / "copy")
    thresholds = json.loads((folder / "trust.json").read_text())
    (cell,) = Classifier.load(folder).predict([draw_cell("ig").convert("RGB")], ["cell"])
    thresholds["candidate_from"] = cell.ranking[2][1]
    (folder / "trust.json").write_text(json.dumps(thresholds))
    (cell,) = Classifier.load(folder).predict([draw_cell("ig").convert("RGB")], ["cell"])
    assert cell.prediction_set == tuple(label for label, _ in cell.ranking[:3])
    del thresholds["candidate_from"]
    (folder / "trust.json").write_text(json.dumps(thresholds))
    (cell,) = Classifier.load(folder).predict([draw_cell("ig").convert("RGB")], ["cell"])
    assert cell.prediction_set == (cell.label,)


def test_the_version_follows_the_arrays(trusting, tmp_path):
    folder = shutil.copytree(trusting, tmp_path / "copy")
    arrays = load_file(folder / UNCERTAINTY_ARRAYS)
    arrays["centre"] = arrays["centre"] + 1
    save_file(arrays, folder / UNCERTAINTY_ARRAYS)
    assert Classifier.load(folder).version != Classifier.load(trusting).version


def test_a_broken_rule_is_one_sentence(trusting, tmp_path):
    arrays = load_file(trusting / UNCERTAINTY_ARRAYS)
    half = {**arrays, "centre": arrays["centre"][:9].copy()}
    other = {"centre": np.zeros(3), "scale": np.ones(3), "whitening": np.eye(3), "means": np.zeros((8, 3))}

    def write(some: dict):
        return lambda folder: save_file(some, folder / UNCERTAINTY_ARRAYS)

    for number, (spoil, words) in enumerate(
        (
            (lambda folder: (folder / UNCERTAINTY_ARRAYS).unlink(), "trust.safetensors"),
            (lambda folder: (folder / UNCERTAINTY_ARRAYS).write_bytes(b"no arrays"), "cannot be loaded"),
            (write({key: arrays[key] for key in ("centre", "scale")}), "whitening"),
            (write(half), "do not fit each other"),
            (write(other), "belongs to another network"),
            (lambda folder: (folder / "trust.json").write_text('{"review_below": NaN}'), "no number"),
            (lambda folder: (folder / "trust.json").write_text('{"review_below": "high"}'), "high"),
            (lambda folder: (folder / "trust.json").write_text('{"review_below": [0.5, 0.9]}'), "belongs to another network"),
            (lambda folder: (folder / "trust.json").write_text('{"candidate_from": [0.1]}'), "list"),
            (lambda folder: (folder / "trust.json").write_text('{"look_at": 1}'), "look_at"),
            (lambda folder: (folder / "trust.json").write_text("[]"), "cannot be loaded"),
        )
    ):
        folder = shutil.copytree(trusting, tmp_path / str(number))
        spoil(folder)
        with pytest.raises(ModelError, match="cannot be loaded") as caught:
            Classifier.load(folder)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_each_class_may_have_a_threshold_of_its_own(tmp_path):
    Uncertainty(review_below=(0.5, 0.8, 1.1)).save(tmp_path / "trust.json")
    rule = Uncertainty.load(tmp_path / "trust.json")
    assert rule == Uncertainty(review_below=(0.5, 0.8, 1.1))
    assert rule.lowest == 0.5
    assert rule.ok_from(np.array([2, 0])).tolist() == [1.1, 0.5]
    assert rule.status(np.array([0.6, 0.3, 0.1])) == ("ok", "")
    status, why = rule.status(np.array([0.3, 0.6, 0.1]))
    assert (status, str(why)) == ("review", "Probability below 0.800: look at this cell yourself.")
    assert rule.needs_person(np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.0, 0.0, 1.0]]), list("abc")).tolist() == [
        False,
        True,
        True,
    ]
    status, why = rule.status(np.array([0.0, 0.0, 1.0]))
    assert (status, why.code) == ("review", "review_always")
    table = metrics.table(list("ab"), ["a", "b"], list("ab"), np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1]]), ["a", "b", "c"])
    assert metrics.review(table, rule)["share"] == 0.5


def test_figures_derive_from_the_table_of_predictions():
    probabilities = np.full((4, 8), 0.02)
    probabilities[:, 0] = (0.86, 0.5, 0.5, 0.5)
    probabilities[3, 1] = 0.45
    table = metrics.table(list("abcd"), ["basophil", "basophil", "ig", "eosinophil"], list("abcd"), probabilities, LABELS)
    rule = Uncertainty(review_below=0.6, candidate_from=0.4)
    assert metrics.unfamiliar(table) is None  # a run from before the distance
    assert metrics.review(table, rule) == {"below": 0.6, "share": 0.75, "caught": 1.0}
    assert metrics.prediction_set(table, rule) == {"from": 0.4, "coverage": 0.75, "mean_size": 1.25}
    assert metrics.prediction_set(table, Uncertainty()) is None
    far = table.assign(distance=[0.1, 0.2, 1.2, 1.0])
    assert metrics.unfamiliar(far) == {"share": 0.25, "caught": 0.5}
    assert metrics.review(far, rule) == {"below": 0.6, "share": 0.5, "caught": 0.5}


def test_suspected_blasts_are_among_the_cells_to_review():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2]])
    labels = ("ig", "blast")
    table = metrics.table(list("abc"), ["ig", "blast", "blast"], list("abc"), probabilities, labels)
    assert metrics.review(table, Uncertainty(review_below=0.5)) == {"below": 0.5, "share": 0.0, "caught": 0.0}
    found = metrics.review(table, Uncertainty(review_below=0.5, blast_from=0.3))
    assert found == {"below": 0.5, "share": pytest.approx(1 / 3), "caught": 0.5}
    far = table.assign(distance=[0.1, 1.2, 0.1])
    assert metrics.review(far, Uncertainty(review_below=0.5, blast_from=0.3))["share"] == 0
