"""Tables whose pictures lie in their rows: parquet files, and what the hub's library makes of them.

Questions are read without the pictures, which are most of the bytes. A picture is read alone, when it is
asked for.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pumice.data.parquet import need
from pumice.errors import DataError, suggest
from pumice.evaluate.samples import Stored
from pumice.score.files import Row

KEPT = 64 * 2**20
"""Bytes of picture columns that are kept: neighbours lie in one group of rows, which is read whole."""
BATCH = 1024
"""Rows that are taken out of a table at once, without pictures."""


class Table(Protocol):
    """Rows with named columns, some of which hold pictures."""

    @property
    def place(self) -> str:
        """What errors name."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names."""

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """The rows, of these columns alone.

        Raises:
            DataError: there is no such column, or the table cannot be read.
        """

    def filled(self, column: str) -> Sequence[bool] | None:
        """Which rows have a picture there, if that can be told without reading any."""

    def cell(self, row: int, column: str) -> Any:
        """What stands in a cell, the row counted from 0."""

    def mark(self, row: int, column: str) -> str:
        """What changes where a cell's bytes did, without reading any; empty where nothing tells."""

    def where(self, row: int) -> str:
        """What errors call a row."""


class ParquetTable:
    """The rows of parquet files, one file after the other."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the files' ends, which name their columns.

        Raises:
            DataError: a file cannot be read, or has other columns than the first.
            MissingExtraError: pyarrow is not installed.
        """
        self._pq = need("pyarrow.parquet", "pyarrow")
        self._arrow = need("pyarrow", "pyarrow")
        self.files = tuple(files)
        self.place = str(files[0]) if len(files) == 1 else str(files[0].parent)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int, str], Any] = OrderedDict()
        self._groups: list[list[int]] = []
        """Of each file, how many rows its groups have."""
        self._sizes: dict[tuple[int, int], dict[str, int]] = {}
        """Of each file's groups, the bytes of each column, as the file's end tells them."""
        schemas = []
        for file in self.files:
            with self._opened(file) as table:
                groups = [table.metadata.row_group(at) for at in range(table.num_row_groups)]
                schemas.append(table.schema_arrow)
            for at, group in enumerate(groups):
                self._sizes[len(self._groups), at] = _column_bytes(group)
            self._groups.append([group.num_rows for group in groups])
        self._schema = schemas[0]
        self.columns = tuple(self._schema.names)
        for file, schema in zip(self.files, schemas, strict=True):
            if set(schema.names) != set(self.columns):
                odd = sorted(set(schema.names) ^ set(self.columns))
                raise DataError(
                    f"the file's columns differ from those of {self.files[0].name}: {', '.join(odd)}",
                    where=str(file),
                    remedy="take all files from one release",
                )

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        check_columns(self, columns)
        for file in self.files:
            number = 0
            with self._opened(file) as table:
                for batch in self._read(file, table.iter_batches(batch_size=BATCH, columns=list(columns))):
                    for value in batch.to_pylist():
                        number += 1
                        yield Row(value, f"{file}, row {number}")

    def filled(self, column: str) -> Sequence[bool] | None:
        check_columns(self, [column])
        kind = self._schema.field(column).type
        if not (self._arrow.types.is_struct(kind) and kind.get_field_index("path") >= 0):
            return None
        found: list[bool] = []
        for file in self.files:
            with self._opened(file) as table:  # the names alone: a null cell is null there, too
                for batch in self._read(file, table.iter_batches(columns=[f"{column}.path"])):
                    found += batch.column(0).is_valid().to_pylist()
        return found

    def cell(self, row: int, column: str) -> Any:
        file, group, place = self._seat(row)
        with self._lock:
            key = (file, group, column)
            if key not in self._kept:
                with self._opened(self.files[file]) as table:
                    try:
                        read = table.read_row_group(group, columns=[column]).column(0)
                    except (OSError, self._arrow.ArrowException) as error:
                        raise _unread(self.files[file], error) from error
                self._kept[key] = read
                while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key][place].as_py()

    def mark(self, row: int, column: str) -> str:
        file, group, place = self._seat(row)
        return f"{place} of {self._groups[file][group]}, {self._sizes[file, group].get(column, 0)} bytes"

    def where(self, row: int) -> str:
        file, group, place = self._seat(row)
        return f"{self.files[file]}, row {sum(self._groups[file][:group]) + place + 1}"

    def _seat(self, row: int) -> tuple[int, int, int]:
        """File, group of rows, and place in the group."""
        for file, counts in enumerate(self._groups):
            for group, count in enumerate(counts):
                if row < count:
                    return file, group, row
                row -= count
        raise AssertionError("a row beyond the table's end")

    def _opened(self, file: Path) -> Any:
        try:
            return self._pq.ParquetFile(file)
        except (OSError, self._arrow.ArrowException) as error:
            raise _unread(file, error) from error

    def _read(self, file: Path, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except (OSError, self._arrow.ArrowException) as error:
            raise _unread(file, error) from error


def _column_bytes(group: Any) -> dict[str, int]:
    """The bytes of a group's columns, uncompressed; parts of a column (``image.bytes``) count together."""
    sizes: dict[str, int] = {}
    for at in range(group.num_columns):
        part = group.column(at)
        name = part.path_in_schema.partition(".")[0]
        sizes[name] = sizes.get(name, 0) + int(part.total_uncompressed_size)
    return sizes


def stored(table: Table, row: int, column: str, name: str) -> Stored:
    """The picture of a cell, under a name; it is read when it is needed."""
    return Stored(
        name,
        lambda: picture_bytes(table.cell(row, column), f"{table.where(row)}, {column}"),
        table.mark(row, column),
    )


def picture_bytes(value: object, where: str) -> bytes:
    """The bytes of a picture as tables hold it: themselves, ``{"bytes", "path"}``, or base64.

    Raises:
        DataError: there is none, or it is something else.
    """
    if isinstance(value, Mapping):
        inside, path = value.get("bytes"), value.get("path")
        if isinstance(inside, bytes) and inside:
            return inside
        if isinstance(path, str) and Path(path).is_file():
            return Path(path).read_bytes()
    elif isinstance(value, bytes) and value:
        return value
    elif isinstance(value, str) and value:
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            pass
    raise DataError("the row has no picture there", where=where, remedy="take the file as it was published")


def check_columns(table: Table, columns: Sequence[str]) -> None:
    """Refuse columns that a table does not have; the nearest is named."""
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"the table has no column {column!r}",
                where=table.place,
                remedy=suggest(column, table.columns),
            )


def _unread(file: Path, error: Exception) -> DataError:
    return DataError(
        f"the parquet file cannot be read ({error})",
        where=str(file),
        remedy="it may have been cut off: fetch it again",
    )
