"""The check ``against``: pictures and questions that also stand in other data, a benchmark's for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pumice.data.fingerprints import ARCHIVE, Fingerprint, Index, question_hash, question_words
from pumice.data.index import Progress
from pumice.data.lookup import Found, Lookup
from pumice.data.mixture import Source
from pumice.trust.audit.check import PIXELS, ROWS, Check, Finding, Need, Notes, Row
from pumice.trust.audit.look import looked
from pumice.trust.audit.material import open_material
from pumice.trust.audit.prints import Candidates, Printing, Thumbs, verified
from pumice.trust.audit.seen import Seen

ENOUGH = 8
"""Words of a question without a picture from which it does not come again by chance."""

Matches = dict[int, tuple[str, float | None, set[int]]]
"""By picture: how it is known there (same, near), how alike, and what is asked of it there."""


class Other(Protocol):
    """Data that one's own is held against."""

    name: str

    @property
    def seen(self) -> Seen | None:
        """What was seen of its rows and pictures; None of fingerprints."""

    def matches(self, seen: Seen) -> Matches:
        """One's own pictures that it has."""

    def asks(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which questions without a picture it has."""


@dataclass(frozen=True)
class Against(Printing):
    """Pictures and questions that other data has as well."""

    name: ClassVar[str] = "against"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS, PIXELS})
    others: tuple[Other, ...] = field(default=(), compare=False)

    def __reduce__(self) -> tuple[type[Against], tuple[()]]:
        """Those who look need not know what comes after."""
        return type(self), ()

    def row(self, row: Row) -> Any:
        asked = {question_hash(turn.text): turn.text for turn in row.sample.messages if turn.role == "user"}
        if not row.sample.images:
            asked = {
                key: text for key, text in asked.items() if question_words(text).count(" ") + 1 >= ENOUGH
            }
        return sorted(asked.keys() - {0})

    def pack(self, values: Sequence[Any]) -> Notes:
        if not values or not isinstance(values[0], list):
            return super().pack(values)
        return {
            "row": np.array([row for row, asked in enumerate(values) for _ in asked], np.int64),
            "asked": np.array([one for asked in values for one in asked], np.uint64),
        }

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        rows, asked = questions(seen, self.name)
        shown = np.diff(seen.material.shown()[0]) > 0
        for other in self.others:
            found = other.matches(seen)
            for number, (how, score, there) in sorted(found.items()):
                yield Finding(
                    self.name,
                    "picture",
                    "warning",
                    f"{other.name} has " + ("it, byte by byte" if how == "same" else "a copy of it"),
                    picture=number,
                    score=score,
                    group=f"against {other.name}",
                )
                for row in seen.material.showing(number).tolist():
                    first, last = np.searchsorted(rows, [row, row + 1])
                    if not there.isdisjoint(asked[first:last].tolist()):
                        yield Finding(
                            self.name,
                            "question",
                            "serious",
                            f"{other.name} asks the same of the same picture",
                            row=row,
                            score=score,
                            group=f"against {other.name}",
                        )
            known = other.asks(asked) & ~shown[rows]
            for row in np.unique(rows[known]).tolist():
                what = f"{other.name} asks the same, without a picture"
                yield Finding(self.name, "text", "warning", what, row=row, group=f"against {other.name}")


def questions(seen: Seen, check: str) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Rows, rising, and the hashes of what each asks."""
    parts = [(start + notes["row"], notes["asked"]) for start, _, notes in seen.notes(check, "rows")]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])


