"""Coverage-guided fuzzing of what reads strangers' files, from those that tests/hostile.py makes:

python -m tests.fuzz images|archive [--minutes 20] [--findings FOLDER]

Needs atheris, which nothing else does: `pip install atheris==3.0.0`. An exception that is not an ImageError is written down
once and the fuzzing goes on, and so is a file that takes long; a hang or too much memory ends it, with the file that made it.
All lie in FOLDER.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris

sys.modules.pop("zipfile", None)  # atheris has imported it
with atheris.instrument_imports(include=["PIL", "cells", "zipfile"]):
    from PIL import Image

    from cells.read import limits
    from cells.read.archive import pictures
    from cells.read.images import ImageError, read_image

limits.PIXELS = limits.PIXELS_WHOLE = 250_000  # to try many pictures; what large ones cost, tests/hostile.py measures
warnings.simplefilter("ignore")  # Pillow's on odd files, of which these are thousands
Image.init()  # every format's code before the memory is measured
from tests import hostile  # noqa: E402 - after what it imports was instrumented

LARGEST = 20_000  # bytes of a file: larger ones are slow to change
SECONDS = 5  # of a processor
HANGS = 60  # seconds of the clock after which there is no more waiting
MEGABYTES = 500


def images(data: bytes) -> None:
    """A picture in 8-bit RGB, or an ImageError."""
    try:
        image = read_image(data)
    except ImageError:
        return
    assert image.mode == "RGB"
    image.resize((32, 32))


def archive(data: bytes) -> None:
    """The entries of a ZIP, each of them bytes that are no more than it said, or an ImageError."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(data)
        file.flush()
        try:
            found = pictures(file.name, limits.MAX_FILES)
        except ImageError:
            return
        for one in found[:20]:
            try:
                assert len(one.read_bytes()) <= one.info.file_size
            except ImageError:
                continue


TARGETS = {"images": images, "archive": archive}


def corpus(what: str, folder: Path) -> None:
    """The files of the generator that are not too large."""
    for number, kind in enumerate(hostile.kinds().values()):
        if kind.file.endswith(".zip") == (what == "archive"):
            data = kind.make()
            if len(data) <= LARGEST:
                (folder / str(number)).write_bytes(data)


def noting(target: Callable[[bytes], None], findings: Path) -> Callable[[bytes], None]:
    """The same, but an exception is written down, once for each place that it comes from."""

    def noted(data: bytes) -> None:
        start = time.process_time()
        try:
            target(data)
            if time.process_time() - start > SECONDS:
                raise TimeoutError(f"more than {SECONDS} s")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            file = findings / f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
            if not file.exists():
                file.write_bytes(data)
                print(f"FINDING {file}: {error}", file=sys.stderr, flush=True)

    return noted


def resident_megabytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("what", choices=TARGETS)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"))
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        hostile.alone(lambda: corpus(options.what, Path(folder)), is_held=False)  # it would count as this one's memory
        arguments = [
            *(sys.argv[0], folder, f"-max_total_time={60 * options.minutes}", f"-timeout={HANGS}", f"-max_len={LARGEST}"),
            *(f"-rss_limit_mb={resident_megabytes() + MEGABYTES}", f"-artifact_prefix={options.findings}/"),
        ]
        atheris.Setup(arguments, noting(TARGETS[options.what], options.findings))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
