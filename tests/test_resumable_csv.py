"""A CSV that grows: killed at any byte it carries on, and never with rows of another model or other pictures."""

import errno
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from cells.classes import LABELS
from cells.model.classifier import Prediction
from cells.review import Cell, Review
from cells.write import table
from cells.write.resumable_csv import ResumableCsv, ResumableCsvError

MODEL = "resnet18@0123abcd"
NAMES = ["a.png", "=1+1.png", 'two\nlines ".png', "célula.png", "NA", "broken\udcff.png", "carriage\rreturn.png"]
BATCHES = [NAMES[0:2], NAMES[2:4], NAMES[4:6], NAMES[6:]]


def frame(names: Sequence[str], model: str = MODEL) -> pd.DataFrame:
    """The rows of pictures, those called broken unreadable; each has probabilities of its own."""
    cells = []
    for name in names:
        probabilities = np.random.default_rng(len(name)).dirichlet(np.ones(8))
        answer = (None, "error", "The file is\nempty.") if "broken" in name else (probabilities, "ok", "")
        cells.append(Cell(Prediction(name, *answer)))
    return table.to_frame(Review(tuple(cells), model), LABELS)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "cells.csv"


@pytest.fixture
def unbroken(out) -> bytes:
    """What write_csv makes of all rows at once."""
    table.write_csv(frame(NAMES), out)
    written = out.read_bytes()
    out.unlink()
    return written


def grow(out, batches=BATCHES, model=MODEL) -> tuple[int, int]:
    """Write what is missing; how many rows were there, and how many are of unreadable pictures."""
    with ResumableCsv(out, batches, model, LABELS) as part:
        there = part.rows
        for batch in batches[part.done :]:
            part.append(frame(batch, model))
        part.finish()
        return there, part.unread


def places(written: bytes) -> set[int]:
    """Where a cut is delicate: before and after a line break or a quotation mark, and within a letter of two bytes."""
    delicate = {index for index, byte in enumerate(written) if byte in b'\n"' or byte > 127}
    return delicate | {index + 1 for index in delicate}


def test_batch_by_batch_gives_the_same_bytes_as_at_once(out, unbroken):
    assert grow(out) == (0, 1)
    assert out.read_bytes() == unbroken
    assert not out.with_name("cells.csv.part").exists()


def test_each_batch_is_on_the_disk_before_the_next_and_the_old_file_stays_until_the_last(out, unbroken):
    out.write_text("of yesterday")
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
        there = part.path.read_bytes()
        assert unbroken.startswith(there)
        assert there.count(b"\n") == 3
    assert out.read_text() == "of yesterday"


def test_cut_off_at_any_byte_it_carries_on_to_the_same_file(out, unbroken):
    part = out.with_name("cells.csv.part")
    kept = set()
    for cut in {*range(0, len(unbroken), 25), *places(unbroken), len(unbroken)}:
        part.write_bytes(unbroken[:cut])
        there, unread = grow(out)
        kept.add(there)
        assert out.read_bytes() == unbroken, cut
        assert unread == 1
    assert kept == {0, 2, 4, 6, 7}  # whole batches, so that none is classified beside other pictures


@pytest.mark.parametrize(
    ("batches", "model", "what"),
    [
        (BATCHES, "resnet18@ffffffff", "another model"),
        ([["a.png", "other.png"], *BATCHES[1:]], MODEL, "other pictures"),
        ([["a.png"]], MODEL, "other pictures"),
    ],
)
def test_rows_of_another_call_are_refused_and_kept(out, batches, model, what):
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
    before = part.path.read_bytes()
    with pytest.raises(ResumableCsvError, match=rf"cells\.csv\.part holds the unfinished rows of {what}: .* delete it"):
        grow(out, batches, model)
    assert part.path.read_bytes() == before


def test_rows_of_a_model_with_other_labels_are_refused(out):
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
    with pytest.raises(ResumableCsvError, match="another model"), ResumableCsv(out, BATCHES, MODEL, ("BA", "EO")):
        pass


def test_a_full_disk_is_one_sentence_and_what_is_there_is_carried_on(out, unbroken, monkeypatch):
    def full(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
        with monkeypatch.context() as disk:
            disk.setattr(ResumableCsv, "_write", full)
            with pytest.raises(ResumableCsvError, match=r"part cannot be written: No space left on device\.$"):
                part.append(frame(BATCHES[1]))
    assert grow(out) == (2, 1)
    assert out.read_bytes() == unbroken