class OtherData:
    """A data file that was looked at as one's own was."""

    def __init__(self, name: str, seen: Seen) -> None:
        self.name = name
        self.seen = seen
        rows, asked = questions(seen, Against.name)
        shown = np.diff(seen.material.shown()[0]) > 0
        self._text = np.unique(asked[~shown[rows]])
        self._rows, self._asked = rows, asked

    def matches(self, seen: Seen) -> Matches:
        """See ``Other``."""
        digests, theirs = (one.column(Against.name, "pictures", "digest") for one in (seen, self.seen))
        places = {row.tobytes(): number for number, row in enumerate(theirs) if row.any()}
        same = {number: places[key] for number, row in enumerate(digests) if (key := row.tobytes()) in places}
        found: Matches = {one: ("same", 1.0, self._of(other)) for one, other in same.items()}
        mine = seen.column(Against.name, "pictures", "hashes")
        yours = self.seen.column(Against.name, "pictures", "hashes")
        if not len(mine) or not len(yours):
            return found
        left = np.setdiff1d(np.flatnonzero(mine[:, 0]), np.fromiter(same, np.int64, len(same)))
        right = np.flatnonzero(yours[:, 0])
        near = Candidates()
        near.gather(mine[left, 0], yours[right], turned=False, within=False)
        near.gather(yours[right, 0], mine[left], turned=True, within=False)
        wanted = {(int(left[one]), int(right[other])): told for (one, other), told in near.pairs().items()}
        thumbs = Thumbs(seen, Against.name), Thumbs(self.seen, Against.name)
        for one, other, score in verified(*thumbs, wanted):
            asked = self._of(other)
            before = found.get(one)
            if before is not None:
                score, asked = max(score, before[1] or 0.0), asked | before[2]
            found[one] = "near", round(score, 4), asked
        return found

    def asks(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """See ``Other``."""
        return np.isin(hashes, self._text)

    def _of(self, picture: int) -> set[int]:
        """What is asked of a picture of it."""
        rows = self.seen.material.showing(picture)
        first, last = np.searchsorted(self._rows, rows), np.searchsorted(self._rows, rows + 1)
        return {one for at, end in zip(first, last, strict=True) for one in self._asked[at:end].tolist()}


class OtherPrints:
    """A file of fingerprints (``pumice data fingerprints``): difference hashes and questions, no pictures."""

    seen: None = None

    def __init__(self, name: str, index: Index) -> None:
        self.name = name
        self._lookup = Lookup(index)

    def matches(self, seen: Seen) -> Matches:
        """See ``Other``. Fingerprints know pixels and not bytes, so what is found is called near."""
        across, down = (seen.column(Against.name, "pictures", name) for name in ("across", "down"))
        found: Matches = {}
        for number, (one, other) in enumerate(zip(across.tolist(), down.tolist(), strict=True)):
            near = self._lookup.find(Fingerprint(b"", one, other)).near
            if near:
                asked = self._lookup.questions_of(Found(None, near))
                found[number] = "near", None, asked
        return found

    def asks(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """See ``Other``."""
        return np.isin(hashes, self._lookup.index.text_only)


@contextmanager
def others(
    sources: Sequence[Source],
    *,
    notes: Path | None,
    cache_folder: Path | None,
    workers: int,
    progress: Progress | None = None,
    more: Sequence[Check] = (),
) -> Iterator[tuple[Other, ...]]:
    """Data to hold one's own against: fingerprints are read, data files are looked at.

    Args:
        sources: files of fingerprints, or data files.
        notes: where what was noticed is kept for the next time.
        cache_folder: where tables are kept.
        workers: processes.
        progress: told of rows and pictures.
        more: checks that look at data files as well, for what they conclude of one's own (``Tower.others``).

    Raises:
        DataError: a file cannot be read.
    """
    found: list[Other] = []
    with ExitStack() as stack:
        for source in sources:
            if is_fingerprints(Path(source.file)):
                found.append(OtherPrints(source.name, Index.load(Path(source.file))))
                continue
            material = open_material(
                [replace(source, limit=None)], cache_folder=cache_folder, progress=progress
            )
            seen = stack.enter_context(
                looked(material, [Against(), *more], folder=notes, workers=workers, progress=progress)
            )
            found.append(OtherData(source.name, seen))
        yield tuple(found)


def is_fingerprints(path: Path) -> bool:
    """Whether a file is an archive of arrays, as fingerprints are."""
    try:
        with path.open("rb") as file:
            return path.suffix == ".npz" or file.read(2) == ARCHIVE
    except OSError:
        return False
