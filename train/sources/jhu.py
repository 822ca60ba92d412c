"""Johns Hopkins, Baltimore (Sidhom et al. 2021): single cells of patients with acute myeloid leukaemia, grouped by patient.

Places: the clone of github.com/sidhomj/DeepAPL, or its folder Data/All, with .../Patient_NN/.../Signed slides/TYPE/*.jpg; or
parquet with image_id, patient, image, subtype and type.
"""

from collections.abc import Sequence
from pathlib import Path

import datasets

from cells.pbc import DataError
from train.sources import parquet_files, read_parquet

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
    """See train/sources. Raises DataError."""
    if parquet_files(places):
        dataset = read_parquet(places, ("image_id", "patient", "image", "subtype", "type"))
        names = {"patient": "group", "subtype": "cell_subtype", "type": "cell_type"}
        return dataset.rename_columns(names).add_column("split", [""] * len(dataset))
    files = [file for place in places for file in sorted(Path(place).glob("**/Signed slides/*/*.jpg"))]
    files = [file for file in files if file.parent.name in TYPES]  # others, such as artefacts, are no cells
    if not files:
        raise DataError(f"{places[0]}: no .../Patient_NN/.../Signed slides/TYPE/*.jpg in it; give the clone of DeepAPL.")
    patients = [next((part for part in file.parts if part.startswith("Patient_")), "") for file in files]
    columns = {
        "image_id": [f"{patient}/{file.parent.name}/{file.stem}" for patient, file in zip(patients, files, strict=True)],
        "image": [str(file) for file in files],
        "cell_type": [TYPES[file.parent.name] for file in files],
        "cell_subtype": [file.parent.name for file in files],
        "group": patients,
        "split": [""] * len(files),
    }
    return datasets.Dataset.from_dict(columns)
