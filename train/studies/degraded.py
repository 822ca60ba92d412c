"""What damage to the pictures costs a model: python -m train degraded MODEL. Writes a table, and a figure beside it.

The cells of the test part, as they are and with noise, blur, uneven light or JPEG compression in four strengths (the stresses
of WBCBench 2026). A picture is damaged as it is stored, before the model's own preprocessing. What chance decides is drawn from
its image_id, the same for every strength and every model. None of these pictures is used to fit a model or its thresholds.
"""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from PIL import Image, ImageFilter

from cells import pbc
from cells.classes import TYPE_OF_SUBTYPE
from cells.colours import COLOURS
from cells.model.classifier import Classifier, classify_all
from cells.model.prediction import Prediction
from cells.model.uncertainty import OK
from cells.pbc import DataError
from cells.read.images import ImageError, read_image
from train import data, figures, laboratories, options

SEED = 42
IDENTITY = ["model", "version", "backend", "damage", "strength", "setting", "pictures", "every"]  # what a row is of
COLUMNS = [*IDENTITY, "accuracy", "ok", "ok_right"]
MODEL_COLOURS = [COLOURS[label] for label in ("neutrophil", "eosinophil", "monocyte", "ig", "basophil")]
MARKERS = "osD^v"

Rng = np.random.Generator


def noise(image: Image.Image, grey_levels: float, rng: Rng) -> Image.Image:
    """Gaussian noise of that standard deviation, independent in each pixel and channel."""
    drawn = rng.standard_normal((image.height, image.width, 3), dtype=np.float32)
    return _picture(np.asarray(image) + grey_levels * drawn)


def blur(image: Image.Image, share: float, rng: Rng) -> Image.Image:
    """A Gaussian whose standard deviation is that share of the picture's width."""
    return image.filter(ImageFilter.GaussianBlur(share * image.width))


