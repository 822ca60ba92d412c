"""A table that is written batch by batch: FILE.part, a CSV, until the last row is written, then FILE, as CSV or parquet.

Killed at any moment, the same call carries on. Nothing is kept beside the rows: they say themselves of which model and which
pictures they are. A batch that was not written whole is cut off and made again, so that each picture is classified beside the
same others as in an unbroken run, and the file comes out the same to the last byte. A lock, which ends with its process, keeps
two processes from writing the same file. A finished FILE is replaced only by a whole one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import pandas as pd

from cells.classes import BLAST
from cells.model.uncertainty import ERROR, Uncertainty
from cells.write import table

try:
    import fcntl
except ImportError:  # Windows, which does not replace a file that is open
    fcntl = None

AS_IS = {"keep_default_na": False, "lineterminator": "\n"}  # a picture may be called NA, or have a carriage return in its name
BOM = b"\xef\xbb\xbf"  # what table.ENCODING begins a file with
ROW_GROUP = 10_000  # rows of a parquet file that are in memory together
P_BLAST = f"p_{BLAST.name}"


class ResumableCsvError(Exception):
    """Rows that cannot be written or carried on. Its text is one line for the user."""


class ResumableCsv:
    """The rows of `batches`, which are the names of the pictures, as a model says of them.

    `model` is its name with its version. With `places` a picture may be a field, with a row for each of its cells. `part` ends
    the name of the unfinished file: calls of different kinds, whose rows would not tell, do not carry each other on. Within
    `with`, the first `done` batches are written: `pictures` pictures in `rows` rows, `unread` of them of unreadable pictures,
    `blasts` of suspected blasts, as `rule` has it; `fields` pictures are fields, with `cells` cells. A file that an earlier
    version started keeps the columns that it has. Raises ResumableCsvError for rows of other pictures or of another model, for
    a file that is no such table, while another process writes it, and where it cannot be written.

    In a CSV what a spreadsheet would take for a formula has an apostrophe before it; in parquet every text is as it is.
    """

    def __init__(
        self,
        whole: Path,
        batches: Sequence[Sequence[str]],
        model: str,
        labels: Sequence[str],
        rule: Uncertainty | None = None,
        places: bool = False,
        part: str = "part",
    ) -> None:
        self.whole = whole
        self.path = whole.with_name(f"{whole.name}.{part}")
        self.batches = batches
        self.model = model
        self.done = self.pictures = self.rows = self.unread = self.blasts = self.fields = self.cells = 0
        self._rule = rule or Uncertainty()
        self._is_parquet = whole.suffix.lower() == ".parquet"
        self._empty = pd.DataFrame(columns=table.columns(labels, places))
        self._earlier = self._empty if places else pd.DataFrame(columns=table.earlier_columns(labels))

    def __enter__(self) -> "ResumableCsv":
        with self._writing():
            self._file = self._locked()
            try:
                end = self._carry_on()
                self._file.truncate(end)
                self._file.seek(end)
                if not end:
                    self._write(self._header(self._empty))
            except BaseException:
                self._file.close()
                raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def append(self, frame: pd.DataFrame) -> None:
        """The rows of the next batch."""
        with self._writing():
            self._write(self._csv(frame[self._empty.columns], header=False).encode())
        self._count(frame)

    def finish(self) -> None:
        """Give the file its name: every row is written. A file that had this name before is replaced."""
        with self._writing():
            if fcntl is None:
                self._file.close()
            if self._is_parquet:
                self._to_parquet()
            else:
                os.replace(self.path, self.whole)
            self._file.close()

    def _locked(self) -> IO[bytes]:
        """The file, locked until it is closed; made where it is missing.

        Raises ResumableCsvError while another process has it.
        """
        while True:
            file = open(self.path, "a+b")  # noqa: SIM115 - closed by __exit__
            try:
                if fcntl is None:
                    break
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    break
                file.close()  # the other process finished between the two lines: this is its whole file by now
            except BlockingIOError:
                file.close()
                raise ResumableCsvError(
                    f"another process is writing {self.path}: wait for it, or give another --out."
                ) from None
            except FileNotFoundError:
                file.close()
            except OSError:  # a file system without locks
                break
        return file

    def _header(self, empty: pd.DataFrame) -> bytes:
        return self._csv(empty, header=True).encode(table.ENCODING)

    def _csv(self, frame: pd.DataFrame, header: bool) -> str:
        return table.to_csv(frame, header, escape=not self._is_parquet)

    def _as_written(self, text: str) -> str:
        return text if self._is_parquet else table.not_a_formula(text)

    def _to_parquet(self) -> None:
        """The texts and numbers of the CSV, in row groups of ROW_GROUP."""
        import pyarrow  # comes with Ray, and is needed only with it
        from pyarrow.parquet import ParquetWriter

        numbers = table.numbers(self._empty)
        kinds = {name: pyarrow.float64() if name in numbers else pyarrow.string() for name in self._empty.columns}
        texts = dict.fromkeys(self._empty.columns.difference(numbers), str)
        schema = pyarrow.schema(kinds)
        unfinished = self.path.with_suffix(".unfinished")
        with ParquetWriter(unfinished, schema) as writer:
            chunks = pd.read_csv(
                self.path, dtype=texts, chunksize=ROW_GROUP, na_values=[""], float_precision="round_trip", **AS_IS
            )
            for chunk in chunks:
                writer.write_table(pyarrow.Table.from_pandas(chunk, schema, preserve_index=False))
        os.replace(unfinished, self.whole)
        self.path.unlink()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResumableCsvError(f"{self.path} cannot be written: {error.strerror or error}.") from None

    def _count(self, frame: pd.DataFrame) -> None:
        begun = _begun(frame)
        self.done += 1
        self.rows += len(frame)
        self.pictures += len(begun)
        if "field" in frame:
            self.fields += int((frame["field"].iloc[begun].fillna("") != "").sum())
            self.cells += int((pd.to_numeric(frame["cell"]) > 0).sum())
        self.unread += int((frame["status"] == ERROR).sum())
        if P_BLAST in frame:
            self.blasts += int(self._rule.suspects_blast(pd.to_numeric(frame[P_BLAST])).sum())

    def _carry_on(self) -> int:
        """Count the batches that are written whole; the byte at which the next one begins, 0 where no header is.

        Raises ResumableCsvError, before anything is changed, for a file that is not the beginning of this table.
        """
        self._check_header()
        ends = self._ends()
        if len(ends) < 2:
            return ends[0] if ends else 0
        written = self._read(len(ends) - 1)
        names = [self._as_written(table.printable(name)) for name in chain(*self.batches)]
        if set(written["model"]) != {self._as_written(self.model)}:
            raise self._foreign("another model")
        begun = _begun(written)
        if written["file"].iloc[begun].tolist() != names[: len(begun)]:
            raise self._foreign("other pictures")
        # The last picture may be a field that has more cells than those that are written.
        complete = len(begun) - ("cell" in written and written["cell"].iloc[-1] != "")
        for batch in self.batches:
            if self.pictures + len(batch) > complete:
                break
            self._count(written.iloc[self.rows : [*begun, len(written)][self.pictures + len(batch)]])
        return ends[self.rows]

    def _check_header(self) -> None:
        """Whether the file begins with the header, today's or an earlier version's, or is a beginning of it.

        Raises ResumableCsvError.
        """
        today, earlier = map(self._header, (self._empty, self._earlier))
        with open(self.path, "rb") as file:
            found = file.read(len(today))
        if found == today[: len(found)]:
            return
        if found.startswith(earlier):
            self._empty = self._earlier
            return
        if found.removeprefix(BOM).startswith(b"file,prediction,"):
            raise self._foreign("another model or version")
        raise ResumableCsvError(f"{self.path} is no unfinished table of this command: move it, or give another --out.")

    def _ends(self) -> list[int]:
        """The bytes at which the header and each whole row end. A line break between quotation marks ends none."""
        ends, marks, position = [], 0, 0
        with open(self.path, "rb") as lines:
            for line in lines:
                position += len(line)
                marks += line.count(b'"')
                if marks % 2 == 0 and line.endswith(b"\n"):
                    ends.append(position)
        return ends

    def _read(self, rows: int) -> pd.DataFrame:
        """Those columns of the first rows that say what they are, as far as the file has them."""
        wanted = ("file", "model", "status", P_BLAST, "field", "cell")
        return pd.read_csv(self.path, nrows=rows, usecols=lambda name: name in wanted, dtype=str, **AS_IS)

    def _foreign(self, what: str) -> ResumableCsvError:
        return ResumableCsvError(
            f"{self.path} holds the unfinished rows of {what}: repeat the call that made them, or delete it to start anew."
        )


def _begun(frame: pd.DataFrame) -> list[int]:
    """The places of the rows with which a picture begins: of a field, that of its first cell."""
    if "cell" not in frame:
        return list(range(len(frame)))
    return np.flatnonzero(pd.to_numeric(frame["cell"]).fillna(1) == 1).tolist()
