"""What a stage sees, row by row: digests of rows and of their pictures' bytes, and the steps that show them.

Kept as ``rows.npz`` beside a stage's plan. It names rows by digest and by place and holds none of their
contents, so it may stay when a row has to go. Some 60 bytes a row.

A leaf of the stage's tree (``data.merkle``) is

    "pumice row 1\\n", the row's digest (16 bytes), of each picture that it shows, in order, 16 bytes

where the row's digest is that of ``index.row_digest`` and a picture's the first half of the SHA-256 of its
bytes; of a video in several files BLAKE2b-128 over theirs. Leaves are the stage's different rows, in the
order of its mixture.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumice.data.contents import Contents
from pumice.data.merkle import inclusion_proof, leaf_hash, tree_levels
from pumice.data.samples import Samples
from pumice.errors import RunError
from pumice.files import replacing
from pumice.image.video import folder_files
from pumice.types import IntArray, Picture, Video

SEEN_FILE = "rows.npz"
VERSION = 1
LEAF = b"pumice row 1\n"
_MANY = 500
"""Pictures between two calls of ``Progress``."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class SeenColumns:
    """R different rows, P different pictures, N samples of an epoch (a row that weighs 2 stands twice).

    ``row`` [R, 16] uint8 are digests, ``number`` [R] int64 the rows' numbers in their files, ``origin`` [R]
    int32 those files (of ``files``), ``source`` [R] int32 their sources (of ``sources``). ``use_start``
    [R + 1] int64 cuts ``uses`` int32 into the pictures of each row, of which ``picture`` [P, 16] uint8 are
    digests.
    ``sample`` [N] int32 is each sample's row: a plan's indices point there. ``step_start`` [R + 1] int64 cuts
    ``steps`` int32 into the steps (from 0) that show each row; all of them are empty of rows that only
    measure. ``files`` and ``sources`` are text, with line ends between.
    """

    row: NDArray[np.uint8]
    number: IntArray
    origin: NDArray[np.int32]
    source: NDArray[np.int32]
    use_start: IntArray
    uses: NDArray[np.int32]
    picture: NDArray[np.uint8]
    sample: NDArray[np.int32]
    step_start: IntArray
    steps: NDArray[np.int32]
    files: NDArray[np.uint8]
    sources: NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """The rows of a stage, in the order of its mixture."""

    columns: SeenColumns

    def __len__(self) -> int:
        return len(self.columns.row)

    def row_digest(self, row: int) -> bytes:
        """16 bytes that stand for what a row says."""
        return bytes(self.columns.row[row].tobytes())

    def picture_digests(self, row: int) -> list[bytes]:
        """16 bytes for each picture that a row shows, in order."""
        start, stop = self.columns.use_start[row : row + 2]
        return [self.columns.picture[use].tobytes() for use in self.columns.uses[start:stop]]

    def leaf(self, row: int) -> bytes:
        """The data of a row's leaf."""
        return leaf_data(self.row_digest(row), self.picture_digests(row))

    def steps(self, row: int) -> IntArray:
        """The steps that show a row, from 0, in order."""
        start, stop = self.columns.step_start[row : row + 2]
        return self.columns.steps[start:stop].astype(np.int64)

    def origin(self, row: int) -> tuple[str, int]:
        """The file of a row, and its number there when it was read."""
        return self.files[int(self.columns.origin[row])], int(self.columns.number[row])

    @cached_property
    def files(self) -> list[str]:
        """The data files, absolute."""
        return _lines(self.columns.files)

    @cached_property
    def sources(self) -> list[str]:
        """The names of the sources."""
        return _lines(self.columns.sources)

    @cached_property
    def levels(self) -> list[list[bytes]]:
        """All hashes of the tree."""
        return tree_levels(leaf_hash(self.leaf(row)) for row in range(len(self)))

    @property
    def root(self) -> str:
        """The tree's root, hexadecimal."""
        return self.levels[-1][0].hex()

    def proof(self, row: int) -> list[str]:
        """The hashes that lead from a row to the root, hexadecimal."""
        return [one.hex() for one in inclusion_proof(self.levels, row)]

    def find_rows(self, digests: set[bytes]) -> IntArray:
        """The rows of some digests."""
        return members(self.columns.row, digests)

    def find_pictures(self, digests: set[bytes]) -> IntArray:
        """The rows that show a picture of some digests."""
        shown = members(self.columns.picture, digests)
        per_row = np.diff(self.columns.use_start)
        rows = np.repeat(np.arange(len(self)), per_row)
        return np.unique(rows[np.isin(self.columns.uses, shown)]).astype(np.int64)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        arrays: dict[str, Any] = {name: getattr(self.columns, name) for name in _NAMES}
        with replacing(path) as partial, partial.open("wb") as handle:
            np.savez(handle, version=np.array(VERSION), **arrays)

    @staticmethod
    def load(path: Path) -> Seen:
        """Read a file that ``save`` wrote.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
                if int(kept["version"]) != VERSION:
                    raise ValueError(f"not of version {VERSION}")
                return Seen(SeenColumns(**{name: kept[name] for name in _NAMES}))
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise RunError(
                f"the list of rows that were seen cannot be read ({type(error).__name__}: {error})",
                where=str(path),
                remedy="restore it from a copy; without it nobody can tell which rows were in the data",
            ) from error


_NAMES = tuple(column.name for column in fields(SeenColumns))


def leaf_data(row: bytes, pictures: Sequence[bytes]) -> bytes:
    """What a leaf holds: see the top of this file."""
    return LEAF + row + b"".join(pictures)


def seen_rows(
    samples: Samples,
    steps: Sequence[Sequence[int]],
    contents: Contents,
    *,
    progress: Progress | None = None,
    workers: int = 1,
) -> Seen:
    """Look up what a stage sees; pictures are read once, and known from then on.

    Args:
        samples: in the order of the mixture.
        steps: the samples of each step; none for those that only measure.
        contents: knows pictures that are as they were, and learns the others.
        progress: told how many pictures are done.
        workers: threads that read.

    Raises:
        ImageError: a picture cannot be read.
    """
    first, which = samples.distinct()
    parts: dict[str, list[Any]] = {name: [] for name in ("row", "number", "origin", "source")}
    files: dict[str, int] = {}
    sources: dict[str, int] = {}
    pictures: dict[Picture, int] = {}
    owners: list[str] = []
    uses: list[IntArray] = []
    counts: list[IntArray] = []
    for table, rows in samples.rows_at(first):
        columns = table.columns
        names = np.array(
            [files.setdefault(os.path.abspath(one), len(files)) for one in table.head.origins], np.int32
        )
        parts["row"].append(columns.digest[rows])
        parts["number"].append(columns.row_number[rows])
        parts["origin"].append(names[columns.row_origin[rows]])
        source = sources.setdefault(table.source, len(sources))
        parts["source"].append(np.full(len(rows), source, np.int32))
        per_row = np.diff(columns.use_start)[rows]
        shown = _ranges(columns.use_start[rows], per_row, columns.uses)
        numbers, inverse = np.unique(shown, return_inverse=True)
        known = np.zeros(len(numbers), np.int64)
        for place, number in enumerate(numbers.tolist()):
            picture = table.picture(number)
            known[place] = pictures.setdefault(picture, len(pictures))
            if known[place] == len(owners):
                owners.append(str(table.origin(int(columns.picture_row[number]))))
        uses.append(known[inverse])
        counts.append(per_row.astype(np.int64))
    digests = _contents(list(pictures), owners, contents, progress, workers)
    step_start, step_of = _steps_of(which, steps, len(first))
    return Seen(
        SeenColumns(
            row=np.concatenate(parts["row"]) if parts["row"] else np.zeros((0, 16), np.uint8),
            number=_joined(parts["number"], np.int64),
            origin=_joined(parts["origin"], np.int32),
            source=_joined(parts["source"], np.int32),
            use_start=np.concatenate([[0], np.cumsum(_joined(counts, np.int64))]).astype(np.int64),
            uses=_joined(uses, np.int32),
            picture=digests,
            sample=which.astype(np.int32),
            step_start=step_start,
            steps=step_of,
            files=_text(files),
            sources=_text(sources),
        )
    )


def picture_content(picture: Picture, contents: Contents, where: str | None = None) -> bytes:
    """16 bytes that stand for the bytes of a picture or video.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(picture, Video):
        place = picture.path
        return contents.of(folder_files(place, where) if place.is_dir() else [place], where).digest
    return contents.of([picture], where).digest


