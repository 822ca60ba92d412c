"""A person's steps through a batch: what stands, what is counted, what is held back, and what a browser can keep of it."""

import copy
import json

import numpy as np
import pytest

from cells.classes import LABELS, SUBTYPE_LABELS
from cells.model.prediction import Prediction
from cells.review import DISAGREE, NOT_A_CELL, TWO_CELLS, Cell, Review
from cells.write import table


def predict(label: str, probability: float = 0.9, status: str = "ok", file: str = "", labels=LABELS, **words) -> Prediction:
    """As a model that says this label, and of every other the same."""
    probabilities = np.full(len(labels), (1 - probability) / (len(labels) - 1))
    probabilities[labels.index(label)] = probability
    return Prediction(file or f"{label}.png", probabilities, status, words.pop("message", ""), labels, **words)


def unreadable(file: str = "broken.png", labels=LABELS) -> Prediction:
    return Prediction(file, None, "error", "The file is empty.", labels)


def review_of(*predictions: Prediction, **options) -> Review:
    return Review(tuple(map(Cell, predictions)), "resnet18@0123abcd", **options)


@pytest.fixture
def review() -> Review:
    """A cell of every status: neutrophil, doubtful monocyte, unfamiliar lymphocyte, unreadable, platelet."""
    return review_of(
        predict("neutrophil"),
        predict("monocyte", 0.5, "review"),
        predict("lymphocyte", 0.99, "unfamiliar"),
        unreadable(),
        predict("platelet"),
    )


def test_only_what_the_model_is_sure_of_is_counted_until_a_person_decides(review):
    assert review.counted() == ["neutrophil", "platelet"]
    assert [review.is_open(index) for index in range(5)] == [False, True, True, False, False]
    decided = review.decide(1, "monocyte").decide(2, "basophil").decide(3, "ig")
    assert decided.counted() == ["neutrophil", "monocyte", "basophil", "ig", "platelet"]
    assert not any(decided.is_open(index) for index in range(5))


def test_a_persons_word_stands_before_the_models(review):
    changed = review.decide(0, "eosinophil")
    assert (changed.said(0), changed.is_changed(0)) == ("eosinophil", True)
    assert changed.counted() == ["eosinophil", "platelet"]
    assert changed.cells[0].prediction.label == "neutrophil"
    assert (review.said(0), review.said(3)) == ("neutrophil", None)


def test_to_confirm_is_to_decide_without_a_change(review):
    confirmed = review.decide(1, "monocyte")
    assert not confirmed.is_changed(1)
    assert (confirmed.summary()["confirmed"], confirmed.summary()["changed"]) == (1, 0)


def test_the_last_word_on_a_cell_holds_and_undo_brings_back_the_one_before(review):
    twice = review.decide(0, "ig").decide(1, "ig").decide(0, "basophil")
    assert twice.decisions == {0: "basophil", 1: "ig"}
    assert twice.undo().decisions == {0: "ig", 1: "ig"}
    assert twice.undo().undo().undo().steps == review.steps
    assert review.undo().steps == ()


def test_a_step_leaves_the_review_before_it_as_it_was(review):
    review.decide(0, "ig")
    assert review.steps == ()


@pytest.mark.parametrize("choice", [NOT_A_CELL, TWO_CELLS])
def test_what_a_person_rejects_is_not_counted(review, choice):
    rejected = review.decide(0, choice).decide(1, choice)
    assert rejected.counted() == ["platelet"]
    assert rejected.differential().white == 0
    assert rejected.summary()[choice] == 2


def test_the_choices_are_the_models_labels_and_that_it_is_not_one_cell(review):
    assert review.choices == (*LABELS, NOT_A_CELL, TWO_CELLS)
    subtypes = review_of(unreadable(), predict("SNE", labels=SUBTYPE_LABELS))
    assert subtypes.choices == (*SUBTYPE_LABELS, NOT_A_CELL, TWO_CELLS)
    assert review_of(unreadable()).choices == (*LABELS, NOT_A_CELL, TWO_CELLS)


@pytest.mark.parametrize(("index", "choice"), [(0, "blast"), (0, "SNE"), (0, "error"), (5, "ig"), (-1, "ig")])
def test_what_is_no_choice_is_refused(review, index, choice):
    with pytest.raises(ValueError, match="cannot be said"):
        review.decide(index, choice)


def test_the_summary_says_of_every_picture_what_became_of_it(review):
    assert review.summary() == {
        **{"pictures": 5, "changed": 0, "confirmed": 0, "unreviewed": 5},
        **{"review": 1, "unfamiliar": 1, "disagree": 0, "error": 1, NOT_A_CELL: 0, TWO_CELLS: 0},
    }
    decided = review.decide(0, "ig").decide(1, "monocyte").decide(2, NOT_A_CELL).decide(3, TWO_CELLS)
    assert decided.summary() == {
        **{"pictures": 5, "changed": 3, "confirmed": 1, "unreviewed": 1},
        **{"review": 0, "unfamiliar": 0, "disagree": 0, "error": 0, NOT_A_CELL: 1, TWO_CELLS: 1},
    }


