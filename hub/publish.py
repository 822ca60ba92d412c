"""Files and their card -> a repo on the Hub, in one commit; and a model back from it.

The Hub's client does the work; here are what goes up, what is said when it fails, and the rule that a card which a person
edited is kept. No message holds more of an error than its kind, so no token can come out with one.
"""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, logging
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cells.model.classifier import load_onnx
from cells.model.folder import MODEL_FILES, ONNX_FILE, QUANTIZED_FILE, REQUIRED_FILES
from hub import card

logging.set_verbosity_error()  # what it would warn of ends in a HubError here, or well

FILES = (*MODEL_FILES, "metrics.json", ONNX_FILE, QUANTIZED_FILE)
FIGURES = "figures/*.png"
NEEDED = (*REQUIRED_FILES, "trust.json", "metrics.json")


class HubError(Exception):
    """Something that the Hub or the disk refused. Its text is one line for the user."""


def contents(folder: Path) -> dict[str, Path]:
    """What of a model folder goes to the Hub beside the card: path there -> file here. Raises HubError."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise HubError(f"{folder} lacks {', '.join(missing)}; a model folder is what `python -m train` leaves.")
    names = [name for name in FILES if (folder / name).is_file()]
    figures = [f"figures/{path.name}" for path in sorted(folder.glob(FIGURES))]
    return {name: folder / name for name in (*names, *figures)}


def export(folder: Path, say: Callable[[str], None]) -> None:
    """Add the exported network to a model folder, if it is not there yet. Raises HubError."""
    contents(folder)  # says what is missing
    if load_onnx(folder, may_export=True) is None and not (folder / ONNX_FILE).is_file():
        say(f"{folder} goes up without {ONNX_FILE}: it cannot be exported here.")


def push(folder: Path, repo_id: str, private: bool = False, revision: str = "main", say: Callable[[str], None] = print) -> str:
    """A model folder -> a model repo; the address of the repo. Raises HubError."""
    export(folder, say)
    message = f"{folder.resolve().name}: weights, preprocessing, card and metrics"
    return publish(repo_id, "model", contents(folder), card.text_of(folder), message, private, revision, say)


def publish(
    repo_id: str,
    kind: Literal["model", "dataset", "space"],
    files: Mapping[str, Path | bytes],
    readme: str,
    message: str,
    private: bool = False,
    revision: str = "main",
    say: Callable[[str], None] = print,
) -> str:
    """One commit with what has changed of the files (path there -> file here, or content) and the card.

    Folders that have a file of ours are ours: what else lies in them there goes. Returns the address of the repo. Raises
    HubError.
    """
    api = HfApi()
    with explained(repo_id):
        sdk = {"space_sdk": "gradio"} if kind == "space" else {}
        url = api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True, **sdk)
        if revision != "main":
            api.create_branch(repo_id, repo_type=kind, branch=revision, exist_ok=True)
        theirs = _read(api, repo_id, kind, "README.md", revision)
        if kind == "space" and theirs is not None and not card.is_marked(theirs):
            theirs = None  # the Hub writes one into every new Space
        text = card.merge(theirs, readme)
        if theirs is not None and card.is_edited(theirs):
            say(f"A person edited the card of {repo_id}: its text is kept, only what is measured is renewed in its metadata.")
        folders = tuple({f"{path.split('/')[0]}/" for path in files if "/" in path})
        there = api.list_repo_files(repo_id, repo_type=kind, revision=revision)
        changes = [CommitOperationDelete(path) for path in there if path.startswith(folders) and path not in files]
        changes += [CommitOperationAdd(path, file) for path, file in files.items()]
        changes.append(CommitOperationAdd("README.md", text.encode()))
        before = api.repo_info(repo_id, repo_type=kind, revision=revision).sha
        done = api.create_commit(repo_id, changes, repo_type=kind, commit_message=message, revision=revision)
        say(f"{repo_id} is up to date already." if done.oid == before else f"committed {done.oid[:8]} to {repo_id}")
    return str(url)


def pull(repo_id: str, models: Path, revision: str = "main") -> Path:
    """A Hub repo -> a folder of its name in `models`, which appears when it is whole. Raises HubError."""
    api = HfApi()
    folder = models / repo_id.split("/")[-1]
    with explained(repo_id), tempfile.TemporaryDirectory(dir=_made(models), prefix=".pull-") as temporary:
        known = (*FILES, "README.md")
        names = [name for name in api.list_repo_files(repo_id, revision=revision) if name in known or Path(name).match(FIGURES)]
        missing = [name for name in ("config.json", "model.safetensors") if name not in names]
        if missing:
            raise HubError(f"{repo_id} has no {', '.join(missing)}: it holds no model of this kind.")
        for name in names:
            api.hf_hub_download(repo_id, name, revision=revision, local_dir=temporary)
        shutil.rmtree(Path(temporary) / ".cache", ignore_errors=True)
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(temporary, folder)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(api: HfApi, repo_id: str, kind: str, path: str, revision: str) -> str | None:
    """A text file of a repo, None where there is none."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            return Path(api.hf_hub_download(repo_id, path, repo_type=kind, revision=revision, local_dir=temporary)).read_text()
        except EntryNotFoundError:
            return None


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """Whatever goes wrong with the Hub inside it becomes a HubError of one line."""
    try:
        yield
    except HubError:
        raise
    except (HTTPError, OSError, RuntimeError, HFValidationError) as error:
        raise HubError(_explain(repo_id, error)) from None  # the cause may show headers, with the token in them


def _explain(repo_id: str, error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is no name of a repo; it is to be USER/NAME, of letters, digits, '-', '_' and '.'."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no such revision."
    if status == 404 or isinstance(error, RepositoryNotFoundError):
        return f"{repo_id} is not there, or you may not see it; check the name, or sign in with `hf auth login`."
    if status == 401 or isinstance(error, LocalTokenNotFoundError):
        return f"{repo_id}: the Hub does not know you; sign in with `hf auth login`."
    if status == 403:
        return f"{repo_id}: your token may not do this; it needs the right to write there."
    if status == 409:
        return f"{repo_id}: someone else changed it at the same moment; try again."
    if status == 429:
        wait = error.response.headers.get("Retry-After")
        return f"{repo_id}: the Hub takes no more requests for now; try again {f'in {wait} s' if wait else 'later'}."
    if status is not None:
        return f"{repo_id}: the Hub answered with an error ({status}); try again later."
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo_id}: HF_HUB_OFFLINE is set; unset it to reach the Hub."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
        return f"{repo_id}: {error.strerror}."
    return f"{repo_id}: the Hub cannot be reached, or the transfer broke off; check the network, then try again."
