"""What a model card says of laboratories: whose pictures they are, of which patients, what each asks for, and its figures.

A card of a model of PBC alone says it in the words of PBC; one of several laboratories says it of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template

from cells.classes import BLAST
from cells.measures import HOME, HUB_ID, trained_on


@dataclass(frozen=True)
class Laboratory:
    """Where pictures come from: what a reader of a card is to know of them. The texts are parts of sentences."""

    title: str
    pictures: str  # how they were taken, of which patients
    source: str  # what to cite, and where the pictures are
    licence: str  # and what it asks for
    limit: str = ""  # sentences
    dataset: str = ""  # its name on the Hub or on GitHub


LABORATORIES = {  # by their names in train/sources
    HOME: Laboratory(
        title="Hospital Clínic, Barcelona (PBC)",
        pictures="single cells of healthy donors, who cannot be told apart; CellaVision DM96, May-Grünwald-Giemsa",
        source="Acevedo, Merino, Alférez, Molina, Boldú and Rodellar, *A dataset of microscopic peripheral blood cell images "
        "for development of automatic recognition systems*, Data in Brief 30:105474 (2020), Mendeley Data snkd93bnjr",
        licence="CC BY 4.0, which asks to name the authors and to say what was changed",
        dataset=HUB_ID,
    ),
    "jhu": Laboratory(
        title="Johns Hopkins, Baltimore",
        pictures="single cells of 70 patients with acute myeloid leukaemia, promyelocytic among them, 14 for validation; "
        "CellaVision",
        source="Sidhom, Shenderov et al., npj Precision Oncology (2021), github.com/sidhomj/DeepAPL; the same data as the "
        "article's data record, doi 10.6084/m9.figshare.14294675",
        licence="the repository's licence file names the owner and grants nothing; for the data record, see the record",
        limit="Its blasts are those of acute myeloid leukaemia: how many lymphoblasts are found was not measured. Its reactive "
        "lymphocytes, promonocytes and plasma cells were left out; results/README.md says what models call such cells. Its "
        "labels are those of routine work, not of several experts.",
        dataset="sidhomj/DeepAPL",
    ),
    "chula": Laboratory(
        title="Chulalongkorn University, Bangkok",
        pictures="boxed white cells of five types in whole fields, by a camera on an eyepiece; the patients are not described",
        source="github.com/singgihbekti/WBC_Dataset",
        licence="MIT, which asks to keep its notice",
        dataset="singgihbekti/WBC_Dataset",
    ),
    "raabin": Laboratory(
        title="Raabin-WBC, Tehran",
        pictures="white cells in whole fields, of another microscope, camera and stain",
        source="Kouzehkanan et al., Scientific Reports 12:1123 (2022), with boxes of github.com/lugan113/TXL-PBC_Dataset",
        licence="MIT for the boxes, which asks to keep its notice; for the pictures, see the article",
        limit="The types of its clear cells were given by looking at each, with a network's answers in view and by no "
        "haematologist, so its figures may be too high.",
        dataset="lugan113/TXL-PBC_Dataset",
    ),
    "seoul": Laboratory(
        title="Seoul National University",
        pictures="single cells of bone marrow, cut closely; those of the five types are all neutrophils",
        source="PLoS ONE 12:e0189259, github.com/JinwooChoi9/wbc_plosone",
        licence="none was given, so no model is trained on them",
        dataset="JinwooChoi9/wbc_plosone",
    ),
}

PBC_DATA = """\
- Data: $train_pictures training and $validation_pictures validation pictures, from a copy of PBC with $all_pictures of
  its 17,092 pictures, stored as $picture_format. Acevedo, Merino, Alférez, Molina, Boldú and Rodellar, *A dataset of \
microscopic
  peripheral blood cell images for development of automatic recognition systems*, Data in Brief 30:105474 (2020), Mendeley
  Data snkd93bnjr, licence CC BY 4.0.
- Split: stratified by subtype, a fifth to test (as in the thesis) and a tenth of the rest to validation. Pictures that show
  the same cells (copies, overlapping crops) are in one part. PBC does not say which donor a picture is of, so a donor can be
  in two parts. `results/split.csv` in the repository names the part of every picture."""
DATA = """\
- Data: $train_pictures training and $validation_pictures validation pictures, of
$sources
- Licence: the weights have no licence of their own. Check whether the licences of the training pictures allow your use.
- Split: a patient, a slide, and pictures that show the same cells (copies, overlapping crops) are in one part. PBC does not
  say which donor a picture is of, so a donor of PBC can be in two parts. `results/split_laboratories.csv` in the repository
  names the part of every picture."""
PBC_LIMITS = """\
- One hospital, one scanner (CellaVision DM96), one stain (May-Grünwald-Giemsa). Networks of this kind are known to fail on
  another laboratory's pictures, and to be confident when they do (Tsutsui et al. 2023: a ResNet50 scored 0.23 on each
  of two other datasets). Not measured for this model: measure it on your own pictures first.
