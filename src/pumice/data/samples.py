"""Samples as a sequence: those of several tables, in an order, some of them more than once.

What preflight, the plan and the record need of all samples (how often each stands, whose pictures) is
answered here without reading them, for a sequence that knows it; a plain list is looked through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from pumice.data.index import open_table
from pumice.data.table import SampleTable, fingerprint
from pumice.types import IntArray, Origin, Picture, Sample


class Samples(Sequence[Sample]):
    """Rows of tables, in order.

    Args:
        parts: a table, and the numbers of its rows, int64 [any], one behind the other.
    """

    def __init__(self, parts: Sequence[tuple[SampleTable, IntArray]]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(rows) for _, rows in self.parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.parts else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        table, row = self._find(index)
        return table[row]

    def __iter__(self) -> Iterator[Sample]:
        for table, rows in self.parts:
            yield from table.read(rows.tolist())

    def take(self, places: IntArray) -> Iterator[Sample]:
        """The samples at some places, int64 [any] that rise, each file read in one go."""
        for table, rows in self.rows_at(places):
            yield from table.read(rows.tolist())

    def rows_at(self, places: IntArray) -> Iterator[tuple[SampleTable, IntArray]]:
        """Tables, and the rows of each that stand at some places, int64 [any] that rise."""
        start = 0
        for table, rows in self.parts:
            here = places[(places >= start) & (places < start + len(rows))] - start
            yield table, rows[here]
            start += len(rows)

    def without(self, places: IntArray) -> Samples:
        """The same but for those at some places, int64 [any]."""
        keep = np.ones(len(self), np.bool_)
        keep[places] = False
        starts = self._ends - [len(rows) for _, rows in self.parts]
        return Samples(
            [
                (table, rows[keep[start : start + len(rows)]])
                for (table, rows), start in zip(self.parts, starts.tolist(), strict=True)
            ]
        )

    def images(self, index: int) -> tuple[Picture, ...]:
        """The pictures of a sample."""
        table, row = self._find(index)
        return table.images(row)

    def origin(self, index: int) -> Origin:
        """Where a sample was read."""
        table, row = self._find(index)
        return table.origin(row)

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides what a step sees: texts, pictures, boxes, their order."""
        return fingerprint(self.parts)

    def distinct(self) -> tuple[IntArray, IntArray]:
        """The first place of each different sample, in order, and for each place which of them it holds."""
        offset, start = 0, 0
        keys = np.zeros(len(self), np.int64)
        seen: dict[int, int] = {}
        for table, rows in self.parts:
            base = seen.setdefault(id(table), offset)
            offset = max(offset, base + len(table))
            keys[start : start + len(rows)] = rows + base
            start += len(rows)
        return _distinct(keys)

    def pictures(self) -> Iterator[tuple[Picture, Origin]]:
        """Every different picture of every part, with the first row that shows it."""
        for table, rows in self.parts:
            columns = table.columns
            uses_of = np.zeros(len(table), np.bool_)
            uses_of[rows] = True
            per_row = np.diff(columns.use_start)
            shown = np.repeat(uses_of, per_row)
            row_of = np.repeat(np.arange(len(table)), per_row)[shown]
            numbers, first = np.unique(columns.uses[shown], return_index=True)
            for number, row in sorted(
                zip(numbers.tolist(), row_of[first].tolist(), strict=True), key=_second
            ):
                yield table.picture(number), table.origin(row)

    def _find(self, index: int) -> tuple[SampleTable, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        part = int(np.searchsorted(self._ends, index, side="right"))
        table, rows = self.parts[part]
        return table, int(rows[index - (int(self._ends[part]) - len(rows))])


def whole(table: SampleTable) -> Samples:
    """All samples of a table, each once."""
    return Samples([(table, np.arange(len(table), dtype=np.int64))])


def distinct(samples: Sequence[Sample]) -> tuple[IntArray, IntArray]:
    """As ``Samples.distinct``, for any sequence that holds its samples (repeated ones are one object)."""
    if isinstance(samples, Samples):
        return samples.distinct()
    return _distinct(np.fromiter((id(sample) for sample in samples), np.int64, len(samples)))


def pictures_of(samples: Sequence[Sample]) -> dict[Picture, Origin]:
    """Every different picture of the samples, and the first row that shows it."""
    found: dict[Picture, Origin] = {}
    if isinstance(samples, Samples):
        for picture, origin in samples.pictures():
            found.setdefault(picture, origin)
    else:
        for sample in samples:
            for picture in sample.images:
                found.setdefault(picture, sample.origin)
    return found


def take(samples: Sequence[Sample], places: IntArray) -> Iterator[Sample]:
    """The samples at some places, int64 [any] that rise."""
    if isinstance(samples, Samples):
        return samples.take(places)
    return (samples[place] for place in places.tolist())


def images_at(samples: Sequence[Sample], index: int) -> tuple[Picture, ...]:
    """The pictures of one sample, without reading it where the sequence knows them."""
    return samples.images(index) if isinstance(samples, Samples) else samples[index].images


def read_samples(
    path: str | Path,
    image_root: Path | None,
    source: str | None = None,
    *,
    format: str | None = None,
    check_files: bool = True,
    max_errors: int = 20,
) -> list[Sample]:
    """Read a data file of any format into memory.

    Args:
        path: a file, a folder, a range of shards, or ``hub:`` and a name.
        image_root: the folder that names of pictures are relative to; None for data without any.
        source: the name of this data in a mixture; the file's stem unless given.
        format: its format by name; None tells it from the file.
        check_files: whether each image file must exist.
        max_errors: how many bad rows the error lists; it always says how many there are.

    Returns:
        One sample per row, in the order of the file.

    Raises:
        DataError: the file cannot be parsed, holds no rows, or has rows that cannot be used. Of bad
            rows none is dropped: a single one refuses the file.
    """
    table = open_table(
        path,
        image_root,
        source or Path(path).stem,
        format=format,
        check_files=check_files,
        max_errors=max_errors,
    )
    return list(table)


def _distinct(keys: IntArray) -> tuple[IntArray, IntArray]:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[inverse].astype(np.int64)


def _second(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[1], pair[0]
