"""A table that is written batch by batch: FILE.part, a CSV, until the last row is there, then FILE, as CSV or parquet.

Killed at any moment, the same call carries on. Nothing is kept beside the rows: they say themselves of which model and which
pictures they are. A batch that was not written whole is cut off and made again, so that each picture is classified beside the
same others as in an unbroken run, and the file comes out the same to the last byte.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType

import pandas as pd

from cells.model.uncertainty import ERROR
from cells.write import table

AS_IS = {"keep_default_na": False, "lineterminator": "\n"}  # a picture may be called NA, or have a carriage return in its name
ROW_GROUP = 10_000  # rows of a parquet file that are in memory together


class PartFileError(Exception):
    """Rows that cannot be written or carried on. Its text is one line for the user."""


class PartFile:
    """The rows of `batches`, which are the names of the pictures, as a model says of them.

    `model` is its name with its version. Within `with`, the first `done` batches are there, `rows` rows, `unread` of them of
    unreadable pictures. Raises PartFileError where there are rows of other pictures or of another model, and where it cannot be
    written.
    """

    def __init__(self, whole: Path, batches: Sequence[Sequence[str]], model: str, labels: Sequence[str]) -> None:
        self.whole = whole
        self.path = whole.with_name(f"{whole.name}.part")
        self.batches = batches
        self.model = model
        self.done = self.rows = self.unread = 0
        self._empty = pd.DataFrame(columns=table.columns(labels))
        self._header = table.to_csv(self._empty)

    def __enter__(self) -> "PartFile":
        with self._writing():
            self.path.touch()
            end = self._carry_on()
            self._file = open(self.path, "r+b")
            self._file.truncate(end)
            self._file.seek(end)
            if not end:
                self._write(self._header)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def append(self, frame: pd.DataFrame) -> None:
        """The rows of the next batch."""
        with self._writing():
            self._write(table.to_csv(frame, header=False))
        self._count(frame["status"])

    def finish(self) -> None:
        """Give the file its name: every row is there. What had this name before is replaced."""
        with self._writing():
            self._file.close()
            if self.whole.suffix.lower() == ".parquet":
                self._to_parquet()
            else:
                os.replace(self.path, self.whole)

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

    def _write(self, text: str) -> None:
        self._file.write(text.encode())
        self._file.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PartFileError(f"{self.path} cannot be written: {error.strerror or error}.") from None

    def _count(self, statuses: pd.Series) -> None:
        self.done += 1
        self.rows += len(statuses)
        self.unread += int((statuses == ERROR).sum())

    def _carry_on(self) -> int:
        """Count the batches that are there whole; the byte at which the next one begins, 0 where not even the header is."""
        ends = self._ends()
        if len(ends) < 2:
            return 0
        there = self._read(len(ends) - 1)
        names = [table.not_a_formula(table.printable(name)) for name in chain(*self.batches)]
        if there is None or set(there["model"]) != {table.not_a_formula(self.model)}:
            raise PartFileError(self._foreign("another model"))
        if there["file"].tolist() != names[: len(there)]:
            raise PartFileError(self._foreign("other pictures"))
        for batch in self.batches:
            if self.rows + len(batch) > len(there):
                break
            self._count(there["status"].iloc[self.rows : self.rows + len(batch)])
        return ends[self.rows]

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

    def _read(self, rows: int) -> pd.DataFrame | None:
        """Those columns of the first rows that say what they are; None where the columns are not this model's."""
        with open(self.path, "rb") as file:
            if file.read(len(self._header)) != self._header.encode():
                return None
        return pd.read_csv(
            self.path,
            nrows=rows,
            usecols=["file", "model", "status"],
            dtype=str,
            **AS_IS,
        )

    def _foreign(self, what: str) -> str:
        return f"{self.path} holds the unfinished rows of {what}: repeat the call that began it, or delete it to start anew."
