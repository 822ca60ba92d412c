"""python -m cells classify PATH... [--model NAME|FOLDER|HUB_ID] [--as HOW] [--out FILE] [--batch-size N]
[--no-batch-statistics] [--ray [ADDRESS]]

python -m cells adapt FOLDER|CSV --out FOLDER [--model NAME|FOLDER|HUB_ID]"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from tqdm import tqdm

from cells import cluster
from cells.labelled import read_labelled
from cells.locate.parts import AUTO, CELL, FIELD, HOW
from cells.messages import Error
from cells.model import batch_statistics
from cells.model.classifier import Classifier, Prediction
from cells.model.folder import DEFAULT
from cells.model.uncertainty import EMPTY, ERROR
from cells.read.archive import ArchiveError, expand_archives, is_archive
from cells.read.find_images import CallError, find_images
from cells.read.images import Source
from cells.review import Cell, Review
from cells.write import adapted_card, coco, excel, table
from cells.write.resumable_csv import ResumableCsv, ResumableCsvError

if TYPE_CHECKING:
    from cells.model.adapt import Adapted

COCO = ".json"
BATCH_SIZE = 32  # pictures whose rows are made, and written, together
BATCH_STATISTICS = (
    "Most pictures are unfamiliar: the network takes its batch-norm statistics from them in part, and no cell is ok "
    "(--no-batch-statistics: as it was trained)."
)


class Found(NamedTuple):
    """What the last lines of a call say: numbers of pictures, and of cells."""

    total: int
    unread: int
    blasts: int  # suspected ones
    fields: int = 0
    cells: int = 0  # in the fields

    def lines(self) -> Iterator[str]:
        """Sentences, as far as there is something to say."""
        if self.fields:
            yield f"{self.fields} of {self.total} pictures are fields, with {self.cells} white cells; --as cell changes that."
        if self.blasts:
            who = "1 cell may be a blast" if self.blasts == 1 else f"{self.blasts} cells may be blasts"
            yield f"{who}: a pathologist decides."
        if self.unread:
            yield f"{self.unread} of {self.total} files could not be read; their rows say why."


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when every file was read, 1 when some were not (their rows say why), 2 for a wrong call.

    130 when it was stopped by Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (CallError, ResumableCsvError, Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"stopped; {str(stop) or 'nothing was written'}.", file=sys.stderr)
        return 130


def _classify(options: argparse.Namespace) -> int:
    given = options.paths, options.model, options.out, options.batch_size
    return classify(*given, address=options.ray, how=options.how, has_batch_statistics=options.batch_statistics)


def _adapt(options: argparse.Namespace) -> int:
    return adapt_to(options.cells, options.model, options.out)


def adapt_to(cells: Path, model: str, out: Path) -> int:
    """Write a model folder that is adapted to labelled cells (cells/labelled.py); the exit status."""
    from cells.model import adapt  # PyTorch, which takes seconds

    if out.exists() or not out.absolute().parent.is_dir():
        raise CallError(f"--out {out}: give a folder that does not exist yet, in one that does.")
    base = Classifier.load(model)  # before the pictures, which take longer
    pictures, labels = read_labelled(cells)
    with tqdm(total=100, unit="%", disable=not sys.stderr.isatty()) as progress:
        adapted = adapt.adapt(base, pictures, labels, lambda share: progress.update(round(100 * share) - progress.n))
    _save(adapted, out)
    report = adapted.report
    print(f"{report.right} of {report.total} held-back cells are named as labelled, {report.right_before} before.")
    print(f"{adapted_card.ok_words(report)}{adapted_card.missing_words(report)}")
    print(f"python -m cells classify PICTURES --model {out}")
    return 0


def _save(adapted: "Adapted", out: Path) -> None:
    """A whole model folder with its card, or none. Raises CallError."""
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".adapt-", ignore_cleanup_errors=True) as folder:
        whole = Path(folder, out.name)
        try:
            adapted.save(whole)
            adapted_card.write(whole)
            whole.rename(out)
        except OSError as error:
            raise CallError(f"--out {out} cannot be written: {error.strerror or error}.") from None


def classify(
    paths: list[str],
    model: str,
    out: Path | None,
    batch_size: int,
    address: str | None = None,
    how: str = AUTO,
    has_batch_statistics: bool = True,
) -> int:
    """Classify files, folders and ZIPs into a file, or into a table on standard output; the exit status.

    With the address of a Ray cluster the pictures may be in parquet files or object storage too. `has_batch_statistics`: where
    most pictures are unfamiliar the batch's own statistics are used; a cluster does without them.
    """
    _check_out(out, address)
    if address is not None:
        if how == FIELD:
            raise CallError("--ray takes pictures of single cells; leave out --as field.")
        found = _on_ray(paths, model, out, batch_size, address)
    else:
        pictures = _pictures(paths)
        if out is not None and out.suffix.lower() == ".xlsx" and not excel.fits(len(pictures)):
            most = excel.MAX_ROWS - 1
            raise CallError(f"--out {out}: a sheet has room for {most} pictures, not {len(pictures)}; write a .csv file.")
        into = _row_by_row if out is not None and out.suffix.lower() == ".csv" else _at_once
        classifier = Classifier.load(model)
        if has_batch_statistics:
            classifier = _for_batch(classifier, pictures, how)
        found = into(pictures, classifier, out, batch_size, how)
    for line in found.lines():
        print(line, file=sys.stderr)
    return 1 if found.unread else 0


def _pictures(paths: Sequence[str]) -> list[tuple[str, Source]]:
    """(name, source) of every picture. Raises CallError."""
    files = [find_images(path) for path in paths]
    has_several = sum(map(is_archive, chain(*files))) > 1
    found = []
    for path, own in zip(paths, files, strict=True):
        try:
            found += expand_archives(own, is_named=has_several)
        except ArchiveError as error:
            raise CallError(f"{path}: {error}") from None
    return found


def _for_batch(classifier: Classifier, pictures: list[tuple[str, Source]], how: str) -> Classifier:
    """What answers for all these pictures, also for those that an interrupted call left; standard error says so."""
    chosen = batch_statistics.for_batch(classifier, [source for _, source in pictures], how)
    if chosen is not classifier:
        print(BATCH_STATISTICS, file=sys.stderr)
    return chosen


def _on_ray(paths: list[str], model: str, out: Path, batch_size: int, address: str) -> Found:
    """A CSV or a parquet file, by the actors of a cluster."""
    batches = cluster.batches(paths, batch_size)
    classifier = Classifier.load(model)

    def frames(done: int) -> Iterator[pd.DataFrame]:
        return cluster.frames(batches[done:], model, str(classifier), batch_size, address)

    return _write([batch.files for batch in batches], classifier, out, frames)


def _row_by_row(pictures: list[tuple[str, Source]], classifier: Classifier, out: Path, batch_size: int, how: str) -> Found:
    """A CSV."""
    batches = [pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    names = [[name for name, _ in batch] for batch in batches]
    part = "field.part" if how == FIELD else "part"
    return _write(names, classifier, out, lambda done: _frames(classifier, batches[done:], batch_size, how), how != CELL, part)


def _write(
    batches: Sequence[Sequence[str]],
    classifier: Classifier,
    out: Path,
    frames: Callable[[int], Iterator[pd.DataFrame]],
    places: bool = False,
    part: str = "part",
) -> Found:
    """Rows as they are computed, after those that an interrupted call left.

    `batches` are the names of the pictures, `frames(done)` the rows of each batch but the first `done`.
    """
    total = sum(map(len, batches))
    resumed = ResumableCsv(out, batches, str(classifier), classifier.labels, classifier.uncertainty, places, part)
    with resumed as rows, _progress(total, rows.pictures) as progress:
        try:
            for frame in frames(rows.done):
                rows.append(frame)
                progress.update(rows.pictures - progress.n)
        except KeyboardInterrupt:
            written = f"{rows.pictures} of {total} pictures are in {rows.path}"
            raise KeyboardInterrupt(f"{written}, and the same line carries on") from None
        rows.finish()
        return Found(total, rows.unread, rows.blasts, rows.fields, rows.cells)


def _frames(
    classifier: Classifier, batches: Sequence[Sequence[tuple[str, Source]]], batch_size: int, how: str
) -> Iterator[pd.DataFrame]:
    """The rows of one batch after the other."""
    pictures = _by_picture(_predict(classifier, list(chain(*batches)), batch_size, how))
    for batch in batches:
        cells = tuple(map(Cell, chain(*islice(pictures, len(batch)))))
        yield table.to_frame(Review(cells, str(classifier)), classifier.labels, places=how != CELL)


def _by_picture(predictions: Iterator[Prediction]) -> Iterator[list[Prediction]]:
    """The predictions of one picture after the other."""
    found: list[Prediction] = []
    for prediction in predictions:
        found.append(prediction)
        if prediction.place is None or prediction.place.number == prediction.place.of:
            yield found
            found = []


def _predict(classifier: Classifier, pictures: list[tuple[str, Source]], batch_size: int, how: str) -> Iterator[Prediction]:
    names, sources = [name for name, _ in pictures], [source for _, source in pictures]
    return classifier.predict(sources, names, batch_size, how)


def _at_once(pictures: list[tuple[str, Source]], classifier: Classifier, out: Path | None, batch_size: int, how: str) -> Found:
    """A workbook, or a table on standard output."""
    with _progress(len(pictures)) as progress:
        cells, fields = [], 0
        for number, predictions in enumerate(_by_picture(_predict(classifier, pictures, batch_size, how))):
            cells += [Cell(prediction, id=f"{number}.{place}") for place, prediction in enumerate(predictions, 1)]
            fields += predictions[0].place is not None or predictions[0].status == EMPTY
            progress.update()
    below = classifier.uncertainty.lowest
    review = Review(tuple(cells), str(classifier), review_below=below, classes=classifier.classes)
    if out is None:
        print(f"{table.to_text(table.to_frame(review))}\n\nmodel: {classifier}")
    else:
        try:
            if out.suffix.lower() == COCO:
                out.write_text(coco.to_json(review), encoding="utf-8")
                if not fields:
                    print(f"{out} has no box: no picture was taken as a field (--as field takes all).", file=sys.stderr)
            else:
                excel.write(review, out)
        except OSError as error:
            raise CallError(f"--out {out} cannot be written: {error.strerror or error}.") from None
        except ValueError as error:  # more cells than a sheet has rows, which was not to be known before the fields were read
            other = f"{out}.csv"
            table.write_csv(table.to_frame(review), other)
            raise CallError(f"{out}: {error}; the rows are in {other} instead.") from None
    unread = sum(cell.prediction.status == ERROR for cell in cells)
    in_fields = sum(cell.prediction.place is not None for cell in cells)
    return Found(len(pictures), unread, len(review.suspected_blasts), fields, in_fields)


def _progress(total: int, done: int = 0) -> tqdm:
    return tqdm(total=total, initial=done, unit="picture", disable=not sys.stderr.isatty())


def _check_out(out: Path | None, address: str | None) -> None:
    """Before the work, not after it."""
    endings = (".csv", ".xlsx", COCO) if address is None else (".csv", cluster.PARQUET)
    if out is None:
        if address is not None:
            raise CallError(f"--ray writes a file: give --out, with the ending {' or '.join(endings)}.")
        return
    if out.suffix.lower() not in endings:
        raise CallError(f"--out {out}: the ending is to be {', '.join(endings[:-1])} or {endings[-1]}.")
    if not out.parent.is_dir():
        raise CallError(f"--out {out}: there is no folder {out.parent}.")
    if out.is_dir() or not os.access(out.parent, os.W_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise CallError(f"--out {out}: this file cannot be written.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m cells", description="Classify blood cells, in pictures of single cells and in whole fields."
    )
    commands = parser.add_subparsers(required=True, metavar="classify|adapt")
    _add_adapt(commands)
    command = commands.add_parser(
        "classify",
        help="classify pictures",
        description="Classify pictures; exit status 0 when every file was read, 1 when some were not, 2 for a wrong call.",
    )
    command.set_defaults(command=_classify)
    command.add_argument("paths", nargs="+", metavar="PATH", help="a picture, a ZIP of pictures, or a folder (walked)")
    _add_model(command)
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a .csv file, written as the rows are computed: after an interruption the same line carries on; .xlsx; or .json, "
        "the boxes and types of fields in COCO's format. These two, and the table without --out, are made at the end",
    )
    words = "pictures whose rows are written together (default %(default)s)"
    command.add_argument("--batch-size", type=_positive, default=BATCH_SIZE, metavar="N", help=words)
    command.add_argument(
        "--as",
        dest="how",
        choices=HOW,
        default=AUTO,
        help="take each picture as one of a single cell, or as a field whose white cells are found; auto decides by what the "
        "picture shows (default %(default)s)",
    )
    command.add_argument(
        "--no-batch-statistics",
        dest="batch_statistics",
        action="store_false",
        help="classify with the statistics of the training pictures even where most of the cells are unfamiliar",
    )
    command.add_argument(
        "--ray",
        nargs="?",
        const=cluster.LOCAL,
        metavar="ADDRESS",
        help="classify with all processors of the Ray cluster at this address, or of this machine; after the paths. They may "
        "then be parquet files and object storage (s3://...) too, and --out takes .csv or .parquet",
    )
    return parser


def _add_adapt(commands: "argparse._SubParsersAction") -> None:
    command = commands.add_parser(
        "adapt",
        help="adapt a model to one laboratory",
        description="Learn from labelled cells of one laboratory, best 10 or more of each type, and write a model for it.",
    )
    command.set_defaults(command=_adapt)
    words = "a folder with a folder of pictures for each type; or the CSV of a review, beside its pictures"
    command.add_argument("cells", type=Path, metavar="FOLDER|CSV", help=words)
    _add_model(command)
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the new model's folder, as models/mine")


def _add_model(command: argparse.ArgumentParser) -> None:
    words = f"an embedded model's name, a model folder or a Hub id (default {DEFAULT})"
    command.add_argument("--model", default=DEFAULT, metavar="NAME|FOLDER|HUB_ID", help=words)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is to be a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
