"""Reads what an evaluation of tasks has written so far, and draws the questions that its page shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pumice.evaluate.results import (
    BLIND,
    PREDICTIONS,
    Prediction,
    Results,
    TaskResult,
    TaskState,
    read_predictions,
    read_results,
)

RIGHT, WRONG, UNREAD = 12, 12, 4
"""Questions shown of a task: at most so many right ones and wrong ones, and of the wrong ones so many whose
answer could not be read, where there are."""
HALF = 0.5
NOTHING = ("", "other")
"""What scorers write down for an answer that says nothing they can read."""

Verdict = Literal["right", "wrong", "unparsed"]


@dataclass(frozen=True)
class Shown:
    """A question on the page: who said what. ``others`` are the other models' answers, in their order."""

    row: Prediction
    verdict: Verdict
    blind: Prediction | None
    others: tuple[Prediction | None, ...]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation's folder.

    Attributes:
        path: the folder.
        name: the model's.
        results: what became of each task.
    """

    path: Path
    name: str
    results: Results

    @property
    def scored(self) -> dict[str, TaskResult]:
        """The tasks that have figures."""
        return {
            name: state["result"]
            for name, state in self.results["tasks"].items()
            if state["result"] is not None
        }

    @property
    def waiting(self) -> dict[str, TaskState]:
        """The tasks that have none."""
        return {name: state for name, state in self.results["tasks"].items() if state["result"] is None}

    def rows(self, task: str) -> dict[str, Prediction]:
        """The questions of a task by id; none where the file is not there."""
        return _rows(self.path / task)


def read_evaluation(folder: Path) -> Evaluated:
    """An evaluation's folder.

    Raises:
        DataError: its results are missing or not what they should be.
    """
    results = read_results(folder)
    return Evaluated(folder, results["model"]["name"], results)


def named(all_of_them: Sequence[Evaluated]) -> list[Evaluated]:
    """Models that have one name are told apart by their folders."""
    names = [one.name for one in all_of_them]
    return [
        one if names.count(one.name) == 1 else Evaluated(one.path, f"{one.name} ({one.path})", one.results)
        for one in all_of_them
    ]


def draw(task: str, main: Evaluated, others: Sequence[Evaluated]) -> list[Shown]:
    """The questions of a task that are shown: drawn by a hash of their ids, groups in turn, right and wrong.

    Nothing depends on how an answer looks, and the same questions are drawn for every model that got the same
    ones right.
    """
    rows = main.rows(task)
    kinds: dict[Verdict, list[Prediction]] = {"right": [], "wrong": [], "unparsed": []}
    for row in rows.values():
        # without a score it is no single question: a rotation of one, or left out by the scorer
        if row["score"] is not None:
            kinds[verdict(row)].append(row)
    used: set[str] = set()
    unread = in_turn(kinds["unparsed"], UNREAD, used)
    wrong = in_turn(kinds["wrong"], WRONG - len(unread), used)
    right = in_turn(kinds["right"], RIGHT, used)
    blind = _rows(main.path / task / BLIND)
    beside = [other.rows(task) for other in others]
    return [
        Shown(row, verdict(row), blind.get(row["id"]), tuple(each.get(row["id"]) for each in beside))
        for row in sorted([*unread, *wrong, *right], key=_hash)
    ]


def verdict(row: Prediction) -> Verdict:
    """Whether an answer is more right than wrong, or could not even be read."""
    if row["score"] is not None and row["score"] >= HALF:
        return "right"
    return "unparsed" if (row["parsed"] or "").strip() in NOTHING else "wrong"


def in_turn(rows: Sequence[Prediction], count: int, used: set[str]) -> list[Prediction]:
    """So many rows: the groups take turns, each in the order of its questions' hashes.

    Pictures in ``used`` come again only when a group has no other; those of the chosen rows are added.
    """
    waiting: dict[str, list[Prediction]] = {}
    for row in sorted(rows, key=_hash):
        waiting.setdefault(row["group"], []).append(row)
    chosen: list[Prediction] = []
    while len(chosen) < count and waiting:
        for group in sorted(waiting):
            if len(chosen) < count:
                own = waiting[group]
                fresh = next((i for i, row in enumerate(own) if not used.intersection(row["images"])), 0)
                chosen.append(own.pop(fresh))
                used.update(chosen[-1]["images"])
        waiting = {group: left for group, left in waiting.items() if left}
    return chosen


def _rows(folder: Path) -> dict[str, Prediction]:
    if not (folder / PREDICTIONS).is_file():
        return {}
    return {row["id"]: row for row in read_predictions(folder)}


def _hash(row: Prediction) -> str:
    return hashlib.sha256(row["id"].encode("utf-8", "replace")).hexdigest()
