"""Paired differences of two networks on the same pictures."""

import numpy as np
import pandas as pd
import pytest

from train import paired


def test_mcnemar_counts_the_pictures_that_one_alone_names_rightly():
    ours = np.array([True] * 10 + [False] * 2 + [True] * 500 + [False] * 7)
    theirs = np.array([False] * 10 + [True] * 2 + [True] * 500 + [False] * 7)
    assert paired.mcnemar(ours, theirs) == pytest.approx(0.03857, abs=1e-5)  # 2 of 12, two-sided
    assert paired.mcnemar(theirs, ours) == paired.mcnemar(ours, theirs)
    assert paired.mcnemar(ours, ours) == 1


def test_pictures_that_both_name_alike_narrow_the_interval():
    """Unpaired, an interval of 1,000 pictures at 90 % would be 2.6 points wide to each side."""
    theirs = np.arange(1000) % 10 > 0
    ours = theirs | (np.arange(1000) < 100)  # right where they are wrong, in 10 pictures
    found = paired.difference("ours", "theirs", ours[None], theirs[None])
    assert found.accuracy == pytest.approx(0.01)
    assert 0.003 < found.low < 0.01 < found.high < 0.018


def test_seeds_that_differ_widen_the_interval():
    right = np.arange(1000) % 10 > 0
    worse = right & (np.arange(1000) > 100)
    alike = paired.difference("a", "b", np.stack([right, right]), np.stack([right, right]))
    apart = paired.difference("a", "b", np.stack([right, worse]), np.stack([right, worse]))
    assert (alike.low, alike.high) == (0, 0)
    assert apart.low < -0.05 < 0.05 < apart.high
    assert len(apart.p_values) == 2


def test_rows_are_paired_by_picture_and_other_pictures_are_refused():
    table = pd.DataFrame({"image_id": ["b", "a"], "label": ["x", "x"], "prediction": ["x", "y"]})
    assert paired.right_of([table, table[::-1]]).tolist() == [[False, True]] * 2
    with pytest.raises(ValueError, match="different pictures"):
        paired.right_of([table, table.assign(image_id=["b", "c"])])
