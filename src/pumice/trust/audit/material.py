"""What is audited: the rows and pictures of one or several data files, each with a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pumice.data.index import Progress, open_table
from pumice.data.mixture import Source
from pumice.data.problems import Refusal
from pumice.data.shuffle import shuffled
from pumice.data.table import SampleTable
from pumice.types import IntArray, Origin, Picture, Still, Video

SAMPLE = 7001
"""Sets the draw of ``sample`` apart from others of the same seed."""


@dataclass(frozen=True, eq=False)
class Material:
    """Rows 0 to ``rows`` - 1, those of each table one behind the other, and pictures 0 to ``pictures`` - 1.

    Attributes:
        tables: the data files.
        chosen: for each table, the numbers of its rows that are looked at, int64, rising.
        stills: every different picture that they show, videos left out.
        videos: how many videos they show.
        refused: rows that cannot be read at all; they have no number.
        use_row, use_picture: int64 [uses], which row shows which picture, by picture and then by row.
        use_start: int64 [pictures + 1], cuts them by picture.
    """

    tables: tuple[SampleTable, ...]
    chosen: tuple[IntArray, ...]
    stills: tuple[Still, ...]
    videos: int
    refused: tuple[Refusal, ...]
    use_row: IntArray
    use_picture: IntArray
    use_start: IntArray

    @property
    def starts(self) -> IntArray:
        """Where each table's rows begin, and behind them all where they end."""
        return np.cumsum([0, *map(len, self.chosen)], dtype=np.int64)

    @property
    def rows(self) -> int:
        return int(self.starts[-1])

    @property
    def pictures(self) -> int:
        return len(self.stills)

    def find(self, row: int) -> tuple[SampleTable, int]:
        """The table of a row, and its number there."""
        starts = self.starts
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return self.tables[part], int(self.chosen[part][row - starts[part]])

    def origin(self, row: int) -> Origin:
        """The file and row where it was read."""
        table, number = self.find(row)
        return table.origin(number)

    def source(self, row: int) -> str:
        """The name of its data."""
        return self.find(row)[0].source

    def showing(self, picture: int) -> IntArray:
        """The rows that show a picture, rising."""
        return self.use_row[self.use_start[picture] : self.use_start[picture + 1]]

    def shown(self) -> tuple[IntArray, NDArray[np.int64]]:
        """The pictures of each row: where those of row i begin [rows + 1], and their numbers, by row."""
        order = np.argsort(self.use_row, kind="stable")
        starts = np.searchsorted(self.use_row[order], np.arange(self.rows + 1))
        return starts.astype(np.int64), self.use_picture[order]


def open_material(
    sources: Sequence[Source],
    *,
    cache_folder: Path | None = None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Material:
    """Read the rows of some data files. Rows that cannot be read are told and stop nothing.

    Args:
        sources: the files; ``limit`` and ``weight`` of a source are not looked at, all its rows count.
        cache_folder: where what was read is kept for the next time.
        limit: only so many of each file's first rows.
        sample: only so many of each file's rows, drawn by ``seed``.
        seed: of that draw.
        progress: told of rows read.

    Raises:
        DataError: a file cannot be read, or has no row that can be.
    """
    tables: list[SampleTable] = []
    chosen: list[IntArray] = []
    refused: list[Refusal] = []
    for place, source in enumerate(sources):
        table = open_table(
            source.file,
            source.image_root,
            source.name,
            format=source.format,
            check_files=False,
            cache_folder=cache_folder,
            progress=progress,
            allow_bad=None,
            given=source.rights,
        )
        rows = np.delete(np.arange(len(table), dtype=np.int64), table.left_out)
        if sample is not None and sample < len(rows):
            rows = np.sort(rows[shuffled(len(rows), (seed, SAMPLE, place))[:sample]])
        tables.append(table)
        chosen.append(rows if limit is None else rows[:limit])
        refused += table.refused
    return _numbered(tables, chosen, tuple(refused))


def _numbered(
    tables: Sequence[SampleTable], chosen: Sequence[IntArray], refused: tuple[Refusal, ...]
) -> Material:
    numbers: dict[Picture, int] = {}
    videos: set[Picture] = set()
    use_row, use_picture = [], []
    start = 0
    for table, rows in zip(tables, chosen, strict=True):
        columns = table.columns
        per_row = np.diff(columns.use_start)[rows]
        shown = np.zeros(len(table), np.bool_)
        shown[rows] = True
        uses = columns.uses[np.repeat(shown, np.diff(columns.use_start))]
        seats = np.full(table.pictures, -1, np.int64)
        for own in dict.fromkeys(uses.tolist()):
            picture = table.picture(own)
            if isinstance(picture, Video):
                videos.add(picture)
            else:
                seats[own] = numbers.setdefault(picture, len(numbers))
        use_row.append(np.repeat(np.arange(start, start + len(rows)), per_row))
        use_picture.append(seats[uses])
        start += len(rows)
    row, picture_of = np.concatenate(use_row), np.concatenate(use_picture)
    row, picture_of = row[picture_of >= 0], picture_of[picture_of >= 0]
    if row.size:  # a row that shows a picture twice concerns it once
        row, picture_of = np.unique(np.stack([row, picture_of]), axis=1)
    order = np.lexsort([row, picture_of])
    row, picture_of = row[order], picture_of[order]
    return Material(
        tables=tuple(tables),
        chosen=tuple(chosen),
        stills=tuple([one for one in numbers if not isinstance(one, Video)]),
        videos=len(videos),
        refused=refused,
        use_row=row.astype(np.int64),
        use_picture=picture_of.astype(np.int64),
        use_start=np.searchsorted(picture_of, np.arange(len(numbers) + 1)).astype(np.int64),
    )
