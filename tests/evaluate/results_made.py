"""Folders as `pumice eval --tasks` writes them, made of a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.evaluate.results import (
    FORMAT,
    RESULTS,
    Prediction,
    TaskResult,
    write_predictions,
    write_result,
)
from pumice.files import write_json
from pumice.score import TASKS


def prediction(id: str, score: float | None, **more: Any) -> Prediction:
    row: dict[str, Any] = {
        "id": id, "question_id": id, "prompt": f"What of {id}?", "images": [f"{id}.png"], "raw": "Yes.",
        "parsed": "yes", "score": score, "truth": "yes", "group": "",
    }  # fmt: skip
    return Prediction(**(row | more))  # type: ignore[typeddict-item]


def task_result(task: str, figure: str, value: float, n: int, **more: Any) -> TaskResult:
    result: dict[str, Any] = {
        "format": FORMAT, "task": task, "title": TASKS[task].title, "figure": figure,
        "scores": {
            "metrics": {figure: value}, "interval": {figure: [value - 2, value + 2]}, "n": n, "groups": {},
            "counts": {}, "notes": [],
        },
        "baselines": {"chance": None, "blind": None}, "asked": n, "total": n, "limit": None, "notes": [],
        "model": {"kind": "local", "name": "small", "digest": "0"}, "settings": {}, "choices": {},
        "questions": "", "data": "data", "judge": None, "pumice": "0", "date": "2025-01-01T00:00:00Z",
        "seconds": 2.0,
    }  # fmt: skip
    return TaskResult(**(result | more))  # type: ignore[typeddict-item]


def evaluation(
    folder: Path, tasks: Mapping[str, tuple[TaskResult, Sequence[Prediction]]], model: str = "small"
) -> Path:
    states = {}
    for name, (result, rows) in tasks.items():
        (folder / name).mkdir(parents=True)
        write_result(folder / name, result)
        write_predictions(folder / name, list(rows))
        states[name] = {"state": "scored", "result": result, "problem": "", "remedy": ""}
    record = {"kind": "local", "name": model, "digest": "0"}
    write_json(
        folder / RESULTS,
        {
            "format": FORMAT, "model": record, "tasks": states, "pumice": "0", "date": "2025-01-01T00:00:00Z",
        },
    )  # fmt: skip
    return folder


def gqa(folder: Path, right: Sequence[bool], **more: Any) -> Path:
    """An evaluation of GQA alone."""
    rows = [prediction(f"q{i}", float(ok), **more) for i, ok in enumerate(right)]
    value = 100 * sum(right) / len(right)
    return evaluation(folder, {"gqa": (task_result("gqa", "accuracy", value, len(right)), rows)})
