"""Which weights saw some rows, and since which step; what lies before is clean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pumice.data.seen import Seen
from pumice.errors import RunError
from pumice.trust.lineage.found import Found, StageRows, Weights


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a stage saw of some rows: how many, and the step that showed one first, counted from 1."""

    stage: StageRows
    rows: int
    first: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one folder of weights.

    Attributes:
        weights: which.
        exposed: the stages behind it that saw the rows before it was saved.
        measured: stages that only measured themselves on them: no weight comes of it, but a choice may.
        unknown: what cannot be told, as sentences; with any of them it is not proven clean.
    """

    weights: Weights
    exposed: tuple[Exposure, ...]
    measured: tuple[StageRows, ...]
    unknown: tuple[str, ...]

    @property
    def word(self) -> str:
        """``exposed``, ``unknown`` or ``clean``."""
        return "exposed" if self.exposed else "unknown" if self.unknown else "clean"


def exposures(found: Found, rows: set[bytes]) -> dict[str, Exposure]:
    """By key, what each stage saw of rows with some digests; stages that cannot be read are left out."""
    seen: dict[str, Exposure] = {}
    for key, stage in found.stages.items():
        try:
            hit = first_step(stage.seen, rows)
        except RunError:
            continue
        if hit is not None:
            seen[key] = Exposure(stage, *hit)
    return seen


def first_step(seen: Seen, rows: set[bytes]) -> tuple[int, int] | None:
    """How many of some rows a stage shows, and the first step that shows one, from 1; None without any."""
    shown = [(row, seen.steps(int(row))) for row in seen.find_rows(rows)]
    steps = [int(of_row[0]) for _, of_row in shown if len(of_row)]
    return (len(steps), min(steps) + 1) if steps else None


def judge(found: Found, weights: Weights, rows: set[bytes], known: Mapping[str, Exposure]) -> Verdict:
    """Whether a folder of weights saw some rows.

    Args:
        found: all that is known.
        weights: the folder.
        rows: digests of rows.
        known: of ``exposures``.
    """
    if weights.record is None:
        return Verdict(weights, (), (), (weights.why,))
    exposed, measured, unknown = [], [], []
    for record, stage in found.stages_of(weights.record):
        where = f"stage {record.get('stage')} of run {record.get('run')}"
        if stage is None:
            unknown.append(f"the rows of {where} are not here (root {str(record['data']['root'])[:16]})")
            continue
        try:
            len(stage.seen)
        except RunError as error:
            unknown.append(error.what)
            continue
        hit = known.get(stage.key)
        if hit is not None and hit.first <= _steps(record):
            exposed.append(hit)
        held = stage.held_out
        if held is not None and len(held.find_rows(rows)):
            measured.append(stage)
    return Verdict(weights, tuple(exposed), tuple(measured), tuple(unknown))


def _steps(record: Mapping[str, Any]) -> int:
    """How many steps were done when a record was written; all of the stage where it does not say."""
    return int(record.get("step", record.get("steps", 1 << 62)))
