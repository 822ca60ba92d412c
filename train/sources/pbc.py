"""PBC, Barcelona (Acevedo et al. 2020): 17,092 single cells. A Hub id, parquet files, or the unpacked archive's folder.

Pictures are grouped by looks, since some show the same cells (see duplicates.py). A Hub dataset with the splits train,
validation and test keeps them.
"""

from collections.abc import Sequence
from pathlib import Path

import datasets

from cells import pbc


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources. Raises DataError."""
    place, splits = str(places[0]), {}
    is_hub_id = place.count("/") == 1 and not place.startswith((".", "/")) and not place.endswith(".parquet")
    if len(places) > 1 or Path(place).is_dir() or not is_hub_id:
        dataset = pbc.read([str(one) for one in places])
    else:
        dataset, splits = _read_hub(place)
    rows = len(dataset)
    dataset = dataset.add_column("group", [""] * rows)
    return dataset.add_column("split", [splits.get(image_id, "") for image_id in dataset["image_id"][:]])


def _read_hub(place: str) -> tuple[datasets.Dataset, dict[str, str]]:
    """(rows, image_id -> part where the dataset has all three parts)."""
    try:
        found = datasets.load_dataset(place)
        dataset = datasets.concatenate_datasets(list(found.values()))
    except Exception as error:  # from the Hub, from pyarrow, from a broken repo
        raise pbc.unreadable(place, error) from error
    dataset = pbc.checked(dataset, place)
    if set(found) != set(pbc.PARTS):
        return dataset, {}
    return dataset, {image_id: part for part, rows in found.items() for image_id in rows["image_id"][:]}
