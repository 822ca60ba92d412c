"""Files and their card -> a repo on the Hub, in one commit; and a model from the Hub -> a model folder.

The Hub's client does the transfer. This module decides what is sent, what is said when it fails, and that a card which a
person edited is kept.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError

from cells.messages import first_line
from cells.model import onnx_network
from cells.model.classifier import load_onnx
from cells.model.folder import (
    ADAPTED_FILE,
    EMBEDDED,
    MODEL_FILES,
    ONNX_FILE,
    QUANTIZED_FILE,
    REQUIRED_FILES,
    digest,
    may_quantize,
    unusable,
)
from hub import card
from hub.card import README
from hub.messages import HubError, explained, readable

EXPORTED = (ONNX_FILE, QUANTIZED_FILE)
PUBLISHED_FILES = (*MODEL_FILES, ADAPTED_FILE, "metrics.json", "training_ids.txt", *EXPORTED)
FIGURES = "figures/*.png"
MEASURED = "metrics.json"  # an adapted model has its ADAPTED_FILE in its place
NEEDED = (*REQUIRED_FILES, "trust.json", MEASURED)
SEPARATOR = "--"  # of USER and NAME in the folder of a pulled model


@dataclass(frozen=True)
class Upload:
    """What one commit writes: `files` (path in the repo -> local file, or content), the card and the commit's message.

    `own` are the paths that only this kind of upload writes: one that is in the repo and not in `files` belongs to an
    earlier upload, and the commit removes it.
    """

    kind: Literal["model", "dataset", "space"]
    files: Mapping[str, Path | bytes]
    readme: str
    message: str
    own: frozenset[str] = frozenset()


def contents(folder: Path) -> dict[str, Path]:
    """The files of a model folder that are published beside the card: path in the repo -> local file. Raises HubError."""
    present = {name for name in (*NEEDED, ADAPTED_FILE) if (folder / name).is_file()}
    if ADAPTED_FILE in present:
        present.add(MEASURED)
    missing = [name for name in NEEDED if name not in present]
    if missing:
        raise HubError("folder_incomplete", folder=folder, files=", ".join(missing))
    names = [name for name in PUBLISHED_FILES if (folder / name).is_file() and name not in EXPORTED]
    figures = [f"figures/{path.name}" for path in sorted(folder.glob(FIGURES))]
    return {name: folder / name for name in (*names, *_exported(folder), *figures)}


def _exported(folder: Path) -> list[str]:
    """The exported networks of these weights: where a new export failed, those of earlier weights are still there."""
    with readable(folder):
        usable = EXPORTED if may_quantize(folder) else (ONNX_FILE,)
    return [name for name in usable if onnx_network.fits(folder / name, digest(folder))]


def export(folder: Path, say: Callable[[str], None] = print) -> None:
    """Add the exported network to a model folder that has none. Raises HubError, ModelError for a folder that is no model."""
    contents(folder)
    try:
        load_onnx(folder, may_export=True)
    except Exception as error:  # whatever broken weights make safetensors, transformers or timm raise
        raise unusable(folder, error) from error
    if ONNX_FILE not in contents(folder):
        say(f"{folder} is published without {ONNX_FILE}: the network cannot be exported here.")


def model(folder: Path) -> Upload:
    """A model folder, as it is published. Raises HubError, ModelError."""
    message = f"{folder.resolve().name}: weights, preprocessing, card and metrics"
    return Upload("model", contents(folder), card.renewed(folder), message, frozenset(PUBLISHED_FILES))


def publish(
    repo_id: str,
    upload: Upload,
    private: bool = False,
    revision: str = "main",
    delete: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """Commit what has changed of the files and the card; the address of the repo. Raises HubError.

    Files of the repo in the folders that `upload` writes, and which it does not hold, stay and are named; with `delete` they
    are removed.
    """
    api = HfApi()
    with explained(repo_id):
        sdk = {"space_sdk": "gradio"} if upload.kind == "space" else {}
        url = api.create_repo(repo_id, repo_type=upload.kind, private=private, exist_ok=True, **sdk)
        if private and not api.repo_info(repo_id, repo_type=upload.kind).private:
            raise HubError("hub_is_public", repo=repo_id)
        if revision != "main":
            api.create_branch(repo_id, repo_type=upload.kind, branch=revision, exist_ok=True)
        before = api.repo_info(repo_id, repo_type=upload.kind, revision=revision).sha
        text = _merged_card(api, repo_id, upload, revision, say)
        present = api.list_repo_files(repo_id, repo_type=upload.kind, revision=revision)
        changes = [CommitOperationDelete(path) for path in _removed(repo_id, present, upload, delete, say)]
        changes += [CommitOperationAdd(path, file) for path, file in upload.files.items()]
        changes.append(CommitOperationAdd(README, text.encode()))
        target = {"repo_type": upload.kind, "revision": revision, "parent_commit": before}  # no one's changes since are lost
        done = api.create_commit(repo_id, changes, commit_message=upload.message, **target)
        say(f"{repo_id} is up to date already." if done.oid == before else f"committed {done.oid[:8]} to {repo_id}")
    return str(url)


def _merged_card(api: HfApi, repo_id: str, upload: Upload, revision: str, say: Callable[[str], None]) -> str:
    """The card to commit: ours, with what a person wrote on that of the repo."""
    published = _read(api, repo_id, upload.kind, README, revision)
    if upload.kind == "space" and published is not None and not card.is_marked(published):
        published = None  # the Hub writes a README into every new Space
    if published is not None and card.is_edited(published):
        say(f"A person edited the card of {repo_id}: its text is kept, and only the measured metadata is renewed.")
    merged = card.merge(published, upload.readme, f"{repo_id}/{README}")
    if card.words(upload.readme) not in ("", card.words(merged)):
        say(f"The card of {repo_id} has words of its own, which stay; those of the local {README} are not added.")
    return merged


def _removed(repo_id: str, present: Iterable[str], upload: Upload, delete: bool, say: Callable[[str], None]) -> list[str]:
    """The paths of the repo that the commit removes; what is removed, and what stays, is said before."""
    folders = tuple({f"{path.split('/')[0]}/" for path in upload.files if "/" in path})
    absent = sorted(path for path in present if path not in upload.files)
    earlier = [path for path in absent if path in upload.own]
    others = [path for path in absent if path not in upload.own and path.startswith(folders)]
    if earlier:
        say(f"Removed from {repo_id}, since an earlier upload wrote them and this one does not: {', '.join(earlier)}")
    if others and delete:
        say(f"Removed from {repo_id}, since this upload does not hold them: {', '.join(others)}")
    elif others:
        say(f"Kept in {repo_id}, though this upload does not hold them (--delete removes them): {', '.join(others)}")
    return earlier + (others if delete else [])


def folder_name(repo_id: str) -> str:
    """USER--NAME, the name of a pulled model's folder: no embedded model is called so."""
    return repo_id.replace("/", SEPARATOR)


