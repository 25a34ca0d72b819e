"""What one model said and got: read from whatever `pumice eval` or `pumice score --details` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pumice.errors import DataError, UsageError, suggest
from pumice.evaluate.results import (
    BLIND,
    PREDICTIONS,
    RESULT,
    RESULTS,
    Prediction,
    TaskResult,
    read_predictions,
    read_result,
    read_results,
)
from pumice.evaluate.shapes import Answered

SCORES = "scores.json"
QUESTIONS = "questions"
"""The task that stands for a set of one's own questions."""
GIVE = "give the folder that pumice eval wrote, a task's folder in it, or a file of pumice score --details"


@dataclass(frozen=True)
class Side:
    """One model's questions by task.

    Attributes:
        name: the path as it was given.
        tasks: the questions of each task, in order, by id.
        results: the figures that were written beside them, by task, where there are such.
        model: its name, where it was written down.
        rules: of tasks that are no published benchmarks: the scorer's rule, and what its figure is called.
    """

    name: str
    tasks: Mapping[str, Mapping[str, Answered]]
    results: Mapping[str, TaskResult] = field(default_factory=dict)
    model: str = ""
    rules: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def read_side(path: Path, task: str | None = None) -> Side:
    """One side of a comparison.

    Args:
        path: a folder of ``pumice eval`` (of tasks or of one's own questions), a task's folder in it, its
            ``blind`` folder, a run's folder, or a single file of predictions or details.
        task: what a file of details is of; the others tell.

    Raises:
        UsageError: there is nothing of the kind.
        DataError: a file is wrong; the line is named.
    """
    if path.is_file():
        return _of_file(path, task)
    if not path.is_dir():
        raise UsageError("there is no such file or folder", where=str(path), remedy=GIVE)
    if (path / PREDICTIONS).is_file():
        return _of_task(path)
    for folder in (path, path / "eval"):
        asked = _of_questions(folder, str(path)) if (folder / SCORES).is_file() else None
        if (folder / RESULTS).is_file():
            side = _of_tasks(folder)
            return replace(side, name=str(path), tasks={**side.tasks, **(asked.tasks if asked else {})})
        if asked is not None:
            return asked
    raise UsageError("the folder holds no results of an evaluation", where=str(path), remedy=GIVE)


def _of_tasks(folder: Path) -> Side:
    results = read_results(folder)
    found: dict[str, Mapping[str, Answered]] = {}
    written: dict[str, TaskResult] = {}
    for name, state in results["tasks"].items():
        result = state["result"]
        if result is not None and (folder / name / PREDICTIONS).is_file():
            found[name], written[name] = _predictions(folder / name), result
    if not found:
        raise UsageError(
            "no task of the folder has figures yet",
            where=str(folder),
            remedy="let the evaluation go on: the same command takes up where it stopped",
        )
    rules = {name: _rule(result) for name, result in written.items() if "rule" in result}
    return Side(str(folder), found, written, results["model"]["name"], rules)


def _of_task(folder: Path) -> Side:
    # the answers without sight lie in the folder of their task, whose result is of the others
    sighted = (folder / RESULT).is_file()
    place = folder.resolve().parent if not sighted and folder.resolve().name == BLIND else folder
    result = read_result(place)
    written = {result["task"]: result} if sighted else {}
    name = result["model"]["name"] + ("" if sighted else ", without sight")
    rules = {result["task"]: _rule(result)} if "rule" in result else {}
    return Side(str(folder), {result["task"]: _predictions(folder)}, written, name, rules)


def _rule(result: TaskResult) -> tuple[str, str]:
    return result.get("rule", ""), result["figure"]


def _predictions(folder: Path) -> dict[str, Answered]:
    return {
        row["id"]: Answered(
            row["id"],
            row["parsed"] or "",
            row["score"],
            _groups(row),
            row["images"][0] if row["images"] else "",
            row["truth"],
            row["prompt"],
        )
        for row in read_predictions(folder)
    }


def _groups(row: Prediction) -> tuple[str, ...]:
    return tuple(row.get("groups") or ([row["group"]] if row["group"] else []))


def _of_questions(folder: Path, name: str) -> Side:
    """The embedded world's questions: the first variant is the measured one."""
    path = folder / SCORES
    try:
        variant = next(iter(json.loads(path.read_text(encoding="utf-8"))["variants"]))
    except (OSError, ValueError, TypeError, KeyError, StopIteration) as error:
        raise DataError(
            f"the scores name no variant ({type(error).__name__}: {error})",
            where=str(path),
            remedy="run the evaluation again",
        ) from error
    rows = dict(_rows(folder / f"predictions-{variant}.jsonl"))
    return Side(name, {QUESTIONS: {one.id: one for one in map(_own, rows.values(), rows)}})


def _of_file(path: Path, task: str | None) -> Side:
    if path.name == PREDICTIONS:
        return _of_task(path.parent)
    rows = dict(_rows(path))
    if not rows:
        raise DataError("the file holds no scored answers: it is empty", where=str(path), remedy=GIVE)
    name = task or QUESTIONS
    found: dict[str, Answered] = {}
    for where, row in rows.items():
        one = _own(row, where)
        if one.id in found:
            raise DataError(f"question {one.id} is there twice", where=where, remedy="keep one row of each")
        found[one.id] = one
    return Side(str(path), {name: found})


def _own(row: dict[str, Any], where: str) -> Answered:
    """A row of ``pumice eval --questions`` (``correct``) or of ``pumice score --details`` (``score``)."""
    score = float(row["correct"]) if "correct" in row else row.get("score")
    if "question_id" not in row or isinstance(score, bool) or not isinstance(score, int | float | None):
        raise DataError("the row is no scored answer", where=where, remedy=GIVE)
    groups = row.get("groups") or ([row["type"]] if row.get("type") else [])
    return Answered(
        str(row["question_id"]),
        str(row.get("parsed") or ""),
        score,
        tuple(map(str, groups)),
        str(row.get("image") or ""),
        str(row.get("answer") or ""),
        str(row.get("text") or ""),
    )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise DataError("the predictions are missing", where=str(path), remedy="run the evaluation again")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"the row is not JSON ({error})", where=where, remedy=GIVE) from error
            if not isinstance(row, dict):
                raise DataError("the row is no object", where=where, remedy=GIVE)
            yield where, row


def common_tasks(a: Side, b: Side, wanted: str | None = None) -> list[str]:
    """The tasks of both, in the order of the first.

    Raises:
        UsageError: there is none, or not the one that is wanted.
    """
    both = [name for name in a.tasks if name in b.tasks]
    if wanted is not None:
        if wanted not in both:
            raise UsageError(
                f"{wanted!r} is not a task of both", where="--task", remedy=suggest(wanted, both)
            )
        return [wanted]
    if not both:
        raise UsageError(
            f"no task is in both: {', '.join(a.tasks)} in the one, {', '.join(b.tasks)} in the other",
            where=f"{a.name} and {b.name}",
            remedy="evaluate both on the same task",
        )
    return both
