"""From what came of jobs to files: LLaVA JSON, what was rejected and why, and the figures of both."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumice.data.lines import lines_file, to_line
from pumice.data.rights import join_rights, write_rights
from pumice.generate.checks import CHECKS, Asked, Fault
from pumice.generate.language import word_count
from pumice.generate.work import Job, Outcome, Rejected, balance, too_few
from pumice.types import PLACEHOLDER

DATA, REJECTED, RECORD, REPLIES = "data.json", "rejected.jsonl", "generation.json", "replies.jsonl"
"""The files of a folder: rows, what was rejected, the record, what teachers said."""
SAMPLES = 3
"""Rows of a kind, and rejected ones of a check, that the report shows."""
Progress = Callable[[int, int], None]


@dataclass
class KindFigures:
    """Of one kind.

    Attributes:
        jobs: how many there are.
        rows: that were written.
        turns: questions with answers in them.
        pending: jobs that lack a reply.
        empty: jobs that came to nothing.
        words: of all answers.
        rejected: turns and replies, by check.
    """

    jobs: int = 0
    rows: int = 0
    turns: int = 0
    pending: int = 0
    empty: int = 0
    words: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, Any]:
        """The same, fit for JSON."""
        told = {name: getattr(self, name) for name in ("jobs", "rows", "turns", "pending", "empty", "words")}
        return told | {"rejected": {check: self.rejected[check] for check in CHECKS if self.rejected[check]}}

    def add(self, told: Mapping[str, Any]) -> None:
        """Add those of a part, as ``shown``."""
        for name in ("jobs", "rows", "turns", "pending", "empty", "words"):
            setattr(self, name, getattr(self, name) + told[name])
        self.rejected.update(told["rejected"])


class Some:
    """A few rows of many, always the same ones however they come: those whose hashes are smallest."""

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, dict[str, Any]]] = []

    def add(self, row: dict[str, Any], line: str | None = None) -> None:
        """One more, with its line where that is at hand."""
        self._kept.append((hashlib.sha256((line or to_line(row)).encode()).digest(), row))
        self._kept.sort(key=lambda pair: pair[0])
        del self._kept[SAMPLES:]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Those that are kept."""
        return [row for _, row in self._kept]


def write_rows(
    groups: Iterable[list[Job]],
    scenes: int,
    outcome_of: Callable[[Job], Outcome | None],
    folder: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write ``data.json`` and ``rejected.jsonl``, in the order of the scenes: a pure function of replies.

    Args:
        groups: the jobs of each scene.
        scenes: how many there are.
        outcome_of: what came of a job; None where it lacks a reply.
        folder: where the files go; it exists.
        progress: told how many scenes are done.

    Returns:
        The figures: ``kinds``, ``samples`` and ``rejected_samples``, fit for JSON.
    """
    figures: dict[str, KindFigures] = {}
    good: dict[str, Some] = {}
    bad: dict[str, Some] = {}
    with (
        lines_file(folder / DATA, llava=True, shared=False) as add,
        lines_file(folder / REJECTED, llava=False, shared=False) as reject,
    ):
        for done, group in enumerate(groups, 1):
            asked = Asked()
            for job in group:
                of = figures.setdefault(job.spec.name, KindFigures())
                of.jobs += 1
                outcome = outcome_of(job)
                if outcome is None:
                    of.pending += 1
                    continue
                _drop_repeated(job, outcome, asked)
                for one in outcome.rejected:
                    of.rejected[one.fault.check] += 1
                    row = _rejected_row(job, one)
                    reject(line := to_line(row))
                    bad.setdefault(one.fault.check, Some()).add(row, line)
                if not outcome.turns:
                    of.empty += 1
                    continue
                of.rows += 1
                of.turns += len(outcome.turns)
                of.words += sum(word_count(answer, job.language) for _, answer in outcome.turns)
                row = llava_row(job, outcome)
                add(line := to_line(row))
                good.setdefault(job.spec.name, Some()).add(row, line)
            if progress is not None:
                progress(done, scenes)
    return {
        "kinds": {name: of.shown() for name, of in figures.items()},
        "samples": {name: some.rows for name, some in good.items()},
        "rejected_samples": {check: bad[check].rows for check in CHECKS if check in bad},
    }


def llava_row(job: Job, outcome: Outcome) -> dict[str, Any]:
    """The row of a job's turns: pictures before the first question, the form of answers behind each."""
    suffix = job.spec.suffix.get(job.language, "")
    values = []
    for index, (question, answer) in enumerate(outcome.turns):
        lead = f"{PLACEHOLDER}\n" * len(job.scenes) if index == 0 else ""
        tail = f"\n{suffix}" if suffix else ""
        short = answer.rstrip(".") if suffix else answer
        values.append({"from": "human", "value": f"{lead}{question}{tail}"})
        values.append({"from": "gpt", "value": f"{short[:1].upper()}{short[1:]}"})
    images = [scene.image for scene in job.scenes]
    row: dict[str, Any] = {
        "id": job.id,
        "image": images[0] if len(images) == 1 else images,
        "conversations": values,
        "type": job.spec.name,
        "language": job.language,
    }
    if outcome.model:
        row["model"] = outcome.model
    return row | write_rights(join_rights([scene.rights for scene in job.scenes]))


def _drop_repeated(job: Job, outcome: Outcome, asked: Asked) -> None:
    """Leave out questions that an earlier row about the scene, or this one, has asked."""
    if job.spec.form != "dialogue" or not outcome.turns:
        return
    kept = []
    for question, answer in outcome.turns:
        earlier = asked.repeats(question)
        if earlier is None:
            kept.append((question, answer))
        else:
            fault = Fault("repeated", f"it asks what {earlier!r} asks")
            outcome.rejected.append(Rejected(fault, 0, question, answer))
    if job.spec.balanced:
        balance(kept, 0, outcome)
    if len(kept) < outcome.least:
        too_few(kept, outcome.least, 0, outcome)
        kept = []
    outcome.turns = kept


def _rejected_row(job: Job, one: Rejected) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": job.id,
        "kind": job.spec.name,
        "images": [scene.image for scene in job.scenes],
        "language": job.language,
        "check": one.fault.check,
        "reason": one.fault.reason,
        "attempt": one.attempt,
    }
    return row | ({"question": one.question, "answer": one.answer} if one.question else {"reply": one.answer})
