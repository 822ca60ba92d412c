"""White cells of a whole field found and named, beside Otsu's threshold and beside a sliding window of the classifier.

python -m benchmarks.fields [--repeats N] [--data SOURCE=PLACE ... --split FILE]

Without --data: seconds and peak memory of the process for a drawn field of 1440 x 900 px with ten cells, and for one of
6000 x 4000 px, each in a process of its own; the first picture, which warms the networks, does not count. With --data, as
`python -m train locate` has it: recall and precision on the fields of the validation part. A hit is a box whose centre lies in
a labelled box or at most 5 px outside.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from skimage import filters, measure, morphology

from benchmarks import timing
from cells.locate import find, parts
from cells.locate.find import Box
from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT
from cells.read.images import Source, read_image
from cells.synthetic import FIELD_SIZE, TYPES, draw_field

LARGE = (6000, 4000)
NUCLEUS = 0.15  # of the largest object's area, from which on an object is a nucleus
WINDOW, STEP = 0.2, 0.25  # of the field's width; of the window
Finder = Callable[[Image.Image], list[Box]]


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.fields", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="default %(default)s")
    parser.add_argument("--data", nargs="+", metavar="SOURCE=PLACE", help="measure recall and precision on these fields")
    parser.add_argument("--split", type=Path, metavar="FILE", help="a CSV of image_id and split")
    options = parser.parse_args()
    if options.data:
        accuracy(options.data, options.split)
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in (FIELD_SIZE, LARGE):
            file = f"{folder}/{size[0]}.jpg"
            timing.alone(draw, file, size)
            print(f"{size[0]} x {size[1]} px, ten cells:")
            names = FINDERS if size == FIELD_SIZE else {"ours": FINDERS["ours"]}
            timing.compare({name: partial(timing.alone, seconds, name, file) for name in names}, options.repeats, "s")
            print("\n".join(f"{name}: peak memory {timing.alone(megabytes, name, file):.0f} MB" for name in names))


def draw(file: str, size: tuple[int, int]) -> None:
    draw_field(TYPES, 1, size)[0].save(file, quality=90)


def seconds(name: str, file: str) -> float:
    """From the file to the types of its cells."""
    classifier = Classifier.load(DEFAULT)
    finder = FINDERS[name](classifier)
    named(draw_field(TYPES)[0], finder, classifier)
    start = time.perf_counter()
    named(file, finder, classifier)
    return time.perf_counter() - start


def megabytes(name: str, file: str) -> float:
    """The most that a process held that did nothing else."""
    classifier = Classifier.load(DEFAULT)
    named(file, FINDERS[name](classifier), classifier)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def named(source: Source, finder: Finder, classifier: Classifier) -> list[str]:
    """The label of each cell found."""
    picture = read_image(source)
    pixels = np.asarray(picture)
    crops = [Image.fromarray(parts.crop(pixels, (box.x0, box.y0, box.x1, box.y1))) for box in finder(picture)]
    return [prediction.label for prediction in classifier.predict(crops)]


def ours(classifier: Classifier) -> Finder:
    return find.embedded().find


def otsu(classifier: Classifier) -> Finder:
    """Otsu's threshold of the green light that is absorbed, opened, and its larger objects."""

    def found(picture: Image.Image) -> list[Box]:
        green = np.asarray(picture)[:, :, 1]
        dark = green < filters.threshold_multiotsu(green, 3)[0]  # nuclei, the rest of the cells, the ground
        dark = morphology.opening(dark, morphology.disk(max(picture.width // 400, 1)))
        objects = measure.regionprops(measure.label(dark))
        least = NUCLEUS * max((one.area for one in objects), default=0)
        return [Box(*_widened(one.bbox), 1.0) for one in objects if one.area >= least]

    return found


def _widened(bbox: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    """From a nucleus (upper, left, lower, right) to about its cell."""
    upper, left, lower, right = bbox
    across, down = 0.2 * (right - left), 0.2 * (lower - upper)
    return left - across, upper - down, right + across, lower + down


def window(classifier: Classifier) -> Finder:
    """The classifier at every place: windows that it calls familiar, the surest first, without those that overlap them."""

    def found(picture: Image.Image) -> list[Box]:
        side = round(WINDOW * picture.width)
        step = round(STEP * side)
        places = [(x, y) for y in range(0, picture.height - side + 1, step) for x in range(0, picture.width - side + 1, step)]
        answers = classifier.predict(picture.crop((x, y, x + side, y + side)) for x, y in places)
        boxes = [
            _middle(x, y, side, one.probability) for (x, y), one in zip(places, answers, strict=True) if one.status == "ok"
        ]
        rows = np.array([(box.x0, box.y0, box.x1, box.y1, box.score) for box in boxes]).reshape(-1, 5)
        return [Box(*row) for row in find.without_doubles(rows).tolist()]

    return found


def _middle(x: int, y: int, side: int, score: float) -> Box:
    """The part of a window that a cell fills in PBC's framing."""
    edge = (1 - parts.FILLED) / 2 * side
    return Box(x + edge, y + edge, x + side - edge, y + side - edge, score)


FINDERS = {"ours": ours, "Otsu": otsu, "sliding window": window}


def accuracy(places: list[str], split: Path) -> None:
    """A row for each laboratory and way."""
    from train.locate import evaluation, run

    given = run.parser().parse_args(["--data", *places, "--split", str(split)])
    _, fields = run.fields_of(given)
    classifier, rows = Classifier.load(DEFAULT), []
    for name, way in FINDERS.items():
        finder = way(classifier)
        found = [evaluation.rows_of(field, finder(Image.fromarray(field.image))) for field in fields]
        table = pd.DataFrame([row for each in found for row in each])
        rows += [{"finder": name} | evaluation.scores(own, 0.0001) for _, own in table.groupby("source")]
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
