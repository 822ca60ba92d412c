"""A person's steps through a batch: what stands, what is counted, what is held back, and the JSON that a browser keeps."""

import base64
import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cells import classes
from cells.classes import LABELS, SUBTYPE_LABELS
from cells.messages import message
from cells.model.prediction import Prediction
from cells.read import limits
from cells.read.images import thumbnail
from cells.review import DISAGREE, FORMAT, NOT_A_CELL, TWO_CELLS, Cell, Review, Step, cell_to_json, holding
from cells.synthetic import draw_cell
from cells.write import table

CASES = json.loads((Path(__file__).parent.parent / "page" / "workbench" / "cases.json").read_text())
SMALL = thumbnail(draw_cell("ig"), 32)


def predict(label: str, probability: float = 0.9, status: str = "ok", file: str = "", labels=LABELS, **words) -> Prediction:
    """As a model that says this label, and of every other the same."""
    probabilities = np.full(len(labels), (1 - probability) / (len(labels) - 1))
    probabilities[labels.index(label)] = probability
    return Prediction(file or f"{label}.png", probabilities, status, words.pop("message", ""), labels, **words)


def unreadable(file: str = "broken.png", labels=LABELS) -> Prediction:
    return Prediction(file, None, "error", message("file_empty"), labels)


def review_of(*cells: Prediction | Cell, **options) -> Review:
    """A review whose cells have their places as ids."""
    cells = (cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)
    cells = tuple(replace(cell, id=str(place)) for place, cell in enumerate(cells))
    return Review(cells, "resnet18@0123abcd", **options)


def decide(review: Review, **decisions: str) -> Review:
    """decide(review, c0="ig", c3="two_cells"): a person decides cell 0, then cell 3."""
    steps = review.steps
    for name, decision in decisions.items():
        steps = (*steps, Step(name[1:], len(steps) + 1, decision))
    return replace(review, steps=steps)


def to_json(review: Review, batch: str = "a batch") -> dict:
    """As the browser sends it: through text."""
    seconds = [cell.second.labels for cell in review.cells if cell.second]
    value = {
        "format": FORMAT,
        "batch": batch,
        "created": "2026-02-03T04:05:06Z",
        "model": review.model,
        "second_model": review.second_model,
        "labels": review.labels,
        "second_labels": seconds[0] if seconds else (),
        "classes": classes.to_json(map(review.described, review.labels)),
        "second_classes": classes.to_json(review.second_classes or classes.describe(seconds[0] if seconds else ())),
        "review_below": review.review_below,
        "cells": [cell_to_json(cell) for cell in review.cells],
        "steps": [vars(step) for step in review.steps],
        "comment": review.comment,
    }
    return json.loads(json.dumps(value, allow_nan=False))


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
    assert review.held == (None, "review", "unfamiliar", "error", None)
    decided = decide(review, c1="monocyte", c2="basophil", c3="ig")
    assert decided.counted() == ["neutrophil", "monocyte", "basophil", "ig", "platelet"]
    assert not any(decided.held)


def test_a_persons_word_stands_before_the_models(review):
    changed = decide(review, c0="eosinophil")
    assert changed.counted() == ["eosinophil", "platelet"]
    assert changed.cells[0].prediction.label == "neutrophil"
    assert (changed.standing[0], review.standing[0], review.standing[3]) == ("eosinophil", "neutrophil", None)