def test_groups_stand_in_a_differentials_order_then_what_is_no_class():
    labels = [*LABELS, "ig", "ig"]
    review = review_of(*map(predict, labels), unreadable(), predict("ig", status="unfamiliar"))
    review = review.decide(8, TWO_CELLS).decide(9, NOT_A_CELL)
    assert list(review.groups()) == [
        *("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig", "erythroblast", "platelet"),
        *(NOT_A_CELL, TWO_CELLS, "unfamiliar", "error"),
    ]


def test_every_cell_is_in_one_group(review):
    for one in (review, review.decide(2, "ig").decide(3, "ig").decide(0, NOT_A_CELL)):
        assert sorted(index for cells in one.groups().values() for index in cells) == list(range(5))


def test_subtypes_stand_with_their_type():
    review = review_of(*(predict(label, labels=SUBTYPE_LABELS) for label in SUBTYPE_LABELS))
    groups = list(review.groups())
    assert set(groups[:3]) == {"SNE", "BNE", "NEUTROPHIL"}
    assert groups[3:7] == ["LY", "MO", "EO", "BA"]
    assert set(groups[7:11]) == {"IG", "MMY", "MY", "PMY"}
    assert groups[11:] == ["ERB", "PLATELET"]


def test_in_a_group_the_most_doubtful_stands_first():
    shares = [("ok", 0.99), ("ok", 0.7), ("review", 0.6), ("review", 0.8), ("ok", 0.5)]
    review = review_of(*(predict("ig", probability, status) for status, probability in shares))
    assert review.groups() == {"ig": [2, 3, 4, 1, 0]}
    assert review.decide(2, "ig").groups() == {"ig": [3, 4, 2, 1, 0]}  # decided, it is no more doubtful than its probability


def test_a_decided_cell_moves_to_the_group_of_its_class(review):
    assert review.groups() == {"neutrophil": [0], "monocyte": [1], "platelet": [4], "unfamiliar": [2], "error": [3]}
    assert review.decide(2, "neutrophil").decide(3, "platelet").groups() == {
        **{"neutrophil": [0, 2], "monocyte": [1]},
        **{"platelet": [3, 4]},
    }


def test_cells_that_two_models_name_differently_stand_first_until_a_person_decides():
    pairs = [("ig", "ig"), ("ig", "neutrophil"), ("platelet", "ig"), ("neutrophil", "neutrophil")]
    review = Review(tuple(Cell(predict(a), b"", predict(b)) for a, b in pairs), "a@0", "b@1")
    assert [review.disagree(index) for index in range(4)] == [False, True, True, False]
    assert next(iter(review.groups().items())) == (DISAGREE, [1, 2])
    assert next(iter(review.decide(1, "ig").groups().items())) == (DISAGREE, [2])
    assert review.decide(1, "ig").groups()["ig"] == [0, 1]


def test_two_models_do_not_disagree_on_what_neither_could_read():
    review = Review((Cell(unreadable(), b"", unreadable()),), "a@0", "b@1")
    assert not review.disagree(0)
    assert review.groups() == {"error": [0]}


def test_a_subtype_and_its_type_are_no_disagreement():
    cells = [Cell(predict(code, labels=SUBTYPE_LABELS), b"", predict("neutrophil")) for code in ("SNE", "BNE", "MMY")]
    assert [Review(tuple(cells)).disagree(index) for index in range(3)] == [False, False, True]


def test_the_differential_is_of_what_is_counted(review):
    assert (review.differential().white, review.differential().platelets) == (1, 1)
    found = review.decide(1, "monocyte").decide(4, NOT_A_CELL).differential({"monocyte": (60.0, 70.0)})
    assert (found.white, found.platelets) == (2, 0)
    assert {one.label: one.mark for one in found.shares if one.count} == {"neutrophil": "", "monocyte": "low"}


# --- what a browser keeps ---


def kept_and_read(review: Review) -> Review:
    """As a browser gives it back: through text."""
    steps = json.loads(json.dumps([list(step) for step in review.steps]))
    return Review.from_json(json.loads(json.dumps(review.to_json(), allow_nan=False)), steps)


@pytest.fixture
def full(review) -> Review:
    """A review with pictures, a second model, a prediction set, and steps."""
    doubtful = predict("ig", 0.5, "review", message="Look.", prediction_set=("ig", "neutrophil"))
    cells = [Cell(cell.prediction, b"\xff\xd8 small", predict("ig", 0.7)) for cell in review.cells]
    cells[1], cells[3] = Cell(doubtful, b"", predict("basophil")), Cell(unreadable("ñ 细胞 \x01.png"), b"", unreadable())
    return Review(tuple(cells), "a@0", "b@1", 0.875).decide(0, "ig").decide(3, TWO_CELLS).decide(0, "neutrophil")


