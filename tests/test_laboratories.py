"""The card of a model of several laboratories: whose pictures, what they ask for, figures of each, blasts, where it fails."""

import json
from pathlib import Path

import pytest

from cells.classes import LABELS
from cells.measures import read_metrics, trained_on
from hub import card
from hub.laboratories import LABORATORIES, blast_text
from train.data import READERS

FOLDER = Path(__file__).resolve().parent.parent / "models" / "resnet18"
OF_PBC_ALONE = (
    *("One hospital, one scanner", "Cells of healthy donors", "of the PBC dataset"),
    *("Not measured for this model", "This was not tried on another laboratory's", "--split results/split.csv"),
)
ROWS = [
    {"name": "seoul", "role": "measured", "split": "all", "pictures": 417, "accuracy": 0.61},
    {"name": "pbc", "role": "trained", "split": "validation", "pictures": 1232, "accuracy": 0.987}
    | {"balanced_accuracy": 0.9884, "five_types": 0.99, "ece": 0.042, "ok_share": 0.951, "ok_correct": 0.996},
    {"name": "chula", "role": "left out", "split": "all", "pictures": 509, "accuracy": 0.82}
    | {"balanced_accuracy": None, "five_types": 0.82, "ok_share": 0.4, "ok_correct": 0.95},
    {"name": "jhu", "role": "left out", "split": "all", "pictures": 10000, "accuracy": 0.7}
    | {"balanced_accuracy": 0.72, "five_types": 0.87, "ok_share": 0.5, "ok_correct": 0.97},
]
BLAST = {
    "threshold": 0.1234,
    "cells": {"sensitivity": 0.912, "specificity": 0.951, "auc": 0.9731, "n_blast": 400, "n_other": 1500}
    | {"sensitivity_interval": [0.85, 0.96], "specificity_interval": [0.9, 0.98], "sensitivity_at_95": 0.8},
    "patients": {"sensitivity": 1.0, "specificity": None, "n_blast": 9, "n_other": 0},
    "others": {"pbc": {"pictures": 1232, "suspected": 2}},
}


def written(**more: object) -> str:
    """The card of the figures of resnet18, with what a run or a study adds to its metrics.json."""
    config, trust = (json.loads((FOLDER / f"{name}.json").read_text()) for name in ("config", "trust"))
    metrics = read_metrics(FOLDER / "metrics.json")
    del metrics["laboratories"]
    return card.fill("any", config, metrics | more, trust, 10_000_000)


@pytest.fixture(scope="module")
def text() -> str:
    return written(sources=["pbc", "jhu", "chula"], laboratories=ROWS, blast=BLAST)


def test_the_sentences_on_one_hospital_stand_only_on_the_card_of_a_model_of_pbc_alone(text):
    alone = " ".join(written().split())
    assert all(words in alone for words in OF_PBC_ALONE)
    assert written(sources=["pbc"]) == written()
    for other in (text, written(sources=["chula"]), written(sources=["pbc"], laboratories=ROWS)):
        found = " ".join(other.split())
        assert not [words for words in OF_PBC_ALONE[:-1] if words in found]
    assert OF_PBC_ALONE[-1] not in text
    assert "its 17,092 pictures" in " ".join(written(sources=["pbc"], laboratories=ROWS).split())


def test_the_card_names_each_laboratory_its_patients_its_licence_and_what_it_asks_for(text):
    for name in ("pbc", "jhu", "chula"):
        one = LABORATORIES[name]
        assert f"- {one.title}: {one.pictures}." in text
        assert f"  - {one.title}: {one.source}. Licence: {one.licence}" in text
        assert one.limit in text
    assert f"- {LABORATORIES['seoul'].title}: {LABORATORIES['seoul'].pictures}." in text  # it was measured
    assert LABORATORIES["seoul"].source not in text  # no model is trained on it
    assert "chehablab/PBC jhu=PLACE chula=PLACE --split results/split_laboratories.csv" in text
    assert "\nlicense: other\nlicense_name: see-card\n" in text
    assert "license: cc-by-4.0" in written()
    assert "not for diagnosis" in text
    assert "$" not in text


def test_the_table_has_a_row_a_laboratory_those_that_it_learnt_from_first(text):
    rows = [line for line in text.splitlines() if line.startswith(tuple(f"| {one.title} |" for one in LABORATORIES.values()))]
    assert [row.split(" | ")[1] for row in rows] == ["trained", "left out", "left out", "measured"]
    assert rows[0].endswith("| trained | validation | 1,232 | 0.9870 | 0.9884 | 0.9900 | 0.0420 | 95.1% | 99.6% |")
    assert rows[1].endswith("| left out | all | 509 | 0.8200 |  | 0.8200 |  | 40.0% | 95.0% |")
    assert rows[3].endswith("| measured | all | 417 | 0.6100 |  |  |  |  |  |")


