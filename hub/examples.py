"""Real cells for the page's visitors: one of each type, from a dataset that `python -m hub dataset` published."""

import contextlib
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
    return cached() or _found(local=False)


def cached() -> list[str]:
    """The examples' paths on this disk; empty where they were not fetched yet. The Hub is not asked."""
    try:
        return _found(local=True)
    except LocalEntryNotFoundError:
        return []


def _found(local: bool) -> list[str]:
    repo_id = dataset()
    with contextlib.nullcontext() if local else explained(repo_id):
        place = snapshot_download(repo_id, repo_type="dataset", allow_patterns=f"{FOLDER}/*", local_files_only=local)
    folder = Path(place, FOLDER)
    found = sorted(map(str, folder.glob("*")))
    if not found and not local:
        raise HubError("hub_no_examples", repo=repo_id)
    return found
