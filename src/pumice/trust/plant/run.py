"""Planting: a copy of data with faults in it, and the truth about them in a file beside it.

OUT/
  data.json       the rows, in LLaVA's form; those that were added stand at random places
  ...             the pictures, by the names that rows call them
  planted.jsonl   a line a fault: kind, row (of data.json), id, and what was done
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.forms import FORMS
from pumice.data.index import Progress
from pumice.data.lines import lines_file, to_line, write_lines
from pumice.data.table import SampleTable
from pumice.errors import UsageError, suggest
from pumice.files import replacing
from pumice.image.names import leaves_folder
from pumice.image.source import open_picture
from pumice.trust.plant.fault import KINDS, Kind, Planted
from pumice.trust.plant.kinds import make
from pumice.trust.plant.survey import survey
from pumice.types import Picture, Sample, Video

DATA, TRUTH = "data.json", "planted.jsonl"


@dataclass(frozen=True)
class Planting:
    """What was written: rows in all, and faults of each kind."""

    data: Path
    truth: Path
    rows: int
    faults: dict[str, int]


def plant(
    table: SampleTable,
    out: Path,
    kinds: Sequence[str],
    *,
    share: float = 0.01,
    seed: int = 0,
    target: str | None = None,
    progress: Progress | None = None,
) -> Planting:
    """Write a copy of a table with faults planted in it. No row gets two.

    Args:
        table: the data; its pictures must be there.
        out: a new or empty folder.
        kinds: of ``KINDS``.
        share: faults of each kind, as a share of the rows, over 0 and at most 0.2.
        seed: decides everything that is drawn.
        target: the answer of poisoned rows; drawn from common ones by default.
        progress: told of rows.

    Raises:
        UsageError: an unknown kind, a share out of bounds, a folder that holds something, or a kind for
            which the data has no rows.
        ImageError: a picture cannot be read.
    """
    chosen = _check(out, kinds, share)
    found = survey(table, progress)
    free = np.arange(len(table), dtype=np.int64)
    changed: dict[int, Planted] = {}
    added: dict[int, list[Planted]] = {}
    counts: dict[str, int] = {}
    places = np.random.default_rng([seed, 1])
    for kind in chosen:
        rng = np.random.default_rng([seed, *kind.encode()])
        made = list(make(kind, table, found, free, max(1, round(share * len(table))), rng, target))
        if not made:
            raise UsageError(
                f"no row of the data can have a fault of the kind {kind}",
                where=f"--kind {kind}",
                remedy="leave this kind out",
            )
        for one in made:
            if one.added:
                added.setdefault(int(places.integers(len(table))), []).append(one)
            else:
                changed[one.row] = one
        free = np.setdiff1d(free, [one.row for one in made])
        counts[kind] = len(made)
    out.mkdir(parents=True, exist_ok=True)
    rows = _Copy(table, out, changed, added, progress)
    with lines_file(out / DATA, llava=True) as add:
        for line in rows.lines():
            add(to_line(line))
    write_lines(out / TRUTH, rows.truth)
    return Planting(out / DATA, out / TRUTH, rows.count, counts)


def _check(out: Path, kinds: Sequence[str], share: float) -> tuple[Kind, ...]:
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"there is no fault {kind!r}", where="--kind", remedy=suggest(kind, KINDS))
    if not 0 < share <= 0.2:
        raise UsageError(
            f"a share of {share} is out of bounds", where="--share", remedy="give one over 0 and up to 0.2"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            "the folder holds something", where=str(out), remedy="name a new one, or empty this one"
        )
    return tuple(kind for kind in KINDS if kind in kinds or not kinds)


class _Copy:
    """Writes pictures and makes lines; where each fault came to stand is its truth."""

    def __init__(
        self,
        table: SampleTable,
        out: Path,
        changed: dict[int, Planted],
        added: dict[int, list[Planted]],
        progress: Progress | None,
    ) -> None:
        self.table, self.out, self.progress = table, out, progress
        self.changed, self.added = changed, added
        self.truth: list[dict[str, Any]] = []
        self.count = 0
        self._names: dict[Picture, str] = {}
        self._taken: set[str] = set()
        self._stands: dict[int, int] = {}
        self._made_of: list[tuple[dict[str, Any], Picture]] = []

    def lines(self) -> Iterator[dict[str, Any]]:
        """The rows as they are written."""
        waiting: list[tuple[dict[str, Any], int]] = []
        for number, sample in enumerate(self.table):
            self._stands[number] = self.count
            one = self.changed.get(number)
            if one is None:
                yield self._line(sample, tuple(self.table.names(number)))
            else:
                yield self._planted(one, waiting)
            for more in self.added.get(number, ()):
                yield self._planted(more, waiting)
            if self.progress is not None and (number % 500 == 499 or number == len(self.table) - 1):
                self.progress("writing rows", number + 1, len(self.table))
        for truth, picture in self._made_of:
            if picture in self._names:
                truth["picture_of"] = self._names[picture]
        for truth, row in waiting:  # rows that a new one was made of, which may stand behind it
            truth["of"] = self._stands[row]
            self.truth.append(truth)
        self.truth.sort(key=lambda truth: truth["row"])

    def _planted(self, one: Planted, waiting: list[tuple[dict[str, Any], int]]) -> dict[str, Any]:
        truth = {"kind": one.kind, "row": self.count, "id": one.sample.id, **one.details}
        if one.pictures:
            self._made_of.append((truth, one.sample.images[0]))
        if one.added:
            waiting.append((truth, one.row))
        elif one.kind == "mismatches":
            truth.pop("words_of")
            self.truth.append(truth)
        else:
            self.truth.append(truth)
        return self._line(one.sample, one.names, one.pictures)

    def _line(
        self, sample: Sample, names: tuple[str, ...], new: dict[str, bytes] | Any = None
    ) -> dict[str, Any]:
        called = []
        for picture, name in zip(sample.images, names, strict=True):
            if new and name in new:
                called.append(self._write(name, new[name]))
            else:
                if picture not in self._names:
                    self._names[picture] = self._copy(picture, name, str(sample.origin))
                called.append(self._names[picture])
        self.count += 1
        return FORMS["llava"].write(sample, called)

    def _copy(self, picture: Picture, name: str, where: str) -> str:
        if isinstance(picture, Video):
            name = self._free(name)
            target = self.out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if picture.path.is_dir() else shutil.copyfile)(picture.path, target)
            return name
        with open_picture(picture, where) as file:
            return self._write(name, file.read())

    def _write(self, name: str, data: bytes) -> str:
        name = self._free(name)
        target = self.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(data)
        return name

    def _free(self, name: str) -> str:
        """The name itself, where it stays in the folder and is free; else one that does and is."""
        if leaves_folder(name) or Path(name).is_absolute():
            name = f"images/{hashlib.sha256(name.encode()).hexdigest()[:8]}-{Path(name).name}"
        path = Path(name)
        number = 1
        while str(path) in self._taken or str(path) in (DATA, TRUTH):
            number += 1
            path = Path(name).with_name(f"{Path(name).stem}-{number}{Path(name).suffix}")
        self._taken.add(str(path))
        return path.as_posix()
