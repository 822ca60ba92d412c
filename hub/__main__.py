"""python -m hub card | push | pull | check; each has --help"""

import argparse
import sys
from pathlib import Path

from hub import card, publish
from hub.publish import PublishError

MODELS = Path(__file__).resolve().parent.parent / "models"


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when it is done, 2 when not; then one line says why."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except PublishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _card(options: argparse.Namespace) -> None:
    publish.contents(options.folder)
    card.write(options.folder)


def _push(options: argparse.Namespace) -> None:
    if options.dry_run:
        for name, file in publish.contents(options.folder).items():
            print(f"{file.stat().st_size:12,d}  {name}")
        text = card.text_of(options.folder)
        print(f"{len(text.encode()):12,d}  README.md\n\n{text}")
    else:
        print(publish.push(options.folder, options.repo_id, options.private, options.revision))


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
    command.add_argument("--private", action="store_true", help="if the repo is new, only you see it")
    command.add_argument("--dry-run", action="store_true", help="list files and sizes and show the card; nothing is sent")
    command = add("pull", _pull, "fetch a model from the Hub")
    _add_repo(command)
    command.add_argument(
        "--models", type=Path, default=MODELS, metavar="FOLDER", help="where its folder goes (default models/)"
    )
    command = add("check", _check, "load what was published through transformers, its pipeline and timm, and compare")
    _add_repo(command)
    return parser


def _add_repo(command: argparse.ArgumentParser) -> None:
    command.add_argument("repo_id", metavar="USER/NAME")
    command.add_argument("--revision", default="main", metavar="BRANCH", help="default main")


if __name__ == "__main__":
    sys.exit(main())
