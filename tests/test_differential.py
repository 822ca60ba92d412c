"""The differential as a laboratory reports it: who is in the denominator, what stands apart, and limits as in the tables."""

import numpy as np
import pytest

from cells.classes import ORDER, SUBTYPES
from cells.differential import RangeError, check_ranges, differential, exact_limits, of_counts, whole_percentages


def share(label: str, count: int, n: int, **options):
    """The share of a kind that is `count` of n white cells."""
    other = "lymphocyte" if label == "neutrophil" else "neutrophil"
    found = differential([label] * count + [other] * (n - count), **options)
    return next(one for one in found.shares if one.label == label)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        *[(0, 100, 0, 3.6), (1, 100, 0, 5.4), (5, 100, 1.6, 11.3), (10, 100, 4.9, 17.6), (50, 100, 39.8, 60.2)],
        *[(0, 200, 0, 1.8), (10, 200, 2.4, 9.0), (100, 200, 42.9, 57.1)],
    ],
)
def test_limits_are_the_exact_ones_of_the_tables(count, n, low, high):
    assert [round(100 * limit, 1) for limit in exact_limits(count, n)] == [low, high]
    one = share("eosinophil", count, n)
    assert (one.count, one.percent, round(one.low, 1), round(one.high, 1)) == (count, 100 * count / n, low, high)


def test_limits_of_all_mirror_those_of_none():
    none, every = exact_limits(0, 100), exact_limits(100, 100)
    assert every == pytest.approx((1 - none[1], 1 - none[0]))


def test_only_white_cells_are_the_denominator():
    found = differential(["neutrophil"] * 3 + ["ig"] + ["erythroblast"] * 40 + ["platelet"] * 50)
    assert found.white == 4
    assert {one.label: one.percent for one in found.shares if one.count} == {"neutrophil": 75, "ig": 25}
    assert (found.erythroblasts, found.platelets) == (40, 50)


def test_the_order_is_a_laboratorys_and_every_kind_is_there():
    found = differential(["ig", "basophil", "neutrophil"])
    assert ORDER == ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig")
    assert [one.label for one in found.shares] == list(ORDER)
    assert [one.count for one in found.shares] == [1, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("erythroblasts", "white", "per_100", "factor"),
    [
        (0, 100, 0, None),
        (4, 100, 4, None),
        (5, 100, 5, 100 / 105),
        (9, 200, 4.5, None),
        (25, 100, 25, 0.8),
        (30, 10, 300, 0.25),
    ],
)
def test_erythroblasts_are_per_100_white_cells_and_correct_from_5(erythroblasts, white, per_100, factor):
    found = differential(["monocyte"] * white + ["erythroblast"] * erythroblasts)
    assert found.erythroblasts_per_100 == per_100
    assert found.correction == (None if factor is None else pytest.approx(factor))


def test_subtypes_count_as_their_type():
    found = differential(subtype.name for subtype in SUBTYPES)
    assert found == differential(subtype.cell_type for subtype in SUBTYPES)
    assert {one.label: one.count for one in found.shares} == {
        **{"neutrophil": 3, "lymphocyte": 1, "monocyte": 1},
        **{"eosinophil": 1, "basophil": 1, "ig": 4},
    }


def test_fewer_than_100_white_cells_are_few_whatever_else_was_seen():
    assert differential(["neutrophil"] * 99 + ["platelet"] * 50 + ["erythroblast"] * 50).is_small
    assert not differential(["neutrophil"] * 100).is_small


@pytest.mark.parametrize("labels", [[], ["erythroblast"] * 7 + ["platelet"] * 2])
def test_without_a_white_cell_there_are_no_shares(labels):
    found = differential(labels)
    assert (found.white, found.shares, found.is_small) == (0, (), True)
    assert (found.erythroblasts_per_100, found.correction) == (None, None)
    assert found.erythroblasts + found.platelets == len(labels)


