"""The laboratories whose pictures a recipe can be trained on: one module each, whose `read(places)` gives their rows.

A new laboratory is a module here and a line in READERS. Its rows are a datasets.Dataset with the columns of FEATURES:

- image_id: names one picture of the laboratory;
- image: still encoded;
- cell_type, cell_subtype: names, as a recipe's `classes` spell them; the second may be empty;
- group: what must stay in one part of a split, such as a patient or a slide; empty where pictures are grouped by looks;
- split: train, validation or test, where the source says so itself; otherwise empty.
"""

from collections.abc import Sequence
from pathlib import Path

import datasets

from cells.pbc import DataError, unreadable

FEATURES = datasets.Features(
    {
        name: datasets.Image(decode=False) if name == "image" else datasets.Value("string")
        for name in ("image_id", "image", "cell_type", "cell_subtype", "group", "split")
    }
)


def parquet_files(places: Sequence[str]) -> list[str]:
    """The parquet files among places, and within the folders among them; none where a place is something else."""
    found = []
    for place in map(Path, places):
        inside = sorted(place.glob("*.parquet")) if place.is_dir() else [place]
        if not inside or not all(file.suffix == ".parquet" for file in inside):
            return []
        found += map(str, inside)
    return found


def read_parquet(places: Sequence[str], columns: Sequence[str]) -> datasets.Dataset:
    """Rows with at least these columns. Raises DataError."""
    files = parquet_files(places)
    missing = [file for file in files if not Path(file).is_file()] or ([] if files else [places[0]])
    if missing:
        raise DataError(f"{missing[0]}: there is no parquet file.")
    try:
        dataset = datasets.load_dataset("parquet", data_files=files, split="train")
    except Exception as error:  # from pyarrow: whatever a broken file makes it raise
        raise unreadable(files[0], error) from error
    lacking = [column for column in columns if column not in dataset.column_names]
    if lacking:
        raise DataError(f"{files[0]}: no column {', '.join(lacking)}; there are {', '.join(dataset.column_names)}.")
    return dataset.select_columns(list(columns))
