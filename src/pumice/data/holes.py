"""The plan of an earlier run with holes: the same steps and rows, without the samples that were erased since.

A plan over fewer rows is another plan from its first step on, for its order is drawn over all of them. With
holes every other sample keeps its step and its row, so steps before the first hole are those of the earlier
run, and its states up to there are those of a run that had the holes from the start. A step of which nothing
is left changes no weight; it still counts, because rates follow the number of steps.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pumice.data.mixture import Mixture
from pumice.data.plan import Plan, slots_of
from pumice.data.samples import Samples
from pumice.data.seen import SEEN_FILE, Seen
from pumice.data.tombstones import read_tombstones
from pumice.errors import RunError
from pumice.types import IntArray

PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Holes:
    """The plan of an earlier stage, and the rows that it is over."""

    base: Plan
    seen: Seen
    where: str

    @staticmethod
    def load(folder: Path) -> Holes | None:
        """Those of a folder that has both files; None where one is missing.

        Raises:
            RunError: they are damaged.
        """
        if not all((folder / name).is_file() for name in (PLAN_FILE, SEEN_FILE)):
            return None
        return Holes(Plan.load(folder / PLAN_FILE), Seen.load(folder / SEEN_FILE), str(folder))

    def mixture(self, mixture: Mixture) -> tuple[Mixture, IntArray]:
        """The samples of the earlier stage that are left, in their order.

        Args:
            mixture: the same sources as they are now.

        Returns:
            The mixture, and for each sample of the earlier one its place there, -1 where it was erased;
            int64 [samples before].

        Raises:
            RunError: the sources are others, or a row is gone without having been erased.
        """
        columns = self.seen.columns
        names = [source.name for source in mixture.sources]
        if names != self.seen.sources:
            raise self._other(f"its sources were {', '.join(self.seen.sources)}")
        parts = []
        kept = np.zeros(len(columns.sample), np.bool_)
        for number, table in enumerate(mixture.tables):
            rows = self._rows_of(number, table.columns.digest)
            of_source = columns.source[columns.sample] == number
            found = rows[columns.sample[of_source]]
            gone = {self.seen.row_digest(int(row)) for row in columns.sample[of_source][found < 0]}
            lost = gone - read_tombstones(table.head.content).rows
            if lost:
                raise self._other(f"{len(lost):,} of its rows are gone from {table.head.path}, not erased")
            kept[of_source] = found >= 0
            parts.append((table, found[found >= 0]))
        places = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int64)
        return replace(mixture, samples=Samples(parts)), places

    def plan(self, places: IntArray, lengths: IntArray, supervised: IntArray, fingerprint: str) -> Plan:
        """The earlier plan with its holes.

        Args:
            places: of ``mixture``.
            lengths: tokens of each sample that is left, int64 [samples].
            supervised: how many of them carry a loss.
            fingerprint: stands for the data that is left.
        """
        steps = tuple(
            tuple(
                left
                for row in step
                if (left := tuple(int(places[index]) for index in row if places[index] >= 0))
            )
            for step in self.base.steps
        )
        members = [np.fromiter((i for row in step for i in row), np.int64) for step in steps]
        digest = hashlib.sha256(json.dumps(["holes", self.base.digest, fingerprint]).encode())
        for array in (places, lengths, supervised):
            digest.update(array.astype("<i8").tobytes())
        return replace(
            self.base,
            steps=steps,
            tokens=tuple(int(lengths[indices].sum()) for indices in members),
            supervised=tuple(int(supervised[indices].sum()) for indices in members),
            slots=tuple(slots_of(step, lengths) for step in steps),
            digest=digest.hexdigest(),
        )

    def check_whole(self, places: IntArray, left: int) -> None:
        """RunError where of the samples that are not erased some cannot be used any more."""
        missing = int((places >= 0).sum()) - left
        if missing:
            raise self._other(f"{missing:,} of its samples cannot be used any more")

    def first(self, places: IntArray) -> int | None:
        """The first step of the earlier plan that has a hole, from 0; None without any."""
        for step in range(len(self.base)):
            if any(places[index] < 0 for index in self.base.samples(step)):
                return step
        return None

    def _rows_of(self, source: int, digests: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> IntArray:
        """For each row of the earlier stage its number in a table of now, -1 where there is none.

        Rows that say the same are told apart by their order alone, and need no more.
        """
        here: dict[bytes, list[int]] = defaultdict(list)
        for number in range(len(digests) - 1, -1, -1):
            here[digests[number].tobytes()].append(number)
        found = np.full(len(self.seen), -1, np.int64)
        for row in np.flatnonzero(self.seen.columns.source == source).tolist():
            rest = here.get(self.seen.row_digest(row))
            if rest:
                found[row] = rest.pop()
        return found

    def _other(self, why: str) -> RunError:
        return RunError(
            f"the plan of the earlier run does not fit the data of now: {why}",
            where=self.where,
            remedy="leave --keep-plan out: the stage then gets a plan of its own",
        )
