"""A kept model, the ZIP of an adapted model's folder that the page gave away -> Classifier.

Whoever sends it may have made it otherwise. Nothing is unpacked by a name that it holds. What the network is, and how it takes
pictures, is read from its base on this machine; from the ZIP come the weights, the thresholds and the words for its classes.
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cells.messages import Error
from cells.model.adapt import with_labels
from cells.model.adapt_report import Report
from cells.model.classifier import Classifier
from cells.model.folder import (
    ADAPTED_FILE,
    CLASSES_FILE,
    CONFIG,
    NETWORK_FILES,
    UNCERTAINTY_ARRAYS,
    UNCERTAINTY_FILE,
    WEIGHTS,
    ModelError,
)
from cells.read import archive, limits
from cells.read.images import ImageError

OWN_FILES = (WEIGHTS, UNCERTAINTY_FILE, UNCERTAINTY_ARRAYS, CLASSES_FILE)  # what is read of the ZIP
KNOWN_FILES = {*NETWORK_FILES, *OWN_FILES, ADAPTED_FILE, "README.md"}


class KeptError(Error):
    """A kept model that cannot be used."""


@dataclass(frozen=True)
class Kept:
    """The content of a ZIP, in memory."""

    files: dict[str, bytes]
    report: Report
    made: date

    @classmethod
    def read(cls, file: str) -> "Kept":
        """From a ZIP of at most limits.FILE_BYTES, packed and unpacked. Raises KeptError, ArchiveError."""
        entries = archive.files(file)
        folders, names = zip(*(entry.name.rpartition("/")[::2] for entry in entries), strict=True) if entries else ((), ())
        is_folder = len(set(folders)) == 1 and "/" not in folders[0] and len(set(names)) == len(names)
        if not is_folder or not {CONFIG, WEIGHTS, ADAPTED_FILE} <= set(names) <= KNOWN_FILES:
            raise KeptError("kept_broken")
        if sum(entry.info.file_size for entry in entries) > limits.FILE_BYTES:  # no more than it says is read
            raise KeptError("kept_broken")
        try:
            files = {name: entry.read_bytes() for name, entry in zip(names, entries, strict=True)}
            made = date(*entries[names.index(ADAPTED_FILE)].info.date_time[:3])
            return cls(files, Report.from_json(files[ADAPTED_FILE]), made)
        except (ImageError, ValueError, TypeError, AttributeError, RecursionError):
            raise KeptError("kept_broken") from None

    @property
    def base(self) -> str:
        """The name of the model that it was adapted from."""
        return self.report.base.rpartition("@")[0]

    def load(self, base: Classifier, folder: Path) -> Classifier:
        """The model, from a model folder that is written into an empty one. Raises KeptError, and OSError of the disk."""
        self._check_network(base)
        for name in NETWORK_FILES:
            if name != WEIGHTS and (base.folder / name).is_file():
                (folder / name).write_bytes((base.folder / name).read_bytes())
        for name in OWN_FILES:
            if name in self.files:
                (folder / name).write_bytes(self.files[name])
        try:
            return Classifier.load(folder, f"{base.name}-adapted")
        except ModelError:
            raise KeptError("kept_broken") from None

    def _check_network(self, base: Classifier) -> None:
        """That it is a network like its base, with the same labels in the same order. Raises KeptError."""
        try:
            config = json.loads(self.files[CONFIG])
        except (ValueError, RecursionError):
            raise KeptError("kept_broken") from None
        if config != with_labels(json.loads((base.folder / CONFIG).read_bytes()), base.backend.labels):
            raise KeptError("kept_other_version", base=base.name)
