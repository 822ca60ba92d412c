"""The models that the app offers: the embedded ones, and those of the Hub that models.toml or PBC_MODELS names.

A Hub model is fetched into the Hub client's cache when it is first chosen; from then on it answers without the Hub as well.
"""

import json
import os
import re
import threading
import tomllib
from functools import lru_cache
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from cells.classes import CellClass
from cells.model.classifier import Classifier
from cells.model.folder import (
    CLASSES_FILE,
    CONFIG,
    DEFAULT,
    MODEL_FILES,
    ONNX_FILE,
    QUANTIZED_FILE,
    WEIGHTS,
    ModelError,
    embedded,
    embedded_folder,
    read_classes,
    split_revision,
)
from hub.messages import HubError, explained

LIST = Path(__file__).with_name("models.toml")
VARIABLE = "PBC_MODELS"  # ids, separated by spaces
# In the order in which they are fetched. The first tell whether the model is one for these cells.
FIRST = (CLASSES_FILE, CONFIG)
FILES = (*FIRST, *(file for file in MODEL_FILES if file not in (*FIRST, WEIGHTS)), ONNX_FILE, QUANTIZED_FILE, WEIGHTS)
TIMEOUT = 10  # seconds, as the Hub's client has for files
MODELS_IN_MEMORY = 2  # the least recently used goes first
COMMIT = re.compile("[0-9a-f]{40}")
_locks: dict[tuple[str, str], threading.Lock] = {}  # of the models that are being loaded
ANSWER_SECONDS = 3  # for which the Hub is waited for to say whether a model that is cached has changed


def names() -> list[str]:
    """What the dropdown shows: the embedded models, the default one first, then those of the Hub. Raises HubError."""
    return [*sorted(embedded(), key=lambda name: name != DEFAULT), *hub_models()]


def is_embedded(name: str) -> bool:
    """Whether a model comes with this code, so that nothing is to be fetched."""
    return name in embedded()


def hub_models() -> dict[str, str]:
    """name -> USER/NAME or USER/NAME@REVISION. Raises HubError."""
    return {name: place for name, place in listed().items() if place} | {place: place for place in _variable()}


def listed() -> dict[str, str]:
    """What models.toml has, models without weights too. Raises HubError."""
    try:
        named = tomllib.loads(LIST.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise HubError("list_unreadable", file=LIST, reason=str(error)) from None
    wrong = [name for name, place in named.items() if not isinstance(place, str)]
    if wrong:
        raise HubError("list_not_text", file=LIST, name=wrong[0])
    return named


def _variable() -> list[str]:
    return os.environ.get(VARIABLE, "").split()


def fetch(name: str) -> None:
    """Bring a Hub model to this disk; of another, nothing is to be done. `name` is as for load().

    Raises HubError, and ModelError where it is no model for these cells.
    """
    if is_embedded(name):
        return
    repo_id, revision = split_revision(_place(name))
    cached = _folder(repo_id, revision)
    if cached is None:
        _fetch(repo_id, revision, *look_up(repo_id, revision))
    elif not COMMIT.fullmatch(revision or ""):
        _refresh(repo_id, revision, cached)


def _refresh(repo_id: str, revision: str | None, cached: str) -> None:
    """Fetch a cached model again whose branch has moved. Where the Hub does not answer, what is cached stays."""
    try:
        commit, present = look_up(repo_id, revision, ANSWER_SECONDS)
        if commit != Path(cached).name:
            _fetch(repo_id, revision, commit, present)
    except HubError:
        pass


def _fetch(repo_id: str, revision: str | None, commit: str, present: list[str]) -> None:
    from cells.model import torch_network  # seconds, for which the page does not wait

    with explained(repo_id):
        for file in wanted(present):
            path = hf_hub_download(repo_id, file, revision=commit)
            if file == CONFIG:
                torch_network.check_config(Path(path).parent, repo_id)  # before the weights, which may be large
        # The same by the name of its branch, so that it is found again without the Hub.
        snapshot_download(repo_id, revision=revision, allow_patterns=wanted(present))


def wanted(present: list[str]) -> list[str]:
    """Of the files of a repo those that are used, in the order in which they are fetched."""
    needless = {ONNX_FILE} if QUANTIZED_FILE in present else set()  # a repo has it only where it may answer
    return [file for file in FILES if file in present and file not in needless]


def look_up(repo_id: str, revision: str | None, seconds: float = TIMEOUT) -> tuple[str, list[str]]:
    """(the commit, the files) of a model on the Hub that has weights we load; `seconds` is how long to wait for an answer.

    Raises HubError.
    """
    with explained(repo_id):
        info = HfApi().model_info(repo_id, revision=revision, timeout=seconds)
    present = [sibling.rfilename for sibling in info.siblings]
    if WEIGHTS not in present:
        pickled = any(name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt")) for name in present)
        raise HubError("hub_pickle", repo=repo_id) if pickled else HubError("hub_no_weights", repo=repo_id, file=WEIGHTS)
    return info.sha, present


def _folder(repo_id: str, revision: str | None) -> str | None:
    """Where a fetched model lies, whole; None where it does not."""
    try:
        # Not all of FILES: the client misses those of the repo that wanted() leaves out. The weights are fetched last.
        folder = snapshot_download(repo_id, revision=revision, allow_patterns=[CONFIG, WEIGHTS], local_files_only=True)
    except (LocalEntryNotFoundError, ValueError):
        return None
    return folder if Path(folder, WEIGHTS).is_file() else None


def load(name: str) -> Classifier:
    """A model that is on this disk, from memory where it was loaded before; the Hub is not asked. Raises HubError, ModelError.

    `name` is one of names(), or what results call a model of the Hub: USER/NAME or USER/NAME@REVISION.
    """
    if is_embedded(name):
        return _load(str(embedded_folder(name)), name)
    place = _place(name)
    folder = _folder(*split_revision(place))
    if folder is None:
        raise HubError("hub_not_cached", model=place)
    return _load(folder, place)


def _place(name: str) -> str:
    """USER/NAME or USER/NAME@REVISION of a model of the Hub. Raises HubError."""
    models = hub_models()
    if name in models:
        return models[name]
    if name in models.values():
        return name
    raise HubError("hub_not_offered", model=name)


def described(name: str) -> tuple[CellClass, ...]:
    """The classes of a model as far as its folder is on this disk; none of another, nor of a folder that cannot be read.

    Raises HubError for a model that is not offered.
    """
    found = str(embedded_folder(name)) if is_embedded(name) else _folder(*split_revision(_place(name)))
    try:
        return () if found is None else read_classes(Path(found), _labels(Path(found)))
    except (ModelError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return ()  # who chooses the model is told why


def _labels(folder: Path) -> list[str]:
    """Of a config.json of timm or of Transformers."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return list(config.get("label_names") or config["id2label"].values())


def _load(folder: str, name: str) -> Classifier:
    """Once, also where several ask at the same time."""
    with _locks.setdefault((folder, name), threading.Lock()):
        return _loaded(folder, name)


@lru_cache(MODELS_IN_MEMORY)
def _loaded(folder: str, name: str) -> Classifier:
    return Classifier.load(folder, name)