def is_pulled(name: str) -> bool:
    """Whether a folder of this name holds a pulled model."""
    return SEPARATOR in name


def pull(repo_id: str, models: Path = EMBEDDED, revision: str = "main", force: bool = False) -> Path:
    """A model of the Hub -> the folder USER--NAME in `models`, which appears when it is whole. Raises HubError.

    An existing folder is refused. With `force` it is replaced once the new one is complete.
    """
    if "/" not in repo_id:
        raise HubError("hub_bad_name", repo=repr(repo_id))
    folder = models / folder_name(repo_id)
    if os.path.lexists(folder) and not force:
        raise HubError("pull_exists", folder=folder)
    with explained(repo_id):
        models.mkdir(parents=True, exist_ok=True)
        # A model folder is looked for one level below `models`; until it is complete, this one is two levels below.
        with tempfile.TemporaryDirectory(dir=models, prefix=".pull-") as temporary:
            new = Path(temporary, folder.name)
            _download(repo_id, revision, new)
            _replace(folder, new, Path(temporary, "replaced"))
    return folder


def _download(repo_id: str, revision: str, folder: Path) -> None:
    """The files of a model at one commit -> a new folder."""
    api = HfApi()
    info = api.model_info(repo_id, revision=revision)
    present = [sibling.rfilename for sibling in info.siblings]
    missing = [name for name in REQUIRED_FILES if name not in present]
    if missing:
        raise HubError("hub_no_model", repo=repo_id, files=", ".join(missing))
    for name in present:
        if name in (*PUBLISHED_FILES, README) or _is_figure(name):
            api.hf_hub_download(repo_id, name, revision=info.sha, local_dir=folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes on the download


def _is_figure(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parent == PurePosixPath("figures") and path.suffix == ".png"


def _replace(folder: Path, new: Path, aside: Path) -> None:
    """Rename `new` to `folder`; what was in that place is moved aside, and moved back if the rename fails."""
    try:
        if os.path.lexists(folder):
            folder.rename(aside)
        new.rename(folder)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(folder):
            aside.rename(folder)
        raise


def from_clone(path: Path) -> Path:
    """A file of the repository that an installed package does not have. Raises HubError where it is absent."""
    if not path.exists():
        raise HubError("needs_clone", file=path.name)
    return path


def _read(api: HfApi, repo_id: str, kind: str, path: str, revision: str) -> str | None:
    """A text file of a repo, None where it has no such file."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            return Path(api.hf_hub_download(repo_id, path, repo_type=kind, revision=revision, local_dir=temporary)).read_text()
        except EntryNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise HubError("card_broken", card=f"{repo_id}/{path}", reason=first_line(error)) from error
