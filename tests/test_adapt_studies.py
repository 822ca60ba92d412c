"""The studies of a few labelled cells: what is drawn, and the ways that are compared."""

import numpy as np
import pytest

from train.studies import adapt, adapt_frozen

TYPES = 5


def test_labelled_and_measured_cells_are_of_different_patients():
    generator = np.random.default_rng(0)
    groups, answers = np.repeat(np.arange(20), 30), generator.integers(-1, TYPES, 600)
    labelled, measured = adapt.drawn(answers, groups, 3, np.random.default_rng(1))
    assert not set(groups[labelled]) & set(groups[measured])
    assert np.bincount(answers[labelled], minlength=TYPES).tolist() == [3] * TYPES
    assert (answers[measured] >= 0).all()


def test_one_label_in_ten_is_another_types():
    answers = np.repeat(np.arange(TYPES), 10)
    wrong = adapt.with_wrong(answers, np.random.default_rng(0))
    assert (wrong != answers).sum() == 5
    assert set(wrong) <= set(answers)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, ...]:
    """Features of three labelled cells a type and of 200 others, which lie around a centre a type; their types."""
    generator = np.random.default_rng(0)
    centres, types = generator.normal(0, 1, (TYPES, 16)), np.repeat(np.arange(TYPES), 43)
    features = centres[types] + generator.normal(0, 0.3, (len(types), 16))
    labelled = np.concatenate([np.flatnonzero(types == one)[:3] for one in range(TYPES)])
    others = np.setdiff1d(np.arange(len(types)), labelled)
    return features[labelled], types[labelled], features[others], types[others]


@pytest.mark.parametrize("method", adapt_frozen.METHODS)
def test_each_way_learns_from_the_labelled_cells(cells, method):
    features, types, others, truth = cells
    knows_nothing = np.full((len(others), TYPES), np.log(1 / TYPES))
    scores = adapt_frozen.METHODS[method](features, types, others, knows_nothing)
    assert adapt.balanced(scores.argmax(1), truth) > 0.9


@pytest.mark.parametrize("method", ["cache", "logistic regression with prior"])
def test_what_the_network_is_sure_of_stays(cells, method):
    features, types, others, truth = cells
    sure = np.log(np.eye(TYPES)[(truth + 1) % TYPES] + 1e-9)
    scores = adapt_frozen.METHODS[method](features, types, others, sure)
    assert (scores.argmax(1) == (truth + 1) % TYPES).mean() > 0.9


def test_one_label_a_type_is_enough_for_each_way(cells):
    features, types, others, _ = cells
    knows_nothing = np.full((len(others), TYPES), np.log(1 / TYPES))
    for method, scores in adapt_frozen.METHODS.items():
        found = scores(features[::3], types[::3], others, knows_nothing)
        assert found.shape == (len(others), TYPES), method
        assert np.isfinite(found).all(), method