def light(image: Image.Image, change: float, rng: Rng) -> Image.Image:
    """Grey levels times a gain, and more at one edge than at the opposite one.

    The gain is 1 + change or 1 / (1 + change). The slope has any direction: along it the factor goes from 1 - change / 2 to
    1 + change / 2 between the corners that lie farthest apart.
    """
    gain = (1 + change) ** rng.choice([-1, 1])
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.linspace(-1, 1, image.width), np.linspace(-1, 1, image.height)[:, None]
    slope = (np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    factor = gain * (1 + change / 2 * slope)
    return _picture(np.asarray(image) * factor[..., None].astype(np.float32))


def jpeg(image: Image.Image, quality: int, rng: Rng) -> Image.Image:
    """Compressed as JPEG of that quality, colours at half the resolution as cameras write them, and read again."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return Image.open(buffer).convert("RGB")


def _picture(pixels: np.ndarray) -> Image.Image:
    """The picture of grey levels (h, w, 3) of any number type, rounded and cut off at 0 and 255."""
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Damage:
    """A kind of damage: apply(picture, level, rng) for each of four levels, from hardly visible to severe."""

    apply: Callable[[Image.Image, float, Rng], Image.Image]
    levels: tuple[float, float, float, float]
    setting: str  # a level in words
    axis: str  # what the levels are, for the figure
    number: str = "{:g}"  # a level on the axis


DAMAGES = {
    "noise": Damage(noise, (5, 10, 20, 40), "sigma {:g} grey levels", "sigma, grey levels"),
    "blur": Damage(blur, (0.003, 0.006, 0.012, 0.024), "sigma {:.1%} of the width", "sigma, % of the width", "{:.1%}"),
    "illumination": Damage(light, (0.05, 0.1, 0.25, 0.5), "gain and slope {:.0%}", "change of gain, and slope", "{:.0%}"),
    "jpeg": Damage(jpeg, (70, 40, 20, 10), "quality {:g}", "JPEG quality"),
}
UNDAMAGED = {"damage": "none", "strength": 0, "setting": "as stored"}


def main(arguments: list[str]) -> int:
    """The command. The same line carries on: finished rows of the same model version and pictures are kept."""
    parser = options.parser(
        "degraded",
        "Measure accuracy, the share of `ok` and how many of these are right on the cells of the test part with noise, blur, "
        "uneven light and JPEG compression. A figure is drawn beside the table. The same line carries on.",
    )
    options.add_models(parser, "results/degraded.csv")
    every = "only every N-th picture, by image_id"
    parser.add_argument("--every", type=options.number_from_2, default=1, metavar="N", help=every)
    chosen = parser.parse_args(arguments)
    finished = read(chosen.out)
    classifiers = [laboratories.load(name) for name in chosen.models]
    if len({one.name for one in classifiers}) < len(classifiers):
        parser.error("two of the models have one name; the rows of a model are found by its name.")
    test = data.part(data.load(chosen.data), chosen.split, "test")
    cells = Cells(test, chosen.every)
    table = finished  # where every row is finished, the figure is drawn again
    for table in measure(classifiers, cells, finished):
        _write(table, chosen.out)
    figures.save(draw(table), chosen.out.with_suffix(".png"))
    return 0


def read(file: Path) -> pd.DataFrame:
    """The rows of an earlier call; none where there is no file. Raises DataError for a file that is no such table."""
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    with open(file, encoding="utf-8", errors="replace") as lines:
        if lines.readline().strip() != ",".join(COLUMNS):
            raise DataError(f"{file} is no table of this command: move it, or give another --out.")
    # A model may be called NA or 18, and the digits of a version may all be decimal.
    return pd.read_csv(file, dtype={"model": str, "version": str}, keep_default_na=False, na_values={"ok_right": [""]})


def _write(table: pd.DataFrame, file: Path) -> None:
    """Replace the file by a whole one, so that a process that is killed leaves the rows that it finished."""
    unfinished = file.with_name(f"{file.name}.part")
    table.to_csv(unfinished, index=False, float_format="%.5g")
    os.replace(unfinished, file)


class Cells:
    """Every N-th picture of a dataset, decoded once. Raises DataError for an unreadable one."""

    def __init__(self, dataset: datasets.Dataset, every: int = 1) -> None:
        dataset = dataset.select(range(0, len(dataset), every))
        self.every = every
        self.types: list[str] = dataset["cell_type"][:]
        self._ids: list[str] = dataset["image_id"][:]
        # Arrays: an opened WebP keeps its decoder, which takes three times the memory of the pixels.
        self._pixels = [np.array(_decoded(*row)) for row in zip(self._ids, dataset["image"][:], strict=True)]

    def __len__(self) -> int:
        return len(self.types)

    def damaged(self, damage: str, strength: int) -> Iterator[Image.Image]:
        """Each picture with a damage of a strength, 1 to 4; strength 0: as it is."""
        for image_id, image in zip(self._ids, map(Image.fromarray, self._pixels), strict=True):
            yield damaged(image, damage, strength, image_id) if strength else image


def damaged(image: Image.Image, damage: str, strength: int, image_id: str) -> Image.Image:
    """The picture with one of DAMAGES, strength 1 to 4; the same for the same image_id."""
    rng = np.random.default_rng([SEED, *image_id.encode()])
    return DAMAGES[damage].apply(image, DAMAGES[damage].levels[strength - 1], rng)


def _decoded(image_id: str, image: dict) -> Image.Image:
    try:
        return read_image(pbc.source_of(image))
    except ImageError as error:
        raise DataError(f"picture {image_id}: {error}") from None


def stresses() -> list[dict]:
    """damage, strength and setting of each row of a model: undamaged, then every damage in its four strengths."""
    damages = [
        {"damage": name, "strength": strength, "setting": damage.setting.format(level)}
        for name, damage in DAMAGES.items()
        for strength, level in enumerate(damage.levels, 1)
    ]
    return [UNDAMAGED, *damages]


def measure(classifiers: Sequence[Classifier], cells: Cells, finished: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the table, with COLUMNS, whenever it has grown by the rows of one damage and strength.

    Rows in `finished` of other models stay; those of these models, if they are of the same version, backend and
    pictures. A picture is damaged once for all models.
    """
    own = {classifier.name: identity(classifier, cells) for classifier in classifiers}
    wanted = {_key(who | stress) for who in own.values() for stress in stresses()}
    rows = [row for row in finished.to_dict("records") if row["model"] not in own or _key(row) in wanted]
    done = {_key(row) for row in rows}
    for stress in stresses():
        lacking = [one for one in classifiers if _key(own[one.name] | stress) not in done]
        if not lacking:
            continue
        for classifier, scores in zip(lacking, _scores(lacking, cells, stress), strict=True):
            rows.append(own[classifier.name] | stress | scores)
            print(_line(rows[-1]), flush=True)
        yield _by_model(rows)


def identity(classifier: Classifier, cells: Cells) -> dict:
    """What the rows of a model have in common, but for the damage."""
    return {
        "model": classifier.name,
        "version": classifier.version,
        "backend": classifier.backend.name,
        "pictures": len(cells),
        "every": cells.every,
    }


def _key(row: dict) -> tuple:
    return tuple(row[name] for name in IDENTITY)


def _scores(classifiers: Sequence[Classifier], cells: Cells, stress: dict) -> Iterator[dict]:
    """accuracy, ok and ok_right of each model, asked as users ask it."""
    answers = classify_all(classifiers, cells.damaged(stress["damage"], stress["strength"]))
    return map(scores, zip(*(predictions for _, *predictions in answers), strict=True), [cells.types] * len(classifiers))


def scores(predictions: Sequence[Prediction], types: Sequence[str]) -> dict[str, float]:
    """The shares of cells that are named rightly (by type) and that are `ok`, and of `ok` ones that are right; NaN of none."""
    answers = [TYPE_OF_SUBTYPE.get(prediction.label, prediction.label) for prediction in predictions]
    right = np.array(answers) == np.array(types)
    ok = np.array([prediction.status == OK for prediction in predictions])
    return {"accuracy": right.mean(), "ok": ok.mean(), "ok_right": right[ok].mean() if ok.any() else np.nan}


def _by_model(rows: list[dict]) -> pd.DataFrame:
    """The rows of each model together, in the order in which the models were first measured."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    return pd.DataFrame(sorted(rows, key=lambda row: models.index(row["model"])), columns=COLUMNS)


def _line(row: dict) -> str:
    words = f"{row['model']:20s} {row['damage']:12s} {row['setting']:26s}"
    return f"{words} accuracy {row['accuracy']:6.1%}  ok {row['ok']:6.1%}  of ok right {row['ok_right']:6.1%}"


def draw(table: pd.DataFrame) -> plt.Figure:
    """A panel for each damage: accuracy and the share of `ok` against strength, a colour for each model."""
    figure, panels = plt.subplots(1, len(DAMAGES), figsize=(11, 3.9), sharey=True, layout="constrained")
    models = list(table["model"].unique())
    styles = {model: (MODEL_COLOURS[i % len(MODEL_COLOURS)], MARKERS[i % len(MARKERS)]) for i, model in enumerate(models)}
    for axes, (name, damage) in zip(panels, DAMAGES.items(), strict=True):
        for model, (colour, marker) in styles.items():
            rows = table[(table["model"] == model) & table["damage"].isin(["none", name])].sort_values("strength")
            axes.plot(rows["strength"], rows["accuracy"], "-", marker=marker, color=colour)
            axes.plot(rows["strength"], rows["ok"], "--", marker=marker, color=colour, markerfacecolor="white")
        axes.set(title=name, xlabel=damage.axis, ylim=(-0.02, 1.02))
        axes.set_xticks(range(len(damage.levels) + 1), ["none", *map(damage.number.format, damage.levels)])
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="share of the test cells")
    keys = [Line2D([], [], color=colour, marker=marker, label=model) for model, (colour, marker) in styles.items()]
    keys += [Line2D([], [], color=figures.GREY, linestyle=dash, label=text) for dash, text in (("-", "accuracy"), ("--", "ok"))]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False)
    return figure
