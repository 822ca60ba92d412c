"""python -m hub card | push | dataset | space | pull | check; each has --help"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from cells.model.folder import EMBEDDED, ONNX_FILE, ModelError, embedded_folder
from hub import card, publish
from hub.messages import HubError, explained


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the command succeeded, 2 when not, with one line on the reason; 130 when Ctrl-C stopped it."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (HubError, ModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # a commit is whole or not there, and a pulled folder appears when it is whole
        print("stopped.", file=sys.stderr)
        return 130
    return 0


def _card(options: argparse.Namespace) -> None:
    publish.contents(options.folder)
    with explained(str(options.folder)):
        written = card.write(options.folder)
    if card.is_edited(written):
        print(f"A person edited the card of {options.folder}: its text is kept, and only the measured metadata is renewed.")


def _push(options: argparse.Namespace) -> None:
    _export([options.folder], options.dry_run)
    _send(publish.model(options.folder), options)


def _dataset(options: argparse.Namespace) -> None:
    try:
        from hub import dataset  # imports `datasets`, which only this command needs
    except ModuleNotFoundError as error:
        raise HubError("needs_library", library=error.name, file="requirements-dev.txt") from None

    with dataset.upload(options.sources, options.repo_id, options.split) as upload:
        _send(upload, options)


def _space(options: argparse.Namespace) -> None:
    from hub import space  # imports torch, as check does

    if reasons := space.left_out():
        print(f"Left out: {', '.join(f'{name} ({reason})' for name, reason in sorted(reasons.items()))}")
    _export(map(embedded_folder, space.published_models()), options.dry_run)
    _send(space.upload(options.model, options.examples), options)


def _export(folders: Iterable[Path], dry_run: bool) -> None:
    """Add the exported networks to model folders; a dry run changes no folder and says what it does not list."""
    for folder in folders:
        if not dry_run:
            publish.export(folder)
        elif ONNX_FILE not in publish.contents(folder):
            print(f"{folder}: not listed are the ONNX files, which are exported before the upload.")


def _send(upload: publish.Upload, options: argparse.Namespace) -> None:
    if not options.dry_run:
        revision = getattr(options, "revision", "main")  # a Space is built from main alone
        print(publish.publish(options.repo_id, upload, options.private, revision, options.delete))
        return
    for name, file in upload.files.items():
        print(f"{len(file) if isinstance(file, bytes) else file.stat().st_size:12,d}  {name}")
    print(f"{len(upload.readme.encode()):12,d}  README.md\n\n{upload.readme}")


def _pull(options: argparse.Namespace) -> None:
    print(publish.pull(options.repo_id, options.out, options.revision, options.force))


def _check(options: argparse.Namespace) -> None:
    from hub.check import check  # imports torch, which most commands do not need

    print("\n".join(check(options.repo_id, options.revision)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m hub", description="Model folders and what is published of them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run, words: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(run=run)
        return command

    command = add("card", _card, "write a model folder's card, README.md, from its own files; a person's words on it stay")
    command.add_argument("folder", type=Path, metavar="MODEL_FOLDER")
    command = add("push", _push, "publish a model folder: weights, preprocessing, card, metrics and figures in one commit")
    command.add_argument("folder", type=Path, metavar="MODEL_FOLDER")
    _add_repo(command)
    _add_revision(command)
    _add_upload(command)
    command = add("dataset", _dataset, "publish PBC: parquet with the subtypes and the project's parts, and its card")
    command.add_argument("sources", nargs="+", metavar="SOURCE", help="parquet files, or the unpacked archive's folder")
    _add_repo(command)
    command.add_argument("--split", type=Path, metavar="FILE", help="a CSV of image_id and split (default results/split.csv)")
    _add_revision(command)
    _add_upload(command)
    command = add("space", _space, "publish the page, with the embedded models, as a Space")
    _add_repo(command)
    words = "offer this Hub model as well; may be given several times"
    command.add_argument("--model", action="append", default=[], metavar="HUB_ID", help=words)
    words = "offer the examples of a dataset that `hub dataset` published"
    command.add_argument("--examples", default="", metavar="HUB_ID", help=words)
    _add_upload(command)
    command = add("pull", _pull, "fetch a model from the Hub into a folder USER--NAME")
    _add_repo(command)
    _add_revision(command)
    words = "where USER--NAME is made (default: beside the embedded models)"
    command.add_argument("--out", "--models", type=Path, default=EMBEDDED, metavar="FOLDER", help=words)
    command.add_argument("--force", action="store_true", help="replace an existing folder once the new one is complete")
    command = add("check", _check, "load what was published through transformers, its pipeline and timm, and compare")
    _add_repo(command)
    _add_revision(command)
    return parser


def _add_repo(command: argparse.ArgumentParser) -> None:
    command.add_argument("repo_id", metavar="USER/NAME")


def _add_revision(command: argparse.ArgumentParser) -> None:
    command.add_argument("--revision", default="main", metavar="REVISION", help="a branch, tag or commit (default main)")


def _add_upload(command: argparse.ArgumentParser) -> None:
    """The options of every command that publishes."""
    command.add_argument("--private", action="store_true", help="only you see a new repo; an existing public one is refused")
    command.add_argument("--dry-run", action="store_true", help="list files and sizes and show the card; nothing is sent")
    words = "remove files that this upload does not hold from the folders that it writes; without it they are only named"
    command.add_argument("--delete", action="store_true", help=words)


if __name__ == "__main__":
    sys.exit(main())
