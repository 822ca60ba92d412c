"""app.py, the rooms that it needs, the embedded models and what to install -> a Space, in one commit."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template

from huggingface_hub import SpaceCard

from cells.model.folder import embedded, split_revision
from hub import card, catalog
from hub.publish import contents as model_contents
from hub.publish import export, publish

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = Path(__file__).with_name("space.md")
ROOMS = ("cells", "hub", "page")
TOP_LEVEL = ("app.py", "requirements.txt", "LICENSE", "CITATION.cff")
CODE = (".py", ".md", ".toml", ".html", ".css", ".js")


def push(
    repo_id: str,
    models: Sequence[str] = (),
    dataset: str = "",
    private: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """The Space with the embedded models, these of the Hub, and a dataset's examples; its address. Raises HubError."""
    found = {place: catalog.look_up(*split_revision(place)) for place in models}
    for name in embedded():
        export(ROOT / "models" / name, say)
    files, text = contents(models, dataset), text_of(found, dataset)
    return publish(repo_id, "space", files, text, "The page and its models", private, say=say)


def contents(models: Sequence[str] = (), dataset: str = "") -> dict[str, Path | bytes]:
    """What goes to the Space beside its README: path there -> file here, or content. Raises HubError."""
    files: dict[str, Path | bytes] = {name: ROOT / name for name in TOP_LEVEL}
    for room in ROOMS:
        found = (path for path in sorted((ROOT / room).rglob("*")) if path.suffix in CODE)
        files |= {path.relative_to(ROOT).as_posix(): path for path in found}
    for name in embedded():
        folder = ROOT / "models" / name
        files |= {f"models/{name}/{path}": file for path, file in model_contents(folder).items()}
        files[f"models/{name}/README.md"] = folder / "README.md"
    if models:
        named = "".join(f"{json.dumps(place)} = {json.dumps(place)}\n" for place in models)
        files["hub/models.toml"] = f"{catalog.LIST.read_text()}\n# Chosen for this Space:\n{named}".encode()
    if dataset:
        files["hub/examples.toml"] = f"dataset = {json.dumps(dataset)}\n".encode()
    return files


def text_of(models: dict[str, tuple[str, list[str]]], dataset: str = "") -> str:
    """The Space's README: this repository's front matter, with the Hub models, and words for its visitors.

    `models`: Hub models, and the commit and the files of each, which the Space fetches while it is built.
    """
    metadata = SpaceCard((ROOT / "README.md").read_text()).data
    if models:
        ids = [split_revision(place)[0] for place in models]
        metadata.models = ids
        metadata.preload_from_hub = [
            f"{repo_id} {','.join(catalog.wanted(there))} {sha}"
            for repo_id, (sha, there) in zip(ids, models.values(), strict=True)
        ]
    if dataset:
        metadata.datasets = [*metadata.datasets, dataset]
    body = Template(TEMPLATE.read_text()).substitute(models=", ".join(f"`{name}`" for name in [*embedded(), *models]))
    return f"---\n{metadata}\n---\n\n{card.marked(body)}"
