"""What the benchmarks of training share: the recipe as it is measured, its pictures, and the steps that count."""

import io
import os
import time
from pathlib import Path

import datasets
import torch

from cells.classes import LABELS, SUBTYPES
from cells.synthetic import draw_cell
from train import data
from train.batches import Pictures
from train.recipe import Recipe

DRAWN = 256  # different pictures; more files than that are links to these


def as_measured(chosen: Recipe, size: int) -> Recipe:
    """The recipe from nothing, everything trained, at one size, on whatever machine."""
    values = [
        "pretrained=None",
        "teacher=None",
        "gpu=False",
        "freeze_epochs=0",
        "progressive_resizing=()",
        f"image_size={size}",
    ]
    return chosen.override(values)


def write_pictures(folder: Path, n: int) -> None:
    """n JPEG files in folder/TYPE/, as an image folder has them."""
    for number in range(n):
        label = LABELS[number % len(LABELS)]
        file = folder / label / f"{number}.jpg"
        if number < DRAWN:
            file.parent.mkdir(exist_ok=True)
            draw_cell(label, number).save(file, quality=95)
        else:
            os.link(folder / label / f"{number % DRAWN}.jpg", file)


def pbc_rows(per_subtype: int) -> dict[str, list]:
    """Drawn cells with the columns of PBC, so many of each of the 13 subtypes."""
    rows = {"image_id": [], "image": [], "cell_type": [], "cell_subtype": []}
    for index, subtype in enumerate(SUBTYPES):
        for number in range(per_subtype):
            buffer = io.BytesIO()
            draw_cell(subtype.cell_type, seed=100 * index + number).resize((96, 96)).save(buffer, "PNG")
            rows["image_id"].append(f"{subtype.name}_{1000 * index + number}")
            rows["image"].append({"bytes": buffer.getvalue(), "path": None})
            rows["cell_type"].append(subtype.cell_type)
            rows["cell_subtype"].append(subtype.name)
    return rows


def write_parquet(rows: dict[str, list], file: Path) -> None:
    """As the Hub's dataset has them."""
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).to_parquet(file)


def read_pictures(folder: Path) -> datasets.Dataset:
    """What write_pictures wrote, still encoded, with labels."""
    files = sorted(map(str, folder.glob("*/*.jpg")))
    labels = [LABELS.index(Path(file).parent.name) for file in files]
    rows = {"image_id": files, "image": files, "label": labels, "source": ["pbc"] * len(files)}
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image(decode=False))


def decode_pictures(folder: Path, size: int, device: torch.device) -> Pictures:
    """The same, as training takes them."""
    pictures = read_pictures(folder)
    return Pictures(data.decode(pictures, size).to(device), torch.tensor(pictures["label"][:]).to(device))


class Window:
    """Called after each step: notes when those that count begin and end, and says whether they are done."""

    def __init__(self, warm_up: int, steps: int) -> None:
        self.first, self.last = warm_up, warm_up + steps
        self.done, self.times = 0, []

    def __call__(self, step: int = 0) -> bool:
        self.done += 1
        if self.done in (self.first, self.last):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append(time.perf_counter())
        return self.done >= self.last

    @property
    def rate(self) -> float:
        """Steps a second."""
        begin, end = self.times
        return (self.last - self.first) / (end - begin)
