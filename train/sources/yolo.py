"""Boxes as YOLO has them: images/NAME.jpg, and labels/NAME.txt with a line a box: NUMBER X Y WIDTH HEIGHT, shares of a side."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from cells.pbc import DataError


def pairs(places: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """(picture, label file) of the same name anywhere in these folders, by name."""
    images = {file.stem: file for place in places for file in sorted(Path(place).glob("**/images/**/*.jpg"))}
    labels = {file.stem: file for place in places for file in sorted(Path(place).glob("**/labels/**/*.txt"))}
    return ((images[name], labels[name]) for name in sorted(images.keys() & labels.keys()))


def boxes(label_file: Path, image_file: Path, kinds: Sequence[str]) -> list[tuple[list[float], str]]:
    """([x0, y0, x1, y1] in whole pixels, kind) of each line, whose number is an index into `kinds`. Raises DataError."""
    try:
        with Image.open(image_file) as image:
            width, height = image.size
    except OSError as error:
        raise DataError(f"{image_file} cannot be read: {error}") from None
    found = []
    try:
        for line in label_file.read_text().splitlines():
            number, x, y, w, h = line.split()
            x, y, w, h = float(x) * width, float(y) * height, float(w) * width, float(h) * height
            found.append(([float(round(one)) for one in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)], kinds[int(number)]))
    except (ValueError, IndexError) as error:
        line = f"NUMBER X Y WIDTH HEIGHT, NUMBER up to {len(kinds) - 1}"
        raise DataError(f"{label_file}: a line is to be {line}: {error}") from None
    return found