def _contents(
    pictures: Sequence[Picture],
    owners: Sequence[str],
    contents: Contents,
    progress: Progress | None,
    workers: int,
) -> NDArray[np.uint8]:
    found = bytearray()

    def one(place: int) -> bytes:
        return picture_content(pictures[place], contents, owners[place])

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        for done, digest in enumerate(pool.map(one, range(len(pictures))), 1):
            found += digest
            if progress is not None and (done % _MANY == 0 or done == len(pictures)):
                progress("hashing pictures", done, len(pictures))
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, 16)


def _steps_of(
    which: IntArray, steps: Sequence[Sequence[int]], rows: int
) -> tuple[IntArray, NDArray[np.int32]]:
    """Where each row's steps begin [R + 1], and the steps, each once a row."""
    sizes = [len(step) for step in steps]
    members = which[np.fromiter((i for step in steps for i in step), np.int64, sum(sizes))]
    pairs = np.unique(members * max(len(steps), 1) + np.repeat(np.arange(len(steps)), sizes))
    row, step = np.divmod(pairs, max(len(steps), 1))
    start = np.searchsorted(row, np.arange(rows + 1))
    return start.astype(np.int64), step.astype(np.int32)


def _ranges(starts: IntArray, counts: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The values from each start on, as many as its count, one behind the other."""
    total = int(counts.sum())
    shift = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return values[np.arange(total) + shift] if total else values[:0]


def members(column: NDArray[np.uint8], digests: set[bytes]) -> IntArray:
    """Where a column of digests, uint8 [any, 16], has one of some."""
    keys = np.ascontiguousarray(column).view("V16").reshape(-1)
    wanted = np.array(sorted(digests), "V16") if digests else np.zeros(0, "V16")
    return np.flatnonzero(np.isin(keys.view("S16"), wanted.view("S16"))).astype(np.int64)


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _text(names: dict[str, int]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(names).encode("utf-8", "surrogateescape"), np.uint8)


def _lines(text: NDArray[np.uint8]) -> list[str]:
    return text.tobytes().decode("utf-8", "surrogateescape").split("\n")
