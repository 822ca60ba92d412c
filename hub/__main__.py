"""python -m hub card | push | dataset | space | pull | check; each has --help"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from hub import card, publish
from hub.publish import HubError

PRIVATE = {"action": "store_true", "help": "if the repo is new, only you see it"}
REVISION = {"default": "main", "metavar": "BRANCH", "help": "default main"}
MODELS = Path(__file__).resolve().parent.parent / "models"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when it is done, 2 when not; then one line says why."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except HubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _card(options: argparse.Namespace) -> None:
    publish.contents(options.folder)
    card.write(options.folder)


def _push(options: argparse.Namespace) -> None:
    if options.dry_run:
        _list(publish.contents(options.folder), card.text_of(options.folder))
    else:
        print(publish.push(options.folder, options.repo_id, options.private, options.revision))


def _list(files: Mapping[str, Path | bytes], readme: str) -> None:
    """What would go up: sizes in bytes, then the card."""
    for name, file in files.items():
        print(f"{len(file) if isinstance(file, bytes) else file.stat().st_size:12,d}  {name}")
    print(f"{len(readme.encode()):12,d}  README.md\n\n{readme}")


def _dataset(options: argparse.Namespace) -> None:
    from hub import dataset  # brings `datasets`, which only this command needs

    print(dataset.push(options.sources, options.repo_id, options.split or dataset.SPLIT, options.private))


def _space(options: argparse.Namespace) -> None:
    from hub import space  # brings torch, as check does

    print(space.push(options.repo_id, options.model, options.examples, options.private))


def _pull(options: argparse.Namespace) -> None:
    print(publish.pull(options.repo_id, options.models, options.revision))


def _check(options: argparse.Namespace) -> None:
    from hub.check import check  # brings torch, which the other commands do without

    print("\n".join(check(options.repo_id, options.revision)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m hub", description="Model folders and what is published of them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(run=run)
        return command

    command = add("card", _card, "write a model folder's card, README.md, from its own files")
    command.add_argument("folder", type=Path, metavar="MODEL_FOLDER")
    command = add("push", _push, "publish a model folder: weights, preprocessing, card, metrics and figures in one commit")
    command.add_argument("folder", type=Path, metavar="MODEL_FOLDER")
    _add_repo(command)
    command.add_argument("--revision", **REVISION)
    command.add_argument("--private", **PRIVATE)
    command.add_argument("--dry-run", action="store_true", help="list files and sizes and show the card; nothing is sent")
    command = add("dataset", _dataset, "publish PBC: parquet with the subtypes and the project's parts, and its card")
    command.add_argument("sources", nargs="+", metavar="SOURCE", help="parquet files, or the unpacked archive's folder")
    _add_repo(command)
    command.add_argument("--split", type=Path, metavar="FILE", help="a CSV of image_id and split (default results/split.csv)")
    command.add_argument("--private", **PRIVATE)
    command = add("space", _space, "publish the page, with the embedded models, as a Space")
    _add_repo(command)
    command.add_argument(
        "--model", action="append", default=[], metavar="ID", help="offer this Hub model as well; may be given again"
    )
    command.add_argument(
        "--examples", default="", metavar="DATASET", help="offer the examples of this dataset of `hub dataset`"
    )
    command.add_argument("--private", **PRIVATE)
    command = add("pull", _pull, "fetch a model from the Hub")
    _add_repo(command)
    command.add_argument("--revision", **REVISION)
    command.add_argument(
        "--models", type=Path, default=MODELS, metavar="FOLDER", help="where its folder goes (default models/)"
    )
    command = add("check", _check, "load what was published through transformers, its pipeline and timm, and compare")
    _add_repo(command)
    command.add_argument("--revision", **REVISION)
    return parser


def _add_repo(command: argparse.ArgumentParser) -> None:
    command.add_argument("repo_id", metavar="USER/NAME")


if __name__ == "__main__":
    sys.exit(main())
