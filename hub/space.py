"""app.py, the packages that it needs, the embedded models and requirements.txt -> a Space, in one commit."""

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template

from huggingface_hub import SpaceCard

from cells.locate.find import EMBEDDED_LOCATOR, LOCATOR_FILES
from cells.model.folder import ADAPTED_FILE, embedded, embedded_folder, split_revision
from hub import card, catalog
from hub.publish import Upload, from_clone, is_pulled
from hub.publish import contents as model_contents

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = Path(__file__).with_name("space.md")
PACKAGES = ("cells", "hub", "page")
TOP_LEVEL = ("app.py", "requirements.txt", "LICENSE", "CITATION.cff")
CODE = (".py", ".md", ".toml", ".html", ".css", ".js", ".json")
TEST = ".test.js"  # how the name of a test of the page's modules ends


def upload(models: Sequence[str] = (), dataset: str = "") -> Upload:
    """The Space with the embedded models, these of the Hub, and a dataset's examples. Raises HubError, ModelError."""
    found = {place: catalog.look_up(*split_revision(place)) for place in models}
    return Upload("space", contents(models, dataset), text_of(found, dataset), "The page and its models")


def left_out() -> dict[str, str]:
    """The models beside the embedded ones that a Space does not get unasked: name -> why."""
    pulled = {name: "pulled from the Hub, --model USER/NAME adds one" for name in embedded() if is_pulled(name)}
    adapted = [name for name in embedded() if (embedded_folder(name) / ADAPTED_FILE).is_file()]
    return dict.fromkeys(adapted, "adapted to a laboratory's cells") | pulled


def published_models() -> list[str]:
    """The embedded models that a Space gets."""
    return sorted(set(embedded()) - left_out().keys())


def contents(models: Sequence[str] = (), dataset: str = "") -> dict[str, Path | bytes]:
    """The files of the Space beside its README: path in the Space -> local file, or content. Raises HubError, ModelError."""
    files: dict[str, Path | bytes] = {name: from_clone(ROOT / name) for name in TOP_LEVEL}
    for package in PACKAGES:
        found = (path for path in sorted((ROOT / package).rglob("*")) if path.suffix in CODE and not path.name.endswith(TEST))
        files |= {path.relative_to(ROOT).as_posix(): path for path in found}
    for name in published_models():
        folder = embedded_folder(name)
        files |= {f"models/{name}/{path}": file for path, file in model_contents(folder).items()}
        files[f"models/{name}/README.md"] = card.renewed(folder).encode()
    files |= {f"models/{EMBEDDED_LOCATOR.name}/{name}": EMBEDDED_LOCATOR / name for name in (*LOCATOR_FILES, "README.md")}
    if new := _not_listed(models):
        named = "".join(f"{json.dumps(place)} = {json.dumps(place)}\n" for place in new)
        files["hub/models.toml"] = f"{catalog.LIST.read_text()}\n# Chosen for this Space:\n{named}".encode()
    if dataset:
        files["hub/examples.toml"] = f"dataset = {json.dumps(dataset)}\n".encode()
    return files


def _not_listed(models: Sequence[str]) -> list[str]:
    """Each once, without those of models.toml: TOML refuses a key that comes twice. Raises HubError."""
    listed = catalog.listed()
    return [place for place in dict.fromkeys(models) if place not in (*listed, *listed.values())]


def text_of(models: dict[str, tuple[str, list[str]]], dataset: str = "") -> str:
    """The Space's README: this repository's front matter, with the Hub models, and a text for its visitors.

    `models`: Hub model -> (commit, files), which the Space fetches while it is built.
    """
    metadata = SpaceCard((ROOT / "README.md").read_text()).data
    if models:
        metadata.models = list(dict.fromkeys(split_revision(place)[0] for place in models))
        metadata.preload_from_hub = [
            f"{split_revision(place)[0]} {','.join(catalog.wanted(files))} {sha}" for place, (sha, files) in models.items()
        ]
    if dataset:
        metadata.datasets = [*metadata.datasets, dataset]
    body = Template(TEMPLATE.read_text()).substitute(models=", ".join(f"`{name}`" for name in [*published_models(), *models]))
    return f"---\n{metadata}\n---\n\n{card.marked(body)}"
