"""PBC -> a dataset on the Hub: parquet with a ClassLabel, the subtype and the project's parts, and a card."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import datasets
from huggingface_hub import DatasetCardData
from PIL import Image

from cells import pbc
from cells.classes import LABELS, NAMES, SUBTYPE_LABELS
from cells.read.images import FORMATS, ImageError, read_image
from hub import card
from hub.examples import FOLDER
from hub.messages import HubError
from hub.publish import Upload, from_clone

ROOT = Path(__file__).resolve().parent.parent
SPLIT = ROOT / "results" / "split.csv"
AUDIT = ROOT / "results" / "audit.csv"
TEMPLATE = Path(__file__).with_name("dataset_card.md")
UNASSIGNED = "unassigned"  # pictures that the split file does not name: no figure is measured on them
PARTS = (*pbc.PARTS, UNASSIGNED)


@contextmanager
def upload(
    sources: Sequence[str], repo_id: str, split_file: Path | None = None, say: Callable[[str], None] = print
) -> Iterator[Upload]:
    """The unpacked archive, or parquet files -> an upload, which holds until the context ends. Raises HubError."""
    split_file = split_file or from_clone(SPLIT)
    try:
        parts = prepare(pbc.read(sources), pbc.read_split(split_file))
    except pbc.DataError as error:
        raise HubError("text", text=str(error)) from None
    with TemporaryDirectory() as folder:
        files: dict[str, Path | bytes] = {"audit.csv": from_clone(AUDIT)}
        for part, rows in parts.items():
            files[_path(part)] = Path(folder, f"{part}.parquet")
            rows.to_parquet(files[_path(part)])
            say(f"{len(rows):6,d}  {part}")
        files |= example_files(parts)
        own = {*map(_path, PARTS), *(_example(label, form) for label in LABELS for form in FORMATS)}
        yield Upload("dataset", files, text_of(repo_id, parts), "PBC with its parts", frozenset(own))


def _path(part: str) -> str:
    """Of a part's parquet file, in the dataset."""
    return f"data/{part}.parquet"


def prepare(dataset: datasets.Dataset, split: Mapping[str, str]) -> dict[str, datasets.Dataset]:
    """The rows of each part that has any, with pictures embedded and a ClassLabel. Raises DataError."""
    found = [split.get(image_id, UNASSIGNED) for image_id in dataset["image_id"][:]]
    features = datasets.Features(
        {
            "image_id": datasets.Value("string"),
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(LABELS)),
            "cell_type": datasets.Value("string"),
            "cell_subtype": datasets.Value("string"),
        }
    )

    def complete(row: dict) -> dict:
        content = _content(row)
        name = f"{row['image_id']}.{_format(content).lower()}"
        return {"image": {"bytes": content, "path": name}, "label": LABELS.index(row["cell_type"])}

    parts = {}
    for part in PARTS:
        rows = [row for row, its_part in enumerate(found) if its_part == part]
        if rows:
            parts[part] = dataset.select(rows).map(complete, features=features, keep_in_memory=True)
    return parts


def _content(row: dict) -> bytes:
    """The encoded picture of a row, which can be read. Raises DataError."""
    source = pbc.source_of(row["image"])
    try:
        read_image(source)
        return source if isinstance(source, bytes) else Path(source).read_bytes()
    except ImageError as error:
        raise pbc.DataError(f"{row['image_id'] if isinstance(source, bytes) else source}: {error}") from None


def example_files(parts: Mapping[str, datasets.Dataset]) -> dict[str, bytes]:
    """path in the dataset -> a picture of each type, for the page; of the test part, if any: no model learned from it."""
    rows = parts.get("test", next(iter(parts.values()))).cast_column("image", datasets.Image(decode=False))
    types = rows["cell_type"][:]
    firsts = {label: rows[types.index(label)]["image"]["bytes"] for label in LABELS if label in types}
    return {_example(label, _format(content)): content for label, content in firsts.items()}


def _example(label: str, form: str) -> str:
    """Of a type's example in one of FORMATS, in the dataset."""
    return f"{FOLDER}/{label}.{form.lower()}"


def _format(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        return image.format


def text_of(repo_id: str, parts: Mapping[str, datasets.Dataset]) -> str:
    """The card, with the counts of what is published."""
    counts = {part: Counter(rows["cell_type"][:]) for part, rows in parts.items()}
    total = sum(map(len, parts.values()))
    first = next(iter(parts.values())).cast_column("image", datasets.Image(decode=False))[0]["image"]["bytes"]
    left = f"`{UNASSIGNED}` holds pictures on which no figure of the project was measured." if UNASSIGNED in parts else ""
    body = (
        Template(TEMPLATE.read_text())
        .substitute(
            pictures=f"{total:,}",
            picture_format=_format(first) + ("" if _format(first) == "JPEG" else "; the originals are JPEG"),
            labels=", ".join(f"{index} {label}" for index, label in enumerate(LABELS)),
            subtypes=", ".join(SUBTYPE_LABELS),
            parts=" | ".join(parts),
            rule=" | ".join(["---"] * len(parts)),
            counts="\n".join(
                f"| {NAMES[label]} | {' | '.join(f'{counts[part][label]:,}' for part in parts)} |" for label in LABELS
            ),
            unassigned=left,
        )
        .replace("USER/NAME", repo_id)
    )
    metadata = DatasetCardData(
        license="cc-by-4.0",
        pretty_name="PBC: single peripheral blood cells",
        task_categories=["image-classification"],
        size_categories=["10K<n<100K" if total > 10_000 else "1K<n<10K" if total > 1_000 else "n<1K"],
        tags=["medical", "hematology", "blood-cells", "microscopy"],
        configs=[{"config_name": "default", "data_files": [{"split": part, "path": _path(part)} for part in parts]}],
    )
    return f"---\n{metadata}\n---\n\n{card.marked(body)}"
