"""The page with a gate before every picture, for tests that look at what goes on meanwhile: python gated_app.py FOLDER

In FOLDER: while `gate` is there, no picture gets further; each that is begun is a line of `begun`; while `clock` is there, it
is a day ago. The embedded models are those in `models`.
"""

import os
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])
sys.path.insert(0, os.getcwd())

from cells.model import classifier, folder  # noqa: E402
from cells.read import limits  # noqa: E402

folder.EMBEDDED = FOLDER / "models"
limits.CLASSIFYING = limits.WAITING = 2

import app  # noqa: E402

read_image, now = classifier.read_image, time.time


def gated(source):
    with open(FOLDER / "begun", "a") as begun:
        print(source, file=begun)
    while (FOLDER / "gate").exists():
        time.sleep(0.02)
    return read_image(source)


classifier.read_image = gated
time.time = lambda: now() - 86_400 * (FOLDER / "clock").exists()
app.main()
