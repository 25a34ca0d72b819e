"""The two passes of an audit: every row read once, every picture read once, for all checks that want them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.contents import stamp_of
from pumice.data.index import Progress
from pumice.errors import ImageError
from pumice.image.decode import decode_small
from pumice.image.source import open_picture
from pumice.processes import runner
from pumice.trust.audit import kept
from pumice.trust.audit.check import BYTES, PIXELS, ROWS, Check, Notes, Row, View
from pumice.trust.audit.material import Material
from pumice.trust.audit.seen import Of, Seen
from pumice.types import ImageRef, Still

ROW_CHUNK, PICTURE_CHUNK = 2000, 64
"""Rows and pictures that one worker looks at before it tells."""
AHEAD = 8
"""Chunks a worker that are given out at once: what is noticed of them is in memory together."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Its first number, how many it has, its pictures, for which checks by place it is looked at, and where
    the notes of each go."""

    start: int
    count: int
    stills: tuple[Still, ...]
    checks: tuple[int, ...]
    places: tuple[Path, ...]


@contextmanager
def looked(
    material: Material,
    checks: Sequence[Check],
    *,
    folder: Path | None,
    workers: int,
    progress: Progress | None = None,
    show_values: bool = False,
) -> Iterator[Seen]:
    """Show everything to all checks; what they noticed before is not looked for again.

    Args:
        material: what there is to see.
        checks: who looks.
        folder: where notes are kept; None forgets them at the end of the block.
        workers: processes.
        progress: told of rows and pictures.
        show_values: whether findings may quote personal data.

    Raises:
        DataError: a file changed since its rows were read.
    """
    with tempfile.TemporaryDirectory(prefix="pumice-audit-") as forgotten:
        place = Path(forgotten) if folder is None else folder
        seen = Seen(material, show_values=show_values)
        readers = [check for check in checks if ROWS in check.reads]
        if readers:
            chunks = _chunks("rows", material.rows, ROW_CHUNK, readers, place, seen)
            eyes = _RowEyes(readers, material)
            _carry_out("rows", chunks, readers, eyes, workers, progress, material.rows)
        lookers = [check for check in checks if {BYTES, PIXELS} & check.reads]
        if lookers:
            chunks = _chunks("pictures", material.pictures, PICTURE_CHUNK, lookers, place, seen)
            _carry_out(
                "pictures", chunks, lookers, _PictureEyes(lookers), workers, progress, material.pictures
            )
        yield seen


def _chunks(of: Of, total: int, size: int, checks: Sequence[Check], folder: Path, seen: Seen) -> list[_Chunk]:
    """The chunks that some check has no notes of; where the notes of all are goes into ``seen``."""
    todo = []
    shown = _shown_content(seen.material) if any(check.shows for check in checks) else None
    for start in range(0, total, size):
        count = min(size, total - start)
        stills = seen.material.stills[start : start + count] if of == "pictures" else ()
        content = (
            _pictures_content(stills) if of == "pictures" else _rows_content(seen.material, start, count)
        )
        missing, places = [], []
        for number, check in enumerate(checks):
            more = shown(start, count) if shown is not None and check.shows else b""
            path = kept.place_of(folder, check.key, f"{of}\n".encode() + content + more)
            seen.files.setdefault((check.name, of), []).append((start, count, path))
            if not kept.is_whole(path):
                missing.append(number)
                places.append(path)
        if missing:
            todo.append(_Chunk(start, count, stills, tuple(missing), tuple(places)))
    return todo


def _rows_content(material: Material, start: int, count: int) -> bytes:
    """What stands for what some rows say."""
    whole = hashlib.blake2b(digest_size=16)
    starts = material.starts
    for part, table in enumerate(material.tables):
        first, last = max(start, int(starts[part])), min(start + count, int(starts[part + 1]))
        if first < last:
            rows = material.chosen[part][first - int(starts[part]) : last - int(starts[part])]
            whole.update(np.ascontiguousarray(table.columns.digest[rows]).tobytes())
    return whole.digest()


def _shown_content(material: Material) -> Callable[[int, int], bytes]:
    """What stands for the pictures of some rows, as a function of the first one and how many."""
    starts, pictures = material.shown()

    def content(start: int, count: int) -> bytes:
        here = np.unique(pictures[starts[start] : starts[start + count]])
        return _pictures_content([material.stills[number] for number in here.tolist()])

    return content


def _pictures_content(stills: Sequence[Still]) -> bytes:
    """What stands for some pictures: their places, and the marks of their files."""
    said = []
    for still in stills:
        span = (still.offset, still.length) if isinstance(still, ImageRef) else ()
        file = still.file if isinstance(still, ImageRef) else still
        said.append([str(file.absolute()), *span, stamp_of(still)])
    return json.dumps(said).encode()


def _carry_out(
    what: Of,
    chunks: Sequence[_Chunk],
    checks: Sequence[Check],
    eyes: _RowEyes | _PictureEyes,
    workers: int,
    progress: Progress | None,
    total: int,
) -> None:
    done = total - sum(chunk.count for chunk in chunks)
    if progress is not None:
        progress(what, done, total)
    waiting = iter(chunks)
    workers = min(workers, len(chunks))
    with runner(max(workers, 1), _prepare, (eyes,)) as run:
        while part := list(islice(waiting, AHEAD * max(workers, 1))):
            for chunk, found in zip(part, run(_look, part), strict=True):
                for place, number, notes in zip(chunk.places, chunk.checks, found, strict=True):
                    kept.write(place, checks[number].finish(notes))
                done += chunk.count
                if progress is not None:
                    progress(what, done, total)


@dataclass(frozen=True)
class _RowEyes:
    """Reads the rows of a chunk and shows them to checks."""

    checks: Sequence[Check]
    material: Material

    def look(self, chunk: _Chunk) -> list[Notes]:
        numbers = range(chunk.start, chunk.start + chunk.count)
        checks = [self.checks[number] for number in chunk.checks]
        noticed: list[list[Any]] = [[] for _ in checks]
        for number, sample in Seen(self.material).samples(numbers):
            row = Row(number, sample)
            for values, check in zip(noticed, checks, strict=True):
                values.append(check.row(row))
        return [check.pack(values) for check, values in zip(checks, noticed, strict=True)]


@dataclass(frozen=True)
class _PictureEyes:
    """Reads the pictures of a chunk, decodes them where that is wanted, and shows them to checks."""

    checks: Sequence[Check]

    def look(self, chunk: _Chunk) -> list[Notes]:
        checks = [self.checks[number] for number in chunk.checks]
        decode = any(PIXELS in check.reads for check in checks)
        side = max(check.side for check in checks)
        noticed: list[list[Any]] = [[] for _ in checks]
        for place, still in enumerate(chunk.stills):
            view = view_of(chunk.start + place, still, decode=decode, side=side)
            for values, check in zip(noticed, checks, strict=True):
                sees = check.faulty or (view.image if PIXELS in check.reads else view.data)
                values.append(check.picture(view) if sees else None)
        return [check.pack(values) for check, values in zip(checks, noticed, strict=True)]


def view_of(number: int, still: Still, *, decode: bool, side: int) -> View:
    """A picture read, and decoded where that is wanted; what is wrong with it is told in the view."""
    try:
        with open_picture(still) as stream:
            data = stream.read()
    except ImageError as error:
        return View(number, still, b"", None, None, error.what)
    if not decode:
        return View(number, still, data, None, None, "")
    try:
        small = decode_small(data, str(still), side)
    except ImageError as error:
        return View(number, still, data, None, None, error.what)
    return View(number, still, data, small.size, small.image, "")


_EYES: list[_RowEyes | _PictureEyes] = []
"""What this process looks with."""


def _prepare(eyes: _RowEyes | _PictureEyes) -> None:
    _EYES[:] = [eyes]


def _look(chunk: _Chunk) -> list[Notes]:
    return _EYES[0].look(chunk)
