"""Johns Hopkins, Baltimore (Sidhom et al. 2021): single cells of patients with acute myeloid leukaemia, grouped by patient.

Places: the clone of github.com/sidhomj/DeepAPL, or its folder Data/All, with .../Patient_NN/.../Signed slides/TYPE/*.jpg; or
parquet with image_id, patient, image, subtype and type. An image_id is the file's name without its suffix.

Its labels are those of routine work. jhu_left_out.csv names the pictures that are left out with a reason each: another cell,
dirt, an artefact. docs/training.md says how they were found.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import datasets

from cells.pbc import DataError
from train.sources import parquet_files, read_parquet

LEFT_OUT = Path(__file__).with_name("jhu_left_out.csv")
# Whose pictures are read; the repository has more patients, and the split and every figure are of these 70.
_NUMBERS = """
    1 2 7 9 10 11 12 13 14 15 16 18 19 20 23 25 27 28 30 31 32 33 35 37 39 40 41 42 44 46 47 48 49 50 51 52 54 57 59
    62 63 65 66 69 70 71 72 73 74 75 77 79 80 81 82 84 85 86 88 89 93 94 95 98 99 100 101 102 103
"""
PATIENTS = {"Clinical_Case", *(f"Patient_{int(number):02}" for number in _NUMBERS.split())}
TYPES = {  # of a folder's name
    "Band neutrophils": "neutrophil",
    "Basophil": "basophil",
    "Blast, no lineage spec": "blast",
    "Eosinophils": "eosinophil",
    "Erythroblast": "erythroblast",
    "Giant thrombocyte": "platelet",
    "Lymphocyte": "lymphocyte",
    "Lymphocyte, variant": "lymphocyte variant",
    "Metamyelocyte": "ig",
    "Monocyte": "monocyte",
    "Myelocyte": "ig",
    "Plasma cells": "plasma cell",
    "Promonocyte": "promonocyte",
    "Promyelocyte": "ig",
    "Segmented neutrophils": "neutrophil",
    "Smudge cells": "smudge",
}


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources; without the pictures of LEFT_OUT. Raises DataError."""
    dataset = _read_all(places)
    with LEFT_OUT.open(newline="") as file:
        left_out = {row["image_id"] for row in csv.DictReader(file)}
    return dataset.select([row for row, image_id in enumerate(dataset["image_id"][:]) if image_id not in left_out])


def _read_all(places: Sequence[str]) -> datasets.Dataset:
    if parquet_files(places):
        dataset = read_parquet(places, ("image_id", "patient", "image", "subtype", "type"))
        names = {"patient": "group", "subtype": "cell_subtype", "type": "cell_type"}
        return dataset.rename_columns(names).add_column("split", [""] * len(dataset))
    files = [file for place in places for file in sorted(Path(place).glob("**/Signed slides/*/*.jpg"))]
    # Other folders, such as artefacts, are no cells.
    patient_of = {file: _patient(file) for file in files if file.parent.name in TYPES}
    files = [file for file, patient in patient_of.items() if patient in PATIENTS]
    if not files:
        raise DataError(f"{places[0]}: no .../Patient_NN/.../Signed slides/TYPE/*.jpg in it; give the clone of DeepAPL.")
    columns = {
        "image_id": [file.stem for file in files],
        "image": [str(file) for file in files],
        "cell_type": [TYPES[file.parent.name] for file in files],
        "cell_subtype": [file.parent.name for file in files],
        "group": [patient_of[file] for file in files],
        "split": [""] * len(files),
    }
    return datasets.Dataset.from_dict(columns)


def _patient(file: Path) -> str:
    """Of .../Data/All/PATIENT/.../Signed slides/TYPE/NAME.jpg; the clone may itself lie in a folder that is called All."""
    folders = file.resolve().parts[:-3]
    above = [number for number, folder in enumerate(folders[:-1]) if folder == "All"]
    return folders[above[-1] + 1] if above else folders[-1]