- Cells of healthy donors, one cell in the middle of each picture. No blasts, no lymphoma cells, no parasites: such a cell
  gets one of these names, and may not be called unfamiliar."""
SECTION = """## Laboratories

$sources

$table
"""
TABLE_NOTE = """
Trained: measured on other pictures of a laboratory that the model learnt from. Left out: measured with another, shorter run.
Neither its training nor its thresholds used this laboratory; classes that this run does not know are not counted. Measured: no
model of this kind was trained on it. Five types: accuracy on neutrophils, lymphocytes, monocytes, eosinophils and basophils,
where only these may be answered. Calibration error: the expected calibration error; it is empty where it was not measured.
Right: the share of the cells called `ok` that were named rightly.
"""
ROLES = ("trained", "left out", "measured")
COLUMNS = ("accuracy", "balanced_accuracy", "five_types", "ece", "ok_share", "ok_correct")  # each may be absent from a row
BLAST_TEXT = """
### Blasts

A cell with a probability of `blast` of at least $threshold is a suspected blast, whatever class is more probable. Its status is
never `ok`, and page, report and command line say how many such cells there are: a pathologist decides. A suspected blast is not
a diagnosis, and a smear without one may contain blasts. The threshold was chosen on validation patients, for sensitivity.
Measured on these $part, in brackets the 95 % bootstrap interval over patients:

| | sensitivity | specificity | area under the ROC curve | sensitivity at a specificity of 0.95 | blasts | others |
| --- | --- | --- | --- | --- | --- | --- |
$rows

The threshold gives this sensitivity on these patients by construction; on others it will differ. In a patient with leukaemia
many immature granulocytes are leukaemic too, so the cells are also counted without them. All blasts are of one laboratory, from
whose other patients the model learnt: how many are found elsewhere was not measured.$others
"""
BLAST_ROWS = {
    "cells": "cells",
    "cells_but_ig": "cells but immature granulocytes",
    "patients": "patients, positive from one suspected cell on",
}


def is_home_alone(metrics: Mapping) -> bool:
    """Whether PBC is all that a model was trained on and measured on, as the sentences on one hospital say."""
    return trained_on(metrics) == [HOME] and not metrics.get("laboratories")


def words(metrics: Mapping, labels: Sequence[str]) -> dict[str, object]:
    """What the card's template takes: the texts that depend on the laboratories."""
    if is_home_alone(metrics):
        home = {"of_dataset": " of the PBC dataset", "of_all": "", "laboratories": "", "data": PBC_DATA}
        return home | {"limits": PBC_LIMITS}
    names = trained_on(metrics)
    cited = ";\n".join(f"  - {_of(name).title}: {_of(name).source}. Licence: {_of(name).licence}" for name in names)
    named = dict.fromkeys([*names, *(row["name"] for row in _rows(metrics))])
    shown = "\n".join(f"- {_of(name).title}: {_of(name).pictures}." for name in named)
    return {
        "of_dataset": "",
        "of_all": _of_all(metrics),
        "laboratories": Template(SECTION).substitute(sources=shown, table=_table(_rows(metrics))).rstrip() + "\n\n",
        "data": PBC_DATA if names == [HOME] else DATA.replace("$sources", cited + "."),
        "limits": _limits(metrics, labels),
    }


def _of_all(metrics: Mapping) -> str:
    """Whose the test pictures are."""
    tested = list(metrics.get("test_by_source") or trained_on(metrics))
    if len(tested) == 1:
        return f" of {title(tested[0])}"
    return " of all its laboratories together"


def title(name: str) -> str:
    """The laboratory of a source, in words."""
    return _of(name).title


def by_role(rows: Sequence[Mapping]) -> list[Mapping]:
    """Rows of `laboratories` of a metrics.json: those that the model learnt from first. Raises KeyError, ValueError."""
    return sorted(rows, key=lambda row: ROLES.index(row["role"]))


def _of(name: str) -> Laboratory:
    return LABORATORIES.get(name) or Laboratory(name, "not described", "not described", "not described")


