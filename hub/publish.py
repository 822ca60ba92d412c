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

from cells.messages import Error
from cells.model.classifier import load_onnx
from cells.model.folder import MODEL_FILES, ONNX_FILE, QUANTIZED_FILE, REQUIRED_FILES
from hub import card
from hub.messages import ENGLISH

logging.set_verbosity_error()  # what it would warn of ends in a HubError here, or well

FILES = (*MODEL_FILES, "metrics.json", ONNX_FILE, QUANTIZED_FILE)
FIGURES = "figures/*.png"
NEEDED = (*REQUIRED_FILES, "trust.json", "metrics.json")


class HubError(Error):
    """Something that the Hub or the disk refused."""

    sentences = ENGLISH


def contents(folder: Path) -> dict[str, Path]:
    """What of a model folder goes to the Hub beside the card: path there -> file here. Raises HubError."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise HubError("folder_incomplete", folder=folder, files=", ".join(missing))
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
            raise HubError("hub_no_model", repo=repo_id, files=", ".join(missing))
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
        raise _explained(repo_id, error) from None  # the cause may show headers, with the token in them


def _explained(repo_id: str, error: Exception) -> HubError:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, HFValidationError):
        return HubError("hub_bad_name", repo=repr(repo_id))
    if isinstance(error, RevisionNotFoundError):
        return HubError("hub_no_revision", repo=repo_id)
    if isinstance(error, RepositoryNotFoundError):
        return HubError("hub_not_found", repo=repo_id)
    if isinstance(error, LocalTokenNotFoundError):
        return HubError("hub_unknown_user", repo=repo_id)
    if status == 429 and (seconds := error.response.headers.get("Retry-After")):
        return HubError("hub_busy_for", repo=repo_id, seconds=seconds)
    if status in BY_STATUS:
        return HubError(BY_STATUS[status], repo=repo_id)
    if status is not None:
        return HubError("hub_failed", repo=repo_id, status=status)
    if isinstance(error, OfflineModeIsEnabled):
        return HubError("hub_offline", repo=repo_id)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
        return HubError("hub_disk", repo=repo_id, reason=error.strerror)
    return HubError("hub_unreachable", repo=repo_id)


BY_STATUS = {401: "hub_unknown_user", 403: "hub_forbidden", 404: "hub_not_found", 409: "hub_conflict", 429: "hub_busy"}
