"""Classify past one machine: batches of pictures -> a pool of Ray actors, each with the model -> rows, in the batches' order.

A picture is read by the actor that classifies it: from a disk that all machines see, from object storage or from parquet
files. What travels is names and rows. An actor that dies is started again, and its batch is done again.

Ray is optional, and imported only when it is asked for.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from cells.model.classifier import Classifier, Prediction
from cells.model.folder import ModelError, embedded
from cells.model.uncertainty import ERROR
from cells.read.archive import is_archive
from cells.read.find_images import CallError, find_images, is_image_name, no_picture
from cells.read.images import SUFFIXES, ImageError, Source
from cells.review import Cell, Review
from cells.write import table

if TYPE_CHECKING:
    import pyarrow

REQUIREMENT = "ray[data]==2.60.0"
LOCAL = "local"  # Ray's word for a cluster of this machine alone
PARQUET = ".parquet"
CPUS = 1  # of an actor; Ray tells its process so by OMP_NUM_THREADS, to which cells.model.threads listens
ROOT = Path(__file__).resolve().parent.parent


class Batch(NamedTuple):
    """Pictures that one actor classifies, and classifies again if need be."""

    files: list[str]  # what their rows call them
    places: list[bytes]  # their paths in a file system; for a row group, that of its parquet file
    root: str = ""  # the address of which the file system is; empty for this machine's
    group: int | None = None  # which row group


class Place(NamedTuple):
    """A picture, or a parquet file of pictures."""

    file: str
    place: bytes
    root: str


def batches(paths: Sequence[str], batch_size: int) -> list[Batch]:
    """Files, folders and addresses of object storage, of pictures or parquet -> batches, in order. Raises CallError.

    A batch is of `batch_size` pictures, or a parquet file's row group.
    """
    _ray()
    places = [place for path in paths for place in (_listed(path) if "://" in path else _walked(path))]
    found = []
    for (root, suffix), alike in groupby(places, lambda place: (place.root, place.file.lower().endswith(PARQUET))):
        if suffix:
            found += (batch for place in alike for batch in _row_groups(place))
        else:
            while some := list(islice(alike, batch_size)):
                found.append(Batch([place.file for place in some], [place.place for place in some], root))
    return found


def frames(todo: Sequence[Batch], model: str, version: str, batch_size: int, address: str) -> Iterator[pd.DataFrame]:
    """The rows of each batch, as table.to_frame has them, in the order of the batches.

    `version` is str() of the classifier that the actors are to have loaded. Raises CallError.
    """
    if not todo:
        return
    ray = _ray()
    _start(ray, address, model)
    try:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        dataset = ray.data.from_items([batch._asdict() for batch in todo], override_num_blocks=len(todo))
        rows = dataset.map_batches(
            Actor,
            fn_constructor_args=(_anywhere(model), version, batch_size),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=max(1, int(ray.cluster_resources().get("CPU", 0)) // CPUS)),
            num_cpus=CPUS,  # by default an actor that died is started again, and its batch done again, as often as it takes
        )
        yield from rows.iter_batches(batch_size=None, batch_format="pandas")
    except ray.exceptions.RayError as error:
        raise CallError(f"Ray gave up ({_last_line(error)}); the same line carries on.") from error
    finally:
        ray.shutdown()


def _anywhere(model: str) -> str:
    """The model as a process in another folder names it."""
    return os.path.abspath(model) if model not in embedded() and os.path.isdir(model) else model


class Actor:
    """A process with the model."""

    def __init__(self, model: str, version: str, batch_size: int) -> None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray shows an actor that asked for no GPU all of them
        self.classifier = Classifier.load(model)
        self.batch_size = batch_size
        if str(self.classifier) != version:
            raise ModelError("model_other_version", model=model, found=str(self.classifier), wanted=version)

    def __call__(self, rows: "pyarrow.Table") -> pd.DataFrame:
        """A batch, which is one row -> a row per picture."""
        batch = Batch(**rows.to_pylist()[0])
        cells = tuple(map(Cell, self._predict(batch)))
        return table.to_frame(Review(cells, str(self.classifier)), self.classifier.labels)

    def _predict(self, batch: Batch) -> Iterator[Prediction]:
        remaining = iter(batch.files)
        for sources in _sources(batch, self.batch_size):
            names = list(islice(remaining, len(sources)))
            pairs = list(zip(names, sources, strict=True))
            readable = [(name, source) for name, source in pairs if not isinstance(source, ImageError)]
            files, pictures = [name for name, _ in readable], [source for _, source in readable]
            answers = self.classifier.predict(pictures, files=files, batch_size=self.batch_size)
            for name, source in pairs:
                is_error = isinstance(source, ImageError)
                yield Prediction(name, None, ERROR, source.message, self.classifier.labels) if is_error else next(answers)


def _sources(batch: Batch, batch_size: int) -> Iterator[list[Source | ImageError]]:
    """What the classifier takes, at most `batch_size` at a time."""
    if batch.group is not None:
        for part in _parquet(batch.places[0], batch.root).iter_batches(batch_size, [batch.group], ["image"]):
            yield [(image and (image["bytes"] or image["path"])) or b"" for image in part["image"].to_pylist()]
    elif batch.root:
        yield [_fetched(place, batch.root) for place in batch.places]
    else:
        yield list(map(os.fsdecode, batch.places))


def _fetched(place: bytes, root: str) -> bytes | ImageError:
    try:
        with _file_system(root).open_input_stream(os.fsdecode(place)) as file:
            return file.read()
    except FileNotFoundError:
        return ImageError("file_missing")
    except OSError as error:
        return ImageError("file_unreadable", reason=_last_line(error))


def _walked(path: str) -> Iterator[Place]:
    if is_archive(path):
        raise CallError(f"--ray does not read a ZIP: unpack {path}, or leave out --ray.")
    for file in find_images(path, (*SUFFIXES, PARQUET)):
        yield Place(table.printable(file), os.fsencode(os.path.abspath(file)), "")


def _listed(address: str) -> list[Place]:
    """In the order of find_images: its files by their names, then its folders."""
    from pyarrow.fs import FileSelector, FileSystem, FileType

    try:
        system, path = FileSystem.from_uri(address)
        paths = [path]
        if system.get_file_info(path).type == FileType.Directory:
            files = (info for info in system.get_file_info(FileSelector(path, recursive=True)) if info.is_file)
            paths = [info.path for info in files if is_image_name(info.base_name, (*SUFFIXES, PARQUET))]
    except (OSError, ValueError) as error:
        raise CallError(f"{address} cannot be read: {_last_line(error)}.") from None
    if not paths:
        raise no_picture(address, (*SUFFIXES, PARQUET))
    scheme = address.partition("://")[0]
    return [Place(f"{scheme}://{path}", os.fsencode(path), address) for path in sorted(paths, key=_order)]


def _order(path: str) -> list[tuple[bool, str]]:
    *folders, name = path.split("/")
    return [*((True, folder) for folder in folders), (False, name)]


def _row_groups(place: Place) -> Iterator[Batch]:
    """The pictures of a parquet file, called by their `image_id` or by the path that `datasets` keeps, else by their number."""
    try:
        file = _parquet(place.place, place.root)
        columns = file.schema_arrow
        parts = columns.field("image").flatten() if "image" in columns.names else []
        if not {"image.bytes", "image.path"} <= {part.name for part in parts}:
            raise CallError(f"{place.file} has no column of pictures: `image`, with `bytes` and `path`, as `datasets` has it.")
        number = 0
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, ["image_id" if "image_id" in columns.names else "image.path"]).to_pylist()
            files = [_name(row) or f"{place.file} row {index}" for index, row in enumerate(rows, number)]
            number += len(rows)
            if rows:
                yield Batch(files, [place.place], place.root, group)
    except (OSError, ValueError) as error:
        raise CallError(f"{place.file} cannot be read: {_last_line(error)}.") from None


def _name(row: Mapping) -> str:
    """Of a picture, whatever its `image_id` is; empty where it has none."""
    known = (row.get("image_id"), (row.get("image") or {}).get("path"))
    return next((str(name) for name in known if name not in (None, "")), "")


def _parquet(place: bytes, root: str) -> "pyarrow.parquet.ParquetFile":
    from pyarrow.parquet import ParquetFile

    return ParquetFile(os.fsdecode(place), filesystem=_file_system(root))


@cache
def _file_system(root: str) -> "pyarrow.fs.FileSystem":
    from pyarrow.fs import FileSystem, LocalFileSystem

    return FileSystem.from_uri(root)[0] if root else LocalFileSystem()


def _ray() -> ModuleType:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # pictures may be a patient's: nothing is told to anyone
    os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"  # which names exported networks and models from the Hub
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # so that this machine answers as the actors do
    try:
        import ray
        import ray.data
    except ImportError:
        raise CallError(f"--ray needs Ray, which is not installed: pip install '{REQUIREMENT}'.") from None
    return ray


def _start(ray: ModuleType, address: str, model: str) -> None:
    """A cluster of this machine alone, or a part of one that runs, to which this code and the embedded model are sent."""
    settings = {"include_dashboard": False}
    if address != LOCAL:
        # The last is none for a folder or a Hub id.
        sent = ["/*", "!/.", "!/cells", "!/models", "/models/*", f"!/models/{model}"]
        settings = {"runtime_env": {"working_dir": str(ROOT), "excludes": sent}}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise CallError(f"--ray {address}: {_last_line(error)}.") from None
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the command has its own words; Ray's logs keep the rest


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")
