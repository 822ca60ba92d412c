"""A model folder on disk: which files it has, which classes it knows, and where a model's name leads.

The folder is the interface of the project: `train` writes it, `hub` moves it, `cells` reads it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from cells import classes
from cells.classes import KNOWN, CellClass, describe
from cells.messages import Error, first_line, message

_PACKAGE = Path(__file__).resolve().parent.parent
_INSTALLED = _PACKAGE / "models"  # where a wheel puts the models; in a clone they lie beside the package
EMBEDDED = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "models"
DEFAULT = "efficientnet_lite0"

CONFIG, WEIGHTS = REQUIRED_FILES = "config.json", "model.safetensors"
NETWORK_FILES = (*REQUIRED_FILES, "preprocessor_config.json")  # the last is a ViT's; a timm model has its own in config.json

ONNX_FILE, QUANTIZED_FILE = "onnx/model.onnx", "onnx/model_quantized.onnx"  # where the Hub's libraries look for them
CALIBRATION_FILE = "calibration.json"  # of a convolutional network: the ranges of its values, for the quantised network
QUANTIZED_RECORD = "quantized.json"  # what `python -m train onnx_check` measured of the quantised network
LARGEST_FALL = 0.002  # of accuracy, up to which the quantised network serves

UNCERTAINTY_FILE, UNCERTAINTY_ARRAYS = "trust.json", "trust.safetensors"
ADAPTED_FILE = "adapted.json"  # of a model that cells/model/adapt.py made: what it learnt from, and how right it is
CLASSES_FILE = "classes.json"  # which classes the network tells apart; without it, what cells/classes.py knows of its labels

# What decides an answer.
MODEL_FILES = (*NETWORK_FILES, CALIBRATION_FILE, QUANTIZED_RECORD, UNCERTAINTY_FILE, UNCERTAINTY_ARRAYS, CLASSES_FILE)


class ModelError(Error):
    """A model that cannot be used."""


def unusable(source: str | os.PathLike, error: Exception) -> ModelError:
    """One line on a model that something could not be made of; one that names the model stays as it is."""
    if isinstance(error, ModelError) and "model" in error.message.values:
        return ModelError(error.code, **error.message.values)
    if isinstance(error, Error):
        reason = error.message
    elif isinstance(error, SafetensorError):
        reason = message("model_file_broken")
    else:
        reason = first_line(error)
    return ModelError("model_unusable", model=os.fspath(source), reason=reason)


def check_labels(found: Iterable[str], source: str | os.PathLike, has_classes: bool = False) -> None:
    """Whether a model may be one for blood cells; `source` is its name. Raises ModelError.

    `has_classes`: its folder has a CLASSES_FILE. Without one, a label at least is to be known (cells/classes.py).
    """
    labels = list(found)
    known = ", ".join(sorted(map(str, labels))[:8])
    if not labels or len(set(labels)) < len(labels) or not all(isinstance(label, str) and label for label in labels):
        raise ModelError("model_labels_broken", model=os.fspath(source), found=known)
    if not has_classes and not any(label in KNOWN for label in labels):
        raise ModelError("model_labels", model=os.fspath(source), found=known, file=CLASSES_FILE)


def read_classes(folder: Path, labels: Sequence[str]) -> tuple[CellClass, ...]:
    """The classes of a model folder whose network knows `labels`: those of its CLASSES_FILE, in its order, or describe(labels).

    An entry of the file has a `name`; what else it leaves out is as describe() has it. Raises ModelError.
    """
    file = folder / CLASSES_FILE
    if not file.is_file():
        return describe(labels)
    try:
        found = classes.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise ModelError("model_classes_broken", file=CLASSES_FILE) from error
    if sorted(one.name for one in found) != sorted(labels):
        raise ModelError("model_classes_foreign", file=CLASSES_FILE)
    return found


def write_classes(folder: Path, described: Iterable[CellClass]) -> None:
    """Write the CLASSES_FILE of a model folder: a list with an object of each class."""
    text = json.dumps(classes.to_json(described), indent=2, ensure_ascii=False)
    (folder / CLASSES_FILE).write_text(text + "\n", encoding="utf-8")


def locate(source: str | os.PathLike) -> tuple[str, str | None]:
    """(the folder of an embedded model's name, or the folder or Hub id as it is; a Hub id's revision). Raises ModelError."""
    text = os.fspath(source)
    if text in embedded():
        return str(embedded_folder(text)), None
    if Path(text).is_dir():
        return str(Path(text).resolve()), None
    if text.partition("@")[0].count("/") == 1 and not text.startswith((".", "/", "~")):
        return split_revision(text)
    raise ModelError("model_unknown", model=repr(text), known=", ".join(embedded()))


def split_revision(place: str) -> tuple[str, str | None]:
    """USER/NAME or USER/NAME@REVISION, in two."""
    repo_id, _, revision = place.partition("@")
    return repo_id, revision or None


def embedded() -> list[str]:
    """The names of the models that come with this code."""
    return sorted(config.parent.name for config in EMBEDDED.glob("*/config.json"))


def embedded_folder(name: str) -> Path:
    """Where an embedded model lies."""
    return EMBEDDED / name


def is_embedded(folder: Path) -> bool:
    """Whether a model folder comes with this code."""
    return folder.resolve().parent == EMBEDDED.resolve()


def version(folder: Path) -> str:
    """As `cat FILES | sha256sum | head -c 8` has it, of MODEL_FILES that are present. Raises ModelError."""
    missing = [file for file in REQUIRED_FILES if not (folder / file).is_file()]
    if missing:
        raise ModelError("model_lacks_file", file=missing[0])
    return _sha256(folder, MODEL_FILES)[:8]


def digest(folder: Path) -> str:
    """SHA-256 of what the network is made from."""
    return _sha256(folder, NETWORK_FILES)


def _sha256(folder: Path, names: Iterable[str]) -> str:
    present = (folder / name for name in names if (folder / name).is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in present)).hexdigest()


def may_quantize(folder: Path) -> bool:
    """Whether the quantised network was found to be as good as the other. Raises ValueError, KeyError for a broken record."""
    file = folder / QUANTIZED_RECORD
    return file.is_file() and json.loads(file.read_text())["fall"] <= LARGEST_FALL
