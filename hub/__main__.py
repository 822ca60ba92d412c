"""python -m hub card MODEL_FOLDER"""

import argparse
import sys
from pathlib import Path

from hub import card


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m hub", description="Model folders and what is published of them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("card", help="write a model folder's card, README.md, from its own files")
    command.add_argument("folder", type=Path, metavar="MODEL_FOLDER")
    options = parser.parse_args(arguments)
    try:
        card.write(options.folder)
    except FileNotFoundError as error:
        print(f"error: {error.filename} is missing; a model folder is what `python -m train` leaves.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