def _rows(metrics: Mapping) -> list[Mapping]:
    """The rows of the table: those of the studies, otherwise what the run measured of each source's test pictures."""
    tested = metrics.get("test_by_source") or {}
    return metrics.get("laboratories") or [
        {"name": name, "role": "trained", "split": "test", **{key: one.get(key) for key in ("pictures", *COLUMNS)}}
        for name, one in tested.items()
    ]


def _table(rows: Sequence[Mapping]) -> str:
    if not rows:
        return ""
    lines = [
        "| laboratory | | part | pictures | accuracy | balanced accuracy | five types | calibration error | `ok` | right |",
        f"|{' --- |' * 10}",
    ]
    for row in by_role(rows):
        figures = (_figure(row.get(key), f".{'1%' if key.startswith('ok') else '4f'}") for key in COLUMNS)
        first = (title(row["name"]), row["role"], row["split"], f"{row['pictures']:,}")
        lines.append(f"| {' | '.join((*first, *figures))} |")
    return "\n".join(lines) + "\n" + TABLE_NOTE


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _limits(metrics: Mapping, labels: Sequence[str]) -> str:
    names, knows_blasts = trained_on(metrics), BLAST.name in labels
    titles = [title(name) for name in names]
    listed = " and ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))
    lines = [
        f"- It learnt from {len(names)} laborator{'y' if len(names) == 1 else 'ies'}: {listed}. Stain, camera and scale of "
        f"another laboratory are new to it.{_worst(_rows(metrics))} Measure it on your own pictures first."
    ]
    lines += [f"- {_of(name).title}: {_of(name).limit}" for name in names if _of(name).limit]
    unknown = "No lymphoma cells" if knows_blasts else "No blasts, no lymphoma cells"
    lines.append(
        f"- One cell in the middle of each picture. {unknown}, no parasites: such a cell gets one of these names, and may not "
        "be called unfamiliar."
    )
    return "\n".join(lines)


def _worst(rows: Sequence[Mapping]) -> str:
    """Where it fails most, of the laboratories that the measured model did not learn from."""
    foreign = [row for row in rows if row["role"] != "trained" and row.get("accuracy") is not None]
    if not foreign:
        return " How often it fails on one was not measured."
    of_five = [row for row in foreign if row.get("five_types") is not None]
    key = "five_types" if of_five else "accuracy"
    row = min(of_five or foreign, key=lambda row: row[key])
    of = "of five types" if key == "five_types" else "of all cells"
    text = f" It fails most on {title(row['name'])} ({row['role']}): {row[key]:.0%} {of} were right there"
    right = row.get("ok_correct")
    text += "." if right is None else f", and {right:.0%} of those called `ok`."
    sure = min(foreign, key=lambda row: 1 if row.get("ok_correct") is None else row["ok_correct"])
    if sure is row or sure.get("ok_correct") is None:
        return text
    where = f"{title(sure['name'])} ({sure['role']})"
    return f"{text} Of the cells called `ok`, fewest were right on {where}: {sure['ok_correct']:.0%}."


def blast_text(measured: Mapping | None) -> str:
    """The part of a card on suspected blasts, from `blast` of a metrics.json; nothing without it."""
    if not measured:
        return ""
    return Template(BLAST_TEXT).substitute(
        threshold=f"{measured['threshold']:.4f}",
        part=measured.get("part", "validation patients"),
        others=_others(measured.get("others") or {}),
        rows="\n".join(_blast_row(said, one) for key, said in BLAST_ROWS.items() if (one := measured.get(key))),
    )


def _blast_row(said: str, one: Mapping) -> str:
    detected = (_with_interval(one, key) for key in ("sensitivity", "specificity"))
    of_all = (_figure(one.get(key), ".3f") for key in ("auc", "sensitivity_at_95"))
    return f"| {' | '.join((said, *detected, *of_all))} | {one['n_blast']:,} | {one['n_other']:,} |"


def _with_interval(one: Mapping, key: str) -> str:
    limits = one.get(f"{key}_interval")
    return _figure(one.get(key), ".3f") + (f" ({limits[0]:.3f} to {limits[1]:.3f})" if limits else "")


def _others(of: Mapping) -> str:
    """How many cells of laboratories without a blast are suspected."""
    said = (f"{one['suspected']} of {one['pictures']:,} ({title(name)})" for name, one in of.items())
    return f" Suspected\namong the validation cells of laboratories without blasts: {', '.join(said)}." if of else ""
