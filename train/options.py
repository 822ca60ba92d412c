"""Options that several commands of `python -m train` share."""

import argparse
from pathlib import Path

from cells.measures import HUB_ID
from train.data import PLACES


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """The parser of one command."""
    return argparse.ArgumentParser(f"python -m train {command}".strip(), description=description)


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data SOURCE..."""
    parser.add_argument("--data", nargs="+", default=[HUB_ID], metavar="SOURCE", help=PLACES)


def add_recipe(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """RECIPE, values that override it, --data and --split."""
    parser.add_argument("recipe", nargs=None if required else "?", metavar="RECIPE", help="a name that --list shows")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values of the recipe to change: epochs=5")
    add_data(parser)
    parser.add_argument("--split", type=Path, metavar="FILE", help="a CSV of image_id and split, instead of a new split")


def add_models(parser: argparse.ArgumentParser, out: str) -> None:
    """MODEL..., --data, --split and --out FILE, for a study of models on parts of a split."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="an embedded model's name, a model folder or a Hub id")
    add_data(parser)
    parser.add_argument("--split", type=Path, required=True, metavar="FILE", help="a CSV of image_id and split")
    parser.add_argument("--out", type=Path, default=Path(out), metavar="FILE", help="default %(default)s")


def number_from_2(text: str) -> int:
    """The type of an option that is a whole number from 2."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is to be a whole number from 2")
    return int(text)
