"""Bad and odd files, from upload to row: a clear error or an answer, in seconds and megabytes, and nothing is written."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gradio as gr
import hostile
import pytest

from cells.__main__ import main
from cells.read import limits
from cells.write import table
from page import api, views
from page.texts import RefusedError, texts

KINDS = hostile.kinds()
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list | str]:
    """What became of each kind, in processes of their own."""
    command = [sys.executable, "-m", "tests.hostile", "", "2.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


def test_there_are_kinds_enough():
    assert len(KINDS) >= 60


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_answered_or_refused_clearly(name, outcomes):
    assert not isinstance(outcomes[name], str), outcomes[name]  # a crash or a hang
    found, expected = hostile.Outcome(*outcomes[name]), KINDS[name].rows
    assert type(found.rows) is type(expected), found.rows
    if isinstance(expected, str):
        assert hostile.fits(found.rows, expected), found.rows
    else:
        assert len(found.rows) == len(expected)
        assert all(map(hostile.fits, found.rows, expected)), found.rows
    assert found.seconds < hostile.MOST_SECONDS
    assert found.megabytes < hostile.MOST_MEGABYTES
    assert found.is_clean


def test_odd_names_go_through_the_command_line(model_folder, tmp_path, capsys):
    folder, out = tmp_path / "pictures", tmp_path / "cells.csv"
    folder.mkdir()
    names = [name for name in hostile.NAMES.values() if not name.startswith(".")]  # which are hidden
    for name in names:
        (folder / name).write_bytes(hostile.png())
    os.symlink("/etc/passwd", folder / "link.png")
    os.symlink(folder, folder / "loop")
    os.symlink("round.png", folder / "round.png")
    os.symlink("/dev/zero", folder / "endless.png")
    assert main(["classify", str(folder), "--model", str(model_folder), "--out", str(out)]) == 1
    with open(out, encoding="utf-8-sig", newline="") as file:
        messages = {row["file"].removeprefix(f"{folder}/"): row["message"] for row in csv.DictReader(file)}
    words = {"link.png": "not a picture", "endless.png": "no regular file", "round.png": "cannot be read"}
    assert sorted(messages) == sorted([*map(table.printable, names), *words])
    assert all(one in messages[name] for name, one in words.items())
    assert sorted(tmp_path.iterdir()) == [out, folder]
    capsys.readouterr()


def test_names_alone_are_no_formulas_on_the_command_line(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [name for name in hostile.NAMES.values() if name.startswith(table.FORMULA_STARTS) and name != "--help.png"]
    for name in names:
        Path(name).write_bytes(hostile.png())
    assert main(["classify", "--model", str(model_folder), "--out", "cells.csv", "--", *names]) == 0
    with open("cells.csv", encoding="utf-8-sig", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [f"'{name}" for name in names]


def test_a_request_that_takes_too_long_says_how_long_it_may(cell_files, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS", -1)
    with pytest.raises(RefusedError):
        list(api.in_time([None], lambda: False))
    monkeypatch.setattr(api.catalog, "load", api.Classifier.load)
    monkeypatch.setattr(api.uploads, "find", Path)
    files = [{"path": shutil.copy(file, tmp_path)} for file in cell_files]
    with pytest.raises(gr.Error, match="longer than -1 s"):
        api.rows(files, str(model_folder))


def test_whoever_hung_up_frees_what_is_not_begun(cell_files):
    with pytest.raises(RefusedError):
        list(api.in_time(cell_files, lambda: True))
    assert list(api.in_time(cell_files, lambda: False)) == cell_files


def test_more_archives_than_pictures_are_allowed_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILES", 2)
    files = [str(tmp_path / f"{number}.zip") for number in range(5)]
    for file in files[:3]:
        Path(file).write_bytes(hostile.one())
    assert len(api.unpacked(files, files)) == 5  # the last two are not there


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_page_names_every_limit(language):
    words = views.about(language)
    million = 1_000_000
    figures = [limits.MAX_FILES, limits.ENTRIES, limits.NAME, limits.ASPECT, limits.FILE_SECONDS, limits.SECONDS]
    figures += [one // million for one in (limits.FILE_BYTES, limits.UNPACKED_BYTES, limits.PIXELS, limits.PIXELS_WHOLE)]
    assert all(f"{figure} " in words for figure in figures)
    assert texts(language)["about_request"] in words
