"""Real cells for the page's visitors: one of each type, from a dataset that `python -m hub dataset` published."""

import os
import tomllib
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from hub.messages import HubError, explained

FILE = Path(__file__).with_name("examples.toml")
VARIABLE = "PBC_EXAMPLES"
FOLDER = "examples"  # in the dataset


def dataset() -> str:
    """The dataset's id, from the variable or the file; nothing where none is named."""
    return os.environ.get(VARIABLE) or tomllib.loads(FILE.read_text())["dataset"]


def fetch() -> list[str]:
    """Bring the examples to this disk, if they are not on it yet; their paths. Raises HubError."""
    if found := cached():
        return found
    with explained(dataset()):
        found = _found(local=False)
    if not found:
        raise HubError("hub_no_examples", repo=dataset())
    return found


def cached() -> list[str]:
    """The examples' paths on this disk; empty where they were not fetched yet. The Hub is not asked. Raises HubError."""
    with explained(dataset()):
        try:
            return _found(local=True)
        except LocalEntryNotFoundError:
            return []


def _found(local: bool) -> list[str]:
    place = snapshot_download(dataset(), repo_type="dataset", allow_patterns=f"{FOLDER}/*", local_files_only=local)
    return sorted(map(str, Path(place, FOLDER).glob("*")))
