"""python -m cells classify: what it reads, writes, prints, and its exit status."""

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from serving import heed_interrupts

from cells.__main__ import main
from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT
from cells.read.find_images import find_images
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write import excel
from cells.write.table import columns, to_frame, write_csv


@pytest.fixture
def folder(tmp_path):
    """Pictures in folders, with one that is no picture and what is to be passed over."""
    for name in ("b/2.png", "b/1.PNG", "a.jpg", "c/deep/3.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_cell("lymphocyte").resize((64, 64)).save(path)
    (tmp_path / "pictures" / "c" / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    (tmp_path / "pictures" / ".hidden.png").write_bytes(b"left by a program")
    (tmp_path / "pictures" / ".trash").mkdir()
    (tmp_path / "pictures" / ".trash" / "left.png").write_bytes(b"by a program too")
    return tmp_path / "pictures"


def run(*arguments: object) -> int:
    return main(["classify", *map(str, arguments)])


@pytest.fixture
def stopped(folder, model_folder, tmp_path):
    """stopped(signal) -> a run, ended by that signal before its third and last batch, and the arguments of its line.

    The second batch may have been written or not: the third is read meanwhile.
    """
    gate = folder / "c" / "deep" / "3.png"  # the reading process waits at a pipe until somebody writes to it
    picture = gate.read_bytes()
    arguments = ["classify", str(folder), "--model", str(model_folder), "--out", str(tmp_path / "out.csv"), "--batch-size", "2"]

    def run_until(how: signal.Signals) -> tuple[subprocess.CompletedProcess, list[str]]:
        gate.unlink()
        os.mkfifo(gate)
        process = subprocess.Popen(
            [sys.executable, "-m", "cells", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        with open(gate, "wb"):  # it waits there
            process.send_signal(how)
        error = process.communicate(timeout=120)[1]
        gate.unlink()
        gate.write_bytes(picture)
        return subprocess.CompletedProcess(process.args, process.returncode, stderr=error), arguments

    return run_until


def test_folders_are_walked_in_order_with_their_names(folder, model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert run("pictures/c", "pictures", "--model", model_folder, "--out", "out.csv", "--batch-size", 2) == 1
    frame = pd.read_csv("out.csv")
    walked = ["a.jpg", "b/1.PNG", "b/2.png", "c/broken.png", "c/deep/3.png"]
    assert frame["file"].tolist() == [
        *("pictures/c/broken.png", "pictures/c/deep/3.png"),
        *(f"pictures/{name}" for name in walked),
    ]
    assert list(frame.columns) == columns(places=True)
    assert frame["model"].str.fullmatch(r"tiny@[0-9a-f]{8}/(int8|fp32|torch)").all()
    assert (frame["status"] == "error").tolist() == [name.endswith("broken.png") for name in frame["file"]]


def test_linked_folders_are_walked_once_and_loops_end(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (folder / "a.jpg").rename(tmp_path / "elsewhere" / "a.jpg")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "c" / "again").symlink_to(folder / "b")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path)
    found = [file.removeprefix(f"{folder}/") for file in find_images(str(folder))]
    assert found == ["b/1.PNG", "b/2.png", "c/broken.png", "c/deep/3.png", "link/a.jpg"]


@pytest.fixture
def pictures_zip(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as file:
        for name in ("b/2.png", "a.jpg", "c/broken.png"):
            file.write(folder / name, name)
        file.writestr("notes.txt", "no picture")
    return tmp_path / "pictures.zip"


@pytest.mark.parametrize("out", ["out.csv", "out.xlsx"])
def test_a_zip_stands_for_its_pictures_with_their_names(folder, pictures_zip, model_folder, tmp_path, out):
    arguments = (folder / "b", pictures_zip, folder / "a.jpg", "--model", model_folder, "--batch-size", 2)
    assert run(*arguments, "--out", tmp_path / out) == 1
    frame = pd.read_csv(tmp_path / out) if out == "out.csv" else pd.read_excel(tmp_path / out)
    others = [str(folder / name) for name in ("b/1.PNG", "b/2.png", "a.jpg")]
    assert frame["file"].tolist() == [*others[:2], "a.jpg", "b/2.png", "c/broken.png", others[2]]
    assert (frame["status"] == "error").tolist() == [False, False, False, False, True, False]


def test_pictures_of_several_zips_are_told_apart(pictures_zip, model_folder, tmp_path):
    other = shutil.copy(pictures_zip, tmp_path / "other.zip")
    assert run(pictures_zip, other, "--model", model_folder, "--out", tmp_path / "out.csv") == 1
    names = [f"{path}/{name}" for path in (pictures_zip, other) for name in ("a.jpg", "b/2.png", "c/broken.png")]
    assert pd.read_csv(tmp_path / "out.csv")["file"].tolist() == names


def test_an_interrupted_zip_is_carried_on(pictures_zip, model_folder, tmp_path, monkeypatch, capsys):
    line = (pictures_zip, "--model", model_folder, "--batch-size", 1, "--out", tmp_path / "out.csv")
    assert run(*line) == 1
    whole = (tmp_path / "out.csv").read_bytes()
    (tmp_path / "out.csv").unlink()
    (tmp_path / "out.csv.part").write_bytes(whole[: whole.index(b"b/2.png") + 20])
    asked = []
    predict = Classifier.predict
    monkeypatch.setattr(
        Classifier, "predict", lambda self, sources, files, *more: asked.extend(files) or predict(self, sources, files, *more)
    )
    assert run(*line) == 1
    assert asked == ["b/2.png", "c/broken.png"]
    assert (tmp_path / "out.csv").read_bytes() == whole
    capsys.readouterr()


def test_status_0_when_every_file_was_read(folder, model_folder, tmp_path, capsys):
    assert run(folder / "b", "--model", model_folder, "--out", tmp_path / "out.xlsx") == 0
    assert len(pd.read_excel(tmp_path / "out.xlsx")) == 2
    assert capsys.readouterr().out == ""


def test_a_workbook_without_room_for_the_cells_of_fields_leaves_a_csv(folder, model_folder, tmp_path, monkeypatch, capsys):
    """How many they are is known only once the fields are read."""

    def full(*_: object) -> None:
        raise ValueError("a sheet of Excel has too few rows")

    monkeypatch.setattr(excel, "write", full)
    assert run(folder / "b", "--model", model_folder, "--out", tmp_path / "out.xlsx") == 2
    assert len(pd.read_csv(tmp_path / "out.xlsx.csv")) == 2
    assert "the rows are in" in capsys.readouterr().err


def test_a_missing_file_is_a_row_and_status_1(folder, model_folder, capsys):
    assert run(folder / "a.jpg", folder / "nothing.png", "--model", model_folder) == 1
    output = capsys.readouterr()
    assert "There is no such file." in output.out
    assert "1 of 2 files could not be read" in output.err


def test_without_out_a_table_is_printed_with_the_model(folder, model_folder, capsys):
    assert run(folder / "a.jpg", "--model", model_folder) == 0
    output = capsys.readouterr().out
    assert "model: tiny@" in output
    assert len(output.splitlines()) == 4


def test_wrong_calls_are_one_line_and_status_2(folder, model_folder, tmp_path, capsys, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    monkeypatch.setattr(excel, "MAX_ROWS", 3)
    for arguments, words in (
        ([empty, "--model", model_folder], "holds no picture"),
        ([folder, "--model", "resnet999"], "There is no model 'resnet999'"),
        ([folder, "--model", empty], "cannot be loaded"),
        ([folder / "b", tmp_path / "bad.zip", "--model", model_folder], "bad.zip: The ZIP is damaged"),
        ([folder, "--out", tmp_path / "out.xlsx"], "room for 2 pictures, not 5"),
        ([folder, "--out", tmp_path / "out.txt"], ".csv, .xlsx or .json"),
        ([folder, "--out", tmp_path / "no" / "out.csv"], "there is no folder"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["classify"], [], ["classify", "x.png", "--batch-size", "0"], ["guess", "x.png"]])
def test_argparse_speaks_for_the_rest(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_as_a_program_from_the_embedded_model(folder):
    command = [sys.executable, "-m", "cells", "classify", str(folder / "b")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert f"model: {DEFAULT}@" in done.stdout
    assert "Traceback" not in done.stderr


def test_killed_in_the_middle_the_same_line_carries_on_to_the_same_file(stopped, folder, model_folder, tmp_path, monkeypatch):
    done, line = stopped(signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    assert not out.exists()
    written = len(pd.read_csv(part))
    assert written in (2, 4)
    asked = []
    predict = Classifier.predict
    monkeypatch.setattr(
        Classifier, "predict", lambda self, sources, *more: asked.extend(sources) or predict(self, sources, *more)
    )
    assert main(line) == 1
    assert [Path(file).name for file in asked] == ["2.png", "broken.png", "3.png"][written - 2 :]
    carried_on = out.read_bytes()
    assert not part.exists()
    assert main(line) == 1
    assert len(asked) == 5 - written + 5
    assert out.read_bytes() == carried_on


def test_what_ctrl_c_says_is_true(stopped, tmp_path):
    done, line = stopped(signal.SIGINT)
    assert done.returncode == 130
    rows = re.escape(f"of 5 pictures are in {tmp_path / 'out.csv.part'}, and the same line carries on.")
    assert re.fullmatch(rf"stopped; [24] {rows}\n", done.stderr)
    assert main(line) == 1
    assert len(pd.read_csv(tmp_path / "out.csv")) == 5


def test_ctrl_c_before_a_workbook_says_that_nothing_was_written(folder, model_folder, tmp_path, capsys, monkeypatch):
    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "predict", stop)
    assert run(folder, "--model", model_folder, "--out", tmp_path / "out.xlsx") == 130
    assert capsys.readouterr().err == "stopped; nothing was written.\n"
    assert not (tmp_path / "out.xlsx").exists()


def test_rows_of_another_model_are_not_carried_on(folder, model_folder, tmp_path, capsys):
    assert run(folder / "b", "--model", model_folder, "--out", tmp_path / "out.csv") == 0
    (tmp_path / "out.csv").rename(tmp_path / "out.csv.part")
    assert run(folder / "b", "--model", "vit_tiny", "--out", tmp_path / "out.csv") == 2
    assert "holds the unfinished rows of another model" in capsys.readouterr().err


def test_a_csv_is_what_the_table_makes_of_all_predictions_at_once(folder, model_folder, tmp_path):
    assert run(folder, "--model", model_folder, "--out", tmp_path / "out.csv", "--batch-size", 2) == 1
    classifier = Classifier.load(model_folder)
    cells = tuple(map(Cell, classifier.predict(find_images(str(folder)), batch_size=2)))
    write_csv(to_frame(Review(cells, str(classifier)), places=True), tmp_path / "at_once.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "at_once.csv").read_bytes()
