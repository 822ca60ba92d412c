"""Real cells for the page's visitors: one of each type, from a dataset that `python -m hub dataset` published."""

import os
import tomllib
from pathlib import Path

from huggingface_hub import snapshot_download

from hub.publish import HubError, explained

FILE = Path(__file__).with_name("examples.toml")
VARIABLE = "PBC_EXAMPLES"
FOLDER = "examples"  # in the dataset


def dataset() -> str:
    """The dataset's id, from the variable or the file; nothing where none is named."""
    return os.environ.get(VARIABLE) or tomllib.loads(FILE.read_text())["dataset"]


def fetch() -> list[str]:
    """The examples' paths on this disk, where they stay. Raises HubError."""
    repo_id = dataset()
    with explained(repo_id):
        folder = Path(snapshot_download(repo_id, repo_type="dataset", allow_patterns=f"{FOLDER}/*"), FOLDER)
    found = sorted(map(str, folder.glob("*")))
    if not found:
        raise HubError("hub_no_examples", repo=repo_id)
    return found
