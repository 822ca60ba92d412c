"""Seoul National University (PLoS ONE 12:e0189259): single cells of bone marrow. They have no licence: measure with them only.

Places: parquet with image_id, image, cell_type and cell_subtype. Each picture is a group of its own.
"""

from collections.abc import Sequence

import datasets

from train.sources import read_parquet


def read(places: Sequence[str]) -> datasets.Dataset:
    """See train/sources. Raises DataError."""
    dataset = read_parquet(places, ("image_id", "image", "cell_type", "cell_subtype"))
    return dataset.add_column("group", dataset["image_id"][:]).add_column("split", [""] * len(dataset))
