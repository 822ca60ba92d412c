"""A CSV that grows: killed at any byte it carries on, and never with rows of another model or other pictures."""

import errno
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from cells.classes import LABELS
from cells.model.classifier import Prediction
from cells.model.uncertainty import Uncertainty
from cells.review import Cell, Review
from cells.write import resumable_csv, table
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
    """Write what is missing; how many rows were written before, and how many are of unreadable pictures."""
    with ResumableCsv(out, batches, model, LABELS) as part:
        present = part.rows
        for batch in batches[part.done :]:
            part.append(frame(batch, model))
        part.finish()
        return present, part.unread


def places(written: bytes) -> set[int]:
    """Where a cut is delicate: before and after a line break or a quotation mark, and within a letter of two bytes."""
    delicate = {index for index, byte in enumerate(written) if byte in b'\n"' or byte > 127}
    return delicate | {index + 1 for index in delicate}


def test_batch_by_batch_gives_the_same_bytes_as_at_once(out, unbroken):
    assert grow(out) == (0, 1)
    assert out.read_bytes() == unbroken
    assert not out.with_name("cells.csv.part").exists()


def test_a_call_of_another_kind_begins_anew(out):
    """Pictures that are taken as fields do not follow pictures that were taken as single cells."""
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
    with ResumableCsv(out, BATCHES, MODEL, LABELS, part="field.part") as other:
        assert (other.done, other.path.name) == (0, "cells.csv.field.part")
    assert grow(out) == (2, 1)


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


EARLIER = table.earlier_columns(LABELS)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_an_earlier_version_started_is_carried_on_with_its_columns(out, kind):
    """It had no column of blasts and of smudge cells."""
    out = out.with_suffix(f".{kind}")
    part = out.with_name(f"{out.name}.part")
    assert "p_blast" not in EARLIER
    rows = pd.concat([frame(batch) for batch in BATCHES[:2]])[EARLIER]
    part.write_bytes(table.to_csv(rows, escape=kind == "csv").encode(table.ENCODING))
    assert grow(out) == (4, 1)
    if kind == "csv":
        assert out.read_bytes() == table.to_csv(frame(NAMES)[EARLIER]).encode(table.ENCODING)
    else:
        assert pd.read_parquet(out).columns.tolist() == EARLIER


def test_a_header_that_was_cut_off_is_written_anew_with_the_columns_of_today(out, unbroken):
    earlier = table.to_csv(frame(NAMES)[EARLIER]).encode(table.ENCODING)
    out.with_name("cells.csv.part").write_bytes(earlier.splitlines()[0])
    assert grow(out) == (0, 1)
    assert out.read_bytes() == unbroken


def test_suspected_blasts_are_counted_in_rows_of_today_and_of_an_interrupted_call(out):
    """At the threshold too, which a probability of 32 bits reaches only when it is rounded."""
    rule, labels = Uncertainty(blast_from=0.7), ("ig", "blast")
    probabilities = [*np.float32([0.7, 0.699998, 0.71]), None]
    batches = [["a.png", "b.png"], ["c.png", "d.png"]]

    def rows(names: list[str], some: list) -> pd.DataFrame:
        answers = ((None, "error", "") if p is None else (np.array([1 - p, p], np.float32), "ok", "") for p in some)
        cells = (Cell(Prediction(name, *answer, labels)) for name, answer in zip(names, answers, strict=True))
        return table.to_frame(Review(tuple(cells), MODEL), labels)

    for stopped_after in (0, 1):
        with ResumableCsv(out, batches, MODEL, labels, rule) as part:
            assert part.done == stopped_after
            assert part.blasts == stopped_after
            part.append(rows(batches[stopped_after], probabilities[2 * stopped_after :][:2]))
            assert part.blasts == stopped_after + 1
    assert rule.suspects_blast(np.float32([0.7, 0.699998, 0.71, np.nan])).tolist() == [True, False, True, False]


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


def test_a_second_process_is_refused_and_changes_nothing(out, unbroken):
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
        before = part.path.read_bytes()
        with pytest.raises(ResumableCsvError, match=r"another process is writing .*cells\.csv\.part"):
            grow(out)
        assert part.path.read_bytes() == before
        for batch in BATCHES[1:]:
            part.append(frame(batch))
        part.finish()
    assert out.read_bytes() == unbroken


def test_a_process_that_opened_the_file_before_another_finished_it_leaves_the_whole_file_alone(out, unbroken, monkeypatch):
    first, flock = ResumableCsv(out, BATCHES, MODEL, LABELS).__enter__(), resumable_csv.fcntl.flock
    for batch in BATCHES:
        first.append(frame(batch))

    def finish_first(file, how) -> None:
        monkeypatch.undo()
        first.finish()
        flock(file, how)

    monkeypatch.setattr(resumable_csv.fcntl, "flock", finish_first)
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as second:
        assert second.rows == 0
        second.append(frame(BATCHES[0]))
        assert out.read_bytes() == unbroken


def test_the_lock_ends_with_its_process(out, unbroken):
    code = f"""
import os
from pathlib import Path
from cells.write.resumable_csv import ResumableCsv
ResumableCsv(Path({str(out)!r}), {BATCHES!r}, {MODEL!r}, {LABELS!r}).__enter__()
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert out.with_name("cells.csv.part").exists()
    assert grow(out) == (0, 1)
    assert out.read_bytes() == unbroken


@pytest.mark.parametrize("content", [b"a thesis", b"a,b\n1,2\n", b"\xff\xfe\x00", b'"file'])
def test_a_file_that_is_no_table_of_ours_is_refused_and_kept(out, content):
    part = out.with_name("cells.csv.part")
    part.write_bytes(content)
    with pytest.raises(ResumableCsvError, match="is no unfinished table of this command"):
        grow(out)
    assert part.read_bytes() == content


def test_parquet_has_every_text_as_it_is(tmp_path):
    names = ["=1+1.png", "'=2.png", "a;=b.png", "+c.png", "célula.png"]
    with ResumableCsv(tmp_path / "cells.parquet", [names], "=model@0", LABELS) as part:
        part.append(frame(names, "=model@0"))
        part.finish()
    found = pd.read_parquet(tmp_path / "cells.parquet")
    assert found["file"].tolist() == names
    assert set(found["model"]) == {"=model@0"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.parquet"]


def test_parquet_carries_on_after_an_interruption(tmp_path):
    out = tmp_path / "cells.parquet"
    with ResumableCsv(out, BATCHES, MODEL, LABELS) as part:
        part.append(frame(BATCHES[0]))
    assert grow(out) == (2, 1)
    assert pd.read_parquet(out)["file"].tolist() == [table.printable(name) for name in NAMES]