def test_to_confirm_is_to_decide_without_a_change(review):
    summary = decide(review, c1="monocyte").summary()
    assert (summary["confirmed"], summary["changed"]) == (1, 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_decision_that_holds_is_the_one_that_the_browser_shows(case):
    assert holding([Step(**step) for step in case["steps"]]) == case["holds"]


@pytest.mark.parametrize("choice", [NOT_A_CELL, TWO_CELLS])
def test_what_a_person_rejects_is_not_counted(review, choice):
    rejected = decide(review, c0=choice, c1=choice)
    assert rejected.counted() == ["platelet"]
    assert rejected.differential().white == 0
    assert rejected.summary()[choice] == 2


def test_the_summary_says_of_every_picture_what_became_of_it(review):
    assert review.summary() == {
        **{"pictures": 5, "changed": 0, "confirmed": 0, "unreviewed": 5},
        **{"review": 1, "unfamiliar": 1, "disagree": 0, "empty": 0, "error": 1, NOT_A_CELL: 0, TWO_CELLS: 0},
    }
    decided = decide(review, c0="ig", c1="monocyte", c2=NOT_A_CELL, c3=TWO_CELLS)
    assert decided.summary() == {
        **{"pictures": 5, "changed": 3, "confirmed": 1, "unreviewed": 1},
        **{"review": 0, "unfamiliar": 0, "disagree": 0, "empty": 0, "error": 0, NOT_A_CELL: 1, TWO_CELLS: 1},
    }


def test_cells_that_two_models_name_differently_are_held_until_a_person_decides():
    pairs = [("ig", "ig"), ("ig", "neutrophil"), ("platelet", "ig"), ("neutrophil", "neutrophil")]
    review = review_of(*(Cell(predict(a), b"", predict(b)) for a, b in pairs))
    assert review.held == (None, DISAGREE, DISAGREE, None)
    assert review.counted() == ["ig", "neutrophil"]
    assert review.summary()["disagree"] == 2
    assert decide(review, c1="neutrophil").counted() == ["ig", "neutrophil", "neutrophil"]


def test_two_models_do_not_disagree_on_what_neither_could_read():
    assert review_of(Cell(unreadable(), b"", unreadable())).held == ("error",)


def test_a_subtype_and_its_type_are_no_disagreement():
    cells = [Cell(predict(code, labels=SUBTYPE_LABELS), b"", predict("neutrophil")) for code in ("SNE", "BNE", "MMY")]
    assert review_of(*cells).held == (None, None, DISAGREE)


def test_the_differential_is_of_what_is_counted(review):
    assert (review.differential().white, review.differential().platelets) == (1, 1)
    found = decide(review, c1="monocyte", c4=NOT_A_CELL).differential({"monocyte": (99.0, 100.0)})
    assert (found.white, found.platelets) == (2, 0)
    assert {one.label: one.mark for one in found.shares if one.count} == {"neutrophil": "", "monocyte": "low"}


# --- what a browser sends ---


@pytest.fixture
def full(review) -> Review:
    """A review with pictures, a second model, a prediction set, a comment and steps."""
    doubtful = predict("ig", 0.5, "review", message=message("review", threshold="0.875"), prediction_set=("ig", "neutrophil"))
    cells = [replace(cell, thumbnail=SMALL, second=predict("ig", 0.7)) for cell in review.cells]
    cells[1] = Cell(doubtful, b"", predict("basophil"), "1")
    cells[3] = Cell(unreadable("ñ 细胞 \x01.png"), b"", unreadable(), "3")
    options = {"second_model": "b@1", "review_below": 0.875, "comment": "Slide 7\n<b>"}
    return decide(replace(review, cells=tuple(cells), **options), c0="ig", c3=TWO_CELLS, c4="platelet")


def test_a_review_comes_from_a_browser_as_it_was(full):
    back = Review.from_json(to_json(full))
    facts = ("model", "second_model", "review_below", "steps", "comment", "labels", "held", "standing")
    assert [getattr(back, fact) for fact in facts] == [getattr(full, fact) for fact in facts]
    assert (back.summary(), back.counted()) == (full.summary(), full.counted())
    assert [(cell.id, cell.thumbnail) for cell in back.cells] == [(cell.id, cell.thumbnail) for cell in full.cells]
    for a, b in zip(back.cells, full.cells, strict=True):
        facts = ("file", "status", "message", "labels", "prediction_set", "label")
        assert [getattr(a.prediction, fact) for fact in facts] == [getattr(b.prediction, fact) for fact in facts]
        for one, other in ((a.prediction, b.prediction), (a.second, b.second)):
            if other.probabilities is None:
                assert one.probabilities is None
            else:
                np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_message_of_another_version_keeps_its_text(full):
    value = to_json(full)
    value["cells"][1]["message"] = {"code": "of the future", "values": {}, "text": "Look."}
    value["cells"][3]["message"] = {"code": "picture_too_large", "values": {"code": "x"}, "text": "Too large."}
    assert [Review.from_json(value).cells[place].prediction.message for place in (1, 3)] == ["Look.", "Too large."]


def test_a_review_without_a_second_model_or_of_nothing_comes_back(review):
    assert all(cell.second is None for cell in Review.from_json(to_json(review)).cells)
    assert Review.from_json(to_json(Review())).cells == ()


def test_a_review_of_subtypes_comes_back_with_an_unreadable_one_first():
    sets = {"prediction_set": ("SNE", "BNE")}
    review = review_of(unreadable(labels=SUBTYPE_LABELS), predict("SNE", labels=SUBTYPE_LABELS, **sets))
    back = Review.from_json(to_json(decide(review, c0="MMY")))
    assert (back.labels, back.counted(), back.cells[1].prediction.prediction_set) == (
        SUBTYPE_LABELS,
        ["MMY", "SNE"],
        ("SNE", "BNE"),
    )
    assert table.to_frame(back).columns.tolist() == table.to_frame(review).columns.tolist()


def test_close_probabilities_keep_their_order():
    probabilities = np.zeros(len(LABELS))
    probabilities[:2] = 0.4999999, 0.5000001
    review = review_of(Prediction("a.png", probabilities, "ok", ""))
    assert Review.from_json(to_json(review)).standing == review.standing == (LABELS[1],)


@pytest.mark.parametrize("value", [None, [], "review", 1, {}, {"cells": []}, {"format": 2, "cells": []}])
def test_what_is_no_review_is_refused(value):
    with pytest.raises(ValueError, match=r".+"):
        Review.from_json(value)


CELL = ("cells", 0)
LARGE = base64.b64encode(thumbnail(draw_cell("ig"), 300)).decode()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *[(("format",), value) for value in (None, 0, 2, "1")],
        *[(("cells",), value) for value in (None, 1, "cells", [None], [[]], [{}], {"0": {}})],
        *[(("review_below",), value) for value in (None, "high", [], 10**400)],
        *[((key,), value) for key in ("model", "second_model", "comment") for value in (None, 1, [])],
        *[(("labels",), value) for value in (None, [], 5, ["ig"] * 8, [1] * 8, [*LABELS, "blast"])],
        *[((*CELL, "id"), value) for value in (None, 0, [], "1")],  # the last is another cell's
        *[((*CELL, "name"), value) for value in (None, 0, [])],
        *[((*CELL, "picture"), value) for value in (None, 5, "no base64!", "é", "abc", "YWJj", PNG, LARGE)],
        *[((*CELL, "second"), value) for value in (0, "", "x", [], {}, {"status": "ok"})],
        *[((*CELL, "message"), value) for value in (0, "x", [], {}, {"code": "file_empty"})],
        *[
            ((*CELL, "probabilities"), value)
            for value in (
                0.5,
                [],
                [0.5, 0.5],
                [0.1] * 9,
                "12345678",
                ["a"] * 8,
                [None] * 8,
                {str(place): 0 for place in range(8)},
            )
        ],
        *[((*CELL, "probabilities"), [value] * 8) for value in (10**400, float("nan"), float("inf"), -1, [])],
        ((*CELL, "probabilities"), None),  # though its status is ok
        *[((*CELL, "status"), value) for value in (None, "fine", "", [], 0)],
        *[((*CELL, "prediction_set"), value) for value in (None, 5)],
        *[((*CELL, "second", "probabilities"), value) for value in ([0.1] * 9, [None] * 8)],
        *[(("steps",), value) for value in (None, 5, "ab", [0], [[0, "ig"]], [{}], {"0": "ig"})],
        *[(("steps", 0, "cell"), value) for value in (None, 0, "9", [], "another batch's")],
        *[(("steps", 0, "number"), value) for value in (None, 0, -1, 0.5, "1", True, [])],
        *[(("steps", 0, "decision"), value) for value in (None, "blast", "SNE", "error", [])],
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_broken_value_is_refused(full, place, value):
    broken = copy.deepcopy(to_json(full))
    inner = broken
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match=r".+"):
        Review.from_json(broken)


@pytest.mark.parametrize(
    "key", ["format", "model", "second_model", "labels", "second_labels", "review_below", "cells", "steps"]
)
def test_a_review_that_lacks_something_is_refused(full, key):
    value = to_json(full)
    del value[key]
    with pytest.raises(ValueError, match="no review"):
        Review.from_json(value)


def test_a_review_of_too_much_is_refused(full, monkeypatch):
    for limit in ("REVIEW_CELLS", "REVIEW_STEPS", "LABELS"):
        with monkeypatch.context() as patched:
            patched.setattr(limits, limit, 2)
            with pytest.raises(ValueError, match="too many"):
                Review.from_json(to_json(full))
