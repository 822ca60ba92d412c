"""python -m cells classify PATH... [--model NAME|FOLDER|HUB_ID] [--out FILE.csv|.xlsx] [--batch-size N]"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from cells import table, workbook
from cells.classifier import BATCH_SIZE, DEFAULT, Classifier, ModelError
from cells.images import SUFFIXES
from cells.partfile import PartFile, PartFileError
from cells.review import Cell, Review
from cells.trust import ERROR


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when every file was read, 1 when some were not (their rows say why), 2 for a wrong call.

    130 when it was stopped by Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return classify(options.paths, options.model, options.out, options.batch_size)
    except (CallError, ModelError, PartFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"stopped; {str(stop) or 'nothing was written'}.", file=sys.stderr)
        return 130


class CallError(Exception):
    """A call that cannot be carried out. Its text is one line for the user."""


def classify(paths: list[str], model: str, out: Path | None, batch_size: int) -> int:
    """Classify files and folders into a file, or into a table on standard output; the exit status."""
    if out is not None:
        _check_writable(out)
    files = [file for path in paths for file in walk(path)]
    classifier = Classifier.load(model)
    if out is not None and out.suffix.lower() == ".csv":
        unread = _write_rows(files, classifier, out, batch_size)
    else:
        unread = _write_at_once(files, classifier, out, batch_size)
    if unread:
        print(f"{unread} of {len(files)} files could not be read; their rows say why.", file=sys.stderr)
    return 1 if unread else 0


def _write_rows(files: list[str], classifier: Classifier, out: Path, batch_size: int) -> int:
    """A CSV, batch by batch as they come, after those that an interrupted call left; how many files could not be read."""
    batches = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    with PartFile(out, batches, str(classifier), classifier.labels) as part, _progress(len(files), part.rows) as progress:
        try:
            for frame in _frames(classifier, batches[part.done :], batch_size):
                part.append(frame)
                progress.update(len(frame))
        except KeyboardInterrupt:
            there = f"{part.rows} of {len(files)} rows are in {part.path}"
            raise KeyboardInterrupt(f"{there}, and the same line carries on") from None
        part.finish()
        return part.unread


def _frames(classifier: Classifier, batches: Sequence[Sequence[str]], batch_size: int) -> Iterator[pd.DataFrame]:
    """The rows of one batch after the other."""
    predictions = classifier.predict(list(chain(*batches)), batch_size=batch_size)
    for batch in batches:
        cells = tuple(map(Cell, islice(predictions, len(batch))))
        yield table.to_frame(Review(cells, str(classifier)), classifier.labels)


def _write_at_once(files: list[str], classifier: Classifier, out: Path | None, batch_size: int) -> int:
    """A workbook, or a table on standard output; how many files could not be read."""
    with _progress(len(files)) as progress:
        cells = []
        for prediction in classifier.predict(files, batch_size=batch_size):
            cells.append(Cell(prediction))
            progress.update()
    review = Review(tuple(cells), str(classifier), review_below=classifier.trust.review_below)
    if out is None:
        print(f"{table.to_text(table.to_frame(review))}\n\nmodel: {classifier}")
    else:
        try:
            workbook.write(review, out)
        except OSError as error:
            raise CallError(f"--out {out} cannot be written: {error.strerror or error}.") from None
    return sum(cell.prediction.status == ERROR for cell in review.cells)


def _progress(total: int, done: int = 0) -> tqdm:
    return tqdm(total=total, initial=done, unit="picture", disable=not sys.stderr.isatty())


def walk(path: str) -> list[str]:
    """The file itself, or the pictures below a folder by their endings, in the order of their names. Raises CallError."""
    if not os.path.isdir(path):
        return [path]  # also a missing one: it becomes a row that says so
    found = []
    # A folder that may not be opened becomes a row that says so.
    for folder, subfolders, names in os.walk(path, onerror=lambda error: found.append(error.filename)):
        subfolders.sort()
        found.extend(os.path.join(folder, name) for name in sorted(names) if _is_picture(name))
    if not found:
        raise CallError(f"the folder {path} holds no picture; the endings looked for are {', '.join(SUFFIXES)}.")
    return found


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")  # hidden ones are other programs' leavings


def _check_writable(out: Path) -> None:
    """Before the work, not after it."""
    if out.suffix.lower() not in (".csv", ".xlsx"):
        raise CallError(f"--out {out}: the ending is to be .csv or .xlsx.")
    if not out.parent.is_dir():
        raise CallError(f"--out {out}: there is no folder {out.parent}.")
    if out.is_dir() or not os.access(out if out.exists() else out.parent, os.W_OK):
        raise CallError(f"--out {out}: it cannot be written there.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m cells", description="Classify pictures of single blood cells.")
    command = parser.add_subparsers(required=True, metavar="classify").add_parser(
        "classify",
        help="classify pictures",
        description="Classify pictures; exit status 0 when every file was read, 1 when some were not, 2 for a wrong call.",
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="a picture, or a folder of pictures (walked)")
    command.add_argument(
        "--model",
        default=DEFAULT,
        metavar="NAME|FOLDER|HUB_ID",
        help=f"an embedded model's name, a model folder or a Hub id (default {DEFAULT})",
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a .csv file, written as the rows come: after an interruption the same line carries on; or .xlsx, which like the "
        "table that is printed without --out is made at the end",
    )
    command.add_argument("--batch-size", type=_positive, default=BATCH_SIZE, metavar="N", help="pictures at a time")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is to be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
