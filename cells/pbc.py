"""The PBC dataset on a disk, as parquet or as the unpacked archive, and the file that says which picture is in which part.

It needs the library `datasets`, which no other module of cells does.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np

from cells.classes import LABELS, TYPE_OF_SUBTYPE

COLUMNS = ("image_id", "image", "cell_type", "cell_subtype")
PARTS = ("train", "validation", "test")


class DataError(Exception):
    """The data cannot be used as they are. Its text is one line for the user."""


def read(sources: Sequence[str]) -> datasets.Dataset:
    """Parquet files, or the folder of the unpacked archive -> rows, as `checked` returns them. Raises DataError."""
    if all(source.endswith(".parquet") for source in sources):
        dataset = _read_parquet(sources)
    elif len(sources) == 1 and Path(sources[0]).is_dir():
        dataset = _read_folder(Path(sources[0]))
    else:
        raise DataError(
            f"{' '.join(sources)}: no such files; give parquet files or the folder of the unpacked archive (training takes a "
            "Hub id, USER/NAME, as well)."
        )
    return checked(dataset, sources[0])


def _read_parquet(files: Sequence[str]) -> datasets.Dataset:
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise DataError(f"{missing[0]}: there is no such file.")
    try:
        return datasets.load_dataset("parquet", data_files=list(files), split="train")
    except Exception as error:  # from pyarrow: whatever a broken file makes it raise
        raise unreadable(files[0], error) from error


def unreadable(source: str, error: Exception) -> DataError:
    """Whatever a library raised, as one line."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{source} cannot be read: {reason}")


def _read_folder(folder: Path) -> datasets.Dataset:
    """The unpacked archive: CELL_TYPE/SUBTYPE_NUMBER.jpg, hidden files ignored."""
    files = sorted(path for path in folder.rglob("*.jpg") if not path.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: no .jpg file in it; give the unpacked archive's folder.")
    columns = {
        "image_id": [path.stem for path in files],
        "image": [str(path) for path in files],
        "cell_type": [path.parent.name for path in files],
        "cell_subtype": [path.stem.split("_")[0] for path in files],
    }
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image(decode=False))


def checked(dataset: datasets.Dataset, source: str) -> datasets.Dataset:
    """The columns image_id, image (still encoded), cell_type and cell_subtype (empty where there is none), by image_id.

    Raises DataError.
    """
    missing = [column for column in COLUMNS if column not in dataset.column_names]
    if missing:
        raise DataError(
            f"{source}: no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}, there are "
            f"{', '.join(dataset.column_names)}."
        )
    types, subtypes = dataset["cell_type"][:], dataset["cell_subtype"][:]
    for cell_type, subtype in set(zip(types, subtypes, strict=True)):
        if cell_type not in LABELS or (subtype and TYPE_OF_SUBTYPE.get(subtype) != cell_type):
            raise DataError(
                f"{source}: {subtype!r} in {cell_type!r} is no cell of PBC; types are {', '.join(LABELS)}, subtypes "
                f"{', '.join(TYPE_OF_SUBTYPE)}."
            )
    ids = dataset["image_id"][:]
    if len(set(ids)) < len(ids):
        raise DataError(f"{source}: {len(ids) - len(set(ids))} image_id occur twice; each is to name one picture.")
    _check_labels(dataset, types, source)
    dataset = dataset.select_columns(list(COLUMNS)).cast_column("image", datasets.Image(decode=False))
    return dataset.select(np.argsort(ids))  # so that nothing depends on the order in which rows arrive


def _check_labels(dataset: datasets.Dataset, types: Sequence[str], source: str) -> None:
    """A label column, where there is one, must say the same as the types."""
    if "label" not in dataset.column_names:
        return
    for cell_type, number in sorted(set(zip(types, dataset["label"][:], strict=True))):
        if number != LABELS.index(cell_type):
            raise DataError(
                f"{source}: label {number} stands beside {cell_type!r}, which is {LABELS.index(cell_type)}; labels go from 0 "
                f"to {len(LABELS) - 1}, in the order {', '.join(LABELS)}."
            )


def source_of(image: dict) -> bytes | str:
    """What `datasets` has of an encoded picture: its bytes, or its path."""
    return image["bytes"] or image["path"]


def write_split(path: Path, ids: Sequence[str], parts: Sequence[str]) -> None:
    """A CSV of image_id and split: the file by which anyone can check a figure."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image_id", "split"))
        writer.writerows(zip(ids, parts, strict=True))


def read_split(path: Path) -> dict[str, str]:
    """image_id -> part, from a file that write_split wrote. Raises DataError."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # a spreadsheet saves it with a byte order mark
            rows = {row["image_id"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"--split {path} cannot be read: it is to be a CSV of image_id and split ({error!r}).") from None
    wrong = set(rows.values()) - set(PARTS)
    if wrong or not rows:
        raise DataError(f"--split {path}: parts are {', '.join(PARTS)}; found {', '.join(sorted(wrong)) or 'none'}.")
    return rows