def test_a_review_comes_back_from_a_browser_as_it_was(full):
    back = kept_and_read(full)
    assert (back.model, back.second_model, back.review_below, back.steps) == ("a@0", "b@1", 0.875, full.steps)
    assert (back.groups(), back.summary(), back.counted()) == (full.groups(), full.summary(), full.counted())
    assert [cell.thumbnail for cell in back.cells] == [cell.thumbnail for cell in full.cells]
    for a, b in zip(back.cells, full.cells, strict=True):
        for one, other in ((a.prediction, b.prediction), (a.second, b.second)):
            words = ("file", "status", "message", "labels", "prediction_set", "label")
            assert [getattr(one, word) for word in words] == [getattr(other, word) for word in words]
            if other.ranking:
                np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert back.undo().decisions == full.undo().decisions


def test_a_review_without_a_second_model_comes_back_without(review):
    assert all(cell.second is None for cell in kept_and_read(review).cells)


def test_a_review_of_nothing_comes_back(review):
    assert kept_and_read(Review()).cells == ()


def test_a_review_of_subtypes_comes_back_with_an_unreadable_one_first():
    review = review_of(unreadable(labels=SUBTYPE_LABELS), predict("SNE", labels=SUBTYPE_LABELS, prediction_set=("SNE", "BNE")))
    back = kept_and_read(review.decide(0, "MMY"))
    assert (back.choices, back.cells[1].prediction.prediction_set) == (review.choices, ("SNE", "BNE"))
    assert table.to_frame(back).columns.tolist() == table.to_frame(review).columns.tolist()


def test_close_probabilities_keep_their_order():
    probabilities = np.zeros(len(LABELS))
    probabilities[:2] = 0.4999999, 0.5000001
    review = review_of(Prediction("a.png", probabilities, "ok", ""))
    assert kept_and_read(review).said(0) == review.said(0) == LABELS[1]


PREDICTION = ("cells", 0, "prediction")
SECOND = ("cells", 0, "second")


@pytest.mark.parametrize("kept", [None, [], "review", 1, {}, {"cells": []}, {"cells": 5, "model": "", "second_model": ""}])
def test_what_is_no_review_is_refused(kept):
    with pytest.raises(ValueError, match=r".+"):
        Review.from_json(kept)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *[(("cells",), value) for value in (None, 1, "cells", [None], [[]], [{}], {"0": {}})],
        *[(("review_below",), value) for value in (None, "high", [], 10**400)],
        *[(("cells", 0, "thumbnail"), value) for value in (None, 5, "no base64!", "é", "abc")],
        *[(SECOND, value) for value in (0, "", "x", [], {}, {"file": "a"})],
        *[(PREDICTION, value) for value in (None, 0, "x", [], {})],
        *[
            ((*PREDICTION, "probabilities"), value)
            for value in (0.5, [], [0.5, 0.5], [0.1] * 9, "12345678", ["a"] * 8, [None] * 8)
        ],
        *[((*PREDICTION, "probabilities"), [value] * 8) for value in (10**400, float("nan"), float("inf"), -1, [])],
        ((*PREDICTION, "probabilities"), None),  # though its status is ok
        *[((*PREDICTION, "status"), value) for value in (None, "fine", "", [], 0)],
        *[((*PREDICTION, "prediction_set"), value) for value in (None, 5)],
        *[((*SECOND, "probabilities"), value) for value in ([0.1] * 9, [None] * 8)],
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_kept_value_is_refused(full, place, value):
    kept = copy.deepcopy(full.to_json())
    inner = kept
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match=r".+"):
        Review.from_json(kept)


@pytest.mark.parametrize("key", ["model", "second_model", "review_below", "cells"])
def test_a_kept_review_that_lacks_something_is_refused(full, key):
    kept = full.to_json()
    del kept[key]
    with pytest.raises(ValueError, match="no review"):
        Review.from_json(kept)


@pytest.mark.parametrize(
    "steps",
    [
        *(None, 5, "ab", [0], [[0]], [[0, "ig", 1]], {"0": "ig"}, [[0, "blast"]], [[0, None]], [[0, []]], [[0, "SNE"]]),
        *([[5, "ig"]], [[-1, "ig"]], [["0", "ig"]], [[None, "ig"]], [[0.5, "ig"]], [[float("nan"), "ig"]]),
    ],
    ids=str,
)
def test_broken_steps_are_refused(full, steps):
    with pytest.raises(ValueError, match=r".+"):
        Review.from_json(full.to_json(), steps)


def test_a_sure_cell_on_which_two_models_disagree_is_held_back():
    apart = Cell(predict("ig"), second=predict("neutrophil"))
    review = Review((apart, Cell(predict("ig"), second=predict("ig"))), "m@0", "n@1")
    assert review.counted() == ["ig"]
    assert review.summary()["disagree"] == 1
    assert review.decide(0, "neutrophil").counted() == ["neutrophil", "ig"]