@pytest.mark.parametrize(
    ("label", "count", "n", "mark"),
    [
        *[
            ("neutrophil", 31, 100, ""),
            ("neutrophil", 30, 100, "low"),
            ("neutrophil", 62, 100, ""),
            ("neutrophil", 70, 100, "high"),
        ],
        *[("neutrophil", 37, 1000, "low"), ("neutrophil", 640, 1000, "high"), ("neutrophil", 620, 1000, "")],
        *[
            ("eosinophil", 0, 100, ""),
            ("eosinophil", 0, 1000, "low"),
            ("eosinophil", 9, 100, "high"),
            ("eosinophil", 8, 100, ""),
        ],
        *[("basophil", 0, 100, ""), ("basophil", 2, 100, ""), ("basophil", 5, 100, "high")],
        *[("ig", 0, 100, ""), ("ig", 30, 100, "")],  # no typical range
    ],
)
def test_a_share_is_marked_where_its_limits_exclude_the_typical_range(label, count, n, mark):
    assert share(label, count, n).mark == mark


@pytest.mark.parametrize(
    ("counts", "wholes"),
    [
        ([1, 1, 1], [34, 33, 33]),
        ([2, 2, 2, 1, 0, 0], [29, 29, 28, 14, 0, 0]),
        ([1, 0, 0], [100, 0, 0]),
        ([199, 1], [100, 0]),  # 99.5 and 0.5: the larger count has the remainder
        ([61, 28, 6, 3, 1, 2], [60, 28, 6, 3, 1, 2]),
    ],
)
def test_whole_percentages_go_to_the_largest_remainders(counts, wholes):
    assert whole_percentages(counts) == wholes


def test_whole_percentages_sum_to_100_and_are_never_off_by_one():
    rng = np.random.default_rng(0)
    for counts in rng.integers(0, 300, (500, 6)):
        counts = [*map(int, counts), 1]
        wholes = whole_percentages(counts)
        assert sum(wholes) == 100
        assert all(abs(whole - 100 * count / sum(counts)) < 1 for whole, count in zip(wholes, counts, strict=True))


def test_counts_of_labels_are_the_same_as_the_labels():
    labels = ["neutrophil"] * 3 + ["SNE"] * 2 + ["ig", "platelet", "erythroblast"]
    assert of_counts({"neutrophil": 3, "SNE": 2, "ig": 1, "platelet": 1, "erythroblast": 1}) == differential(labels)


def test_a_users_ranges_take_the_place_of_the_typical_ones():
    assert share("neutrophil", 50, 100, typical={"neutrophil": (61.0, 70.0)}).mark == "low"
    assert share("neutrophil", 90, 100, typical={}).mark == ""
    assert share("ig", 4, 100, typical={"ig": (0.0, 0.4)}).mark == "high"


def test_a_range_is_kept_by_its_label_whatever_others_there_are():
    found = differential(["neutrophil"] * 50 + ["lymphocyte"] * 50, {"lymphocyte": (20.0, 35.0)})
    assert {one.label: (one.typical, one.mark) for one in found.shares if one.count} == {
        "neutrophil": (None, ""),
        "lymphocyte": ((20.0, 35.0), "high"),
    }


def test_ranges_are_read_as_people_write_them():
    ranges = {"neutrophil": ("45", "70,5"), "basophil": (0, 1.0), "ig": (" 0 ", 100)}
    assert check_ranges(ranges) == {"neutrophil": (45, 70.5), "basophil": (0, 1), "ig": (0, 100)}


@pytest.mark.parametrize("limits", [(None, None), ("", ""), (None, 5), (5, "")])
def test_a_range_without_both_limits_is_none(limits):
    assert check_ranges({"ig": limits, "monocyte": (2, 8)}) == {"monocyte": (2, 8)}


@pytest.mark.parametrize("limits", [("few", 5), (1, "5 %"), (8, 2), (-1, 5), (5, 101), ("nan", 5), (0, "inf")])
def test_a_bad_range_is_one_sentence_that_names_it(limits):
    with pytest.raises(RangeError, match="typical range of monocyte") as caught:
        check_ranges({"neutrophil": (40, 60), "monocyte": limits})
    assert "\n" not in str(caught.value)