def test_the_card_says_where_it_fails_most_among_laboratories_that_it_did_not_learn_from(text):
    worst = LABORATORIES["chula"].title
    assert f"It fails most on {worst} (left out): 82% of five types were right there, and 95% of those called `ok`." in text
    assert "fewest were right" not in text  # on the same laboratory
    sure = written(sources=["pbc", "chula"], laboratories=[*ROWS, ROWS[-1] | {"name": "seoul", "ok_correct": 0.32}])
    assert f"Of the cells called `ok`, fewest were right on {LABORATORIES['seoul'].title} (left out): 32%." in sure
    assert "How often it fails on one was not measured" in written(sources=["pbc", "chula"])
    unknown = {"name": "seoul", "role": "measured", "split": "all", "pictures": 0, "accuracy": None}  # no class that it knows
    assert "was not measured" in written(sources=["pbc", "chula"], laboratories=[unknown])


def test_the_card_says_that_temperature_and_threshold_come_from_other_laboratories_too(text):
    words = "and on laboratories that other runs left out"
    limits = {"temperature": 1.2, "review_below": {}, "farther": 1.5}
    fitted = " ".join(written(sources=["pbc", "jhu"], left_out=limits).split())
    assert f"The threshold was set on validation pictures {words};" in fitted
    assert f"fitted on validation {words}. In the laboratories of the training the probabilities are too low" in fitted
    assert words not in " ".join(text.split())
    assert words not in written(sources=["pbc", "jhu"], left_out={})


def test_the_card_names_the_threshold_of_each_class():
    config, trust = (json.loads((FOLDER / f"{name}.json").read_text()) for name in ("config", "trust"))
    thresholds = [0.7, 0.75, 0.98, 0.99, 0.9, 0.91, 1.1, 0.8]
    text = card.fill("any", config, read_metrics(FOLDER / "metrics.json"), trust | {"review_below": thresholds}, 10_000_000)
    assert "Below a probability that depends on the class (basophil 0.700, eosinophil 0.750," in text
    assert "neutrophil always, platelet 0.800) a cell gets the status `review`" in text


def test_without_a_study_the_table_is_of_the_test_pictures_of_each_source():
    test = read_metrics(FOLDER / "metrics.json")["test"]
    text = written(test_by_source={"pbc": test, "utrecht": test | {"accuracy": 0.5, "kappa": float("nan")}})
    assert "| Hospital Clínic, Barcelona (PBC) | trained | test | 3,080 | 0.9864 |" in text
    assert "| utrecht | trained | test | 3,080 | 0.5000 |" in text
    assert "- utrecht: not described." in text
    assert text.count("value: 0.9864") == 1  # the Hub shows the figures of each by themselves
    assert text.count("value: 0.5\n") == 1
    assert "name: utrecht" in text
    assert "nan" not in text


def test_the_operating_point_of_blasts_is_stated_by_cell_and_by_patient(text):
    assert "a probability of `blast` of at least 0.123" in text
    assert "| cells | 0.912 (0.850 to 0.960) | 0.951 (0.900 to 0.980) | 0.973 | 0.800 | 400 | 1,500 |" in text
    assert "| patients, positive from one suspected cell on | 1.000 |  |  |  | 9 | 0 |" in text
    assert "laboratories without blasts: 2 of 1,232 (Hospital Clínic, Barcelona (PBC))." in text
    assert "Measured on these validation patients, in" in text
    assert "Measured on these test patients, in" in blast_text(BLAST | {"part": "test patients"})
    assert "### Blasts" not in written()
    assert "patients with a blast" not in blast_text({key: BLAST[key] for key in ("threshold", "cells")})


def test_recall_is_stated_for_each_laboratory():
    of = {"pbc": {"ig": {"pictures": 207, "recall": 0.9614}}, "jhu": {"ig": {"pictures": 1155, "recall": 0.413}}}
    text = written(sources=["pbc", "jhu"], validation_recall=of)
    assert "| immature granulocyte | 0.961 (207) | 0.413 (1,155) |" in text
    assert "| platelet |  |  |" in text


def test_a_model_that_knows_blasts_does_not_say_that_it_does_not(text):
    assert "No blasts, no lymphoma cells" in text  # these figures are of eight types
    test = read_metrics(FOLDER / "metrics.json")["test"]
    confusion = {label: [*row, 0] for label, row in test["confusion"].items()} | {"blast": [0] * len(LABELS) + [5]}
    ten = written(sources=["pbc", "jhu"], test=test | {"confusion": confusion})
    assert "No lymphoma cells, no parasites" in ten
    assert "No blasts" not in ten


def test_every_laboratory_that_can_be_trained_on_is_described():
    assert READERS.keys() <= LABORATORIES.keys()
    assert all(one.title and one.pictures and one.source and one.licence for one in LABORATORIES.values())
    assert (trained_on({}), trained_on({"sources": ["chula"]})) == (["pbc"], ["chula"])
