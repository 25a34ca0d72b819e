"""Runs beside each other: what each has reached, and where their recipes differ. It computes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import PumiceError, RecipeError
from pumice.recipes.compare import Difference, differences
from pumice.recipes.text import read_yaml
from pumice.report.collect import Curves, Row, RunFolder, collect, number


@dataclass(frozen=True)
class Progress:
    """How far a stage is, and its last numbers; None where there are none yet."""

    name: str
    step: int
    steps: int | None
    seconds: float | None
    loss: float | None
    validation: float | None
    evaluation: float | None
    tasks: Mapping[str, float]
    best_step: int | None
    best_loss: float | None
    best_figure: str | None = None
    best_value: float | None = None


@dataclass(frozen=True)
class Overview:
    """A run in a few numbers, by its folder's name.

    ``problem`` says why its files cannot be read, ``note`` what must be said with its status, ``held_out``
    what its last validation loss is of: runs where that differs do not compare.
    """

    name: str
    folder: str
    status: str
    recipe: str | None = None
    created: str | None = None
    stages: tuple[Progress, ...] = ()
    scores: dict[str, dict[str, float]] | None = None
    questions: str | None = None
    problem: str | None = None
    note: str | None = None
    sessions: int = 0
    held_out: str | None = None

    @property
    def validation(self) -> float | None:
        """The last validation loss of all stages."""
        known = [stage.validation for stage in self.stages if stage.validation is not None]
        return known[-1] if known else None

    @property
    def score(self) -> dict[str, float] | None:
        """The measured variant's accuracy with its interval."""
        return next(iter(self.scores.values())) if self.scores else None


@dataclass(frozen=True)
class Comparison:
    """Some runs, and the keys of their recipes that are not equal in all."""

    runs: tuple[Overview, ...]
    recipe: tuple[Difference, ...]


def list_runs(folder: Path) -> tuple[Overview, ...]:
    """Every run in a folder, the newest last; one whose files are damaged is listed with what is wrong."""
    found: list[Overview] = []
    for mark in sorted(folder.glob("*/run.json")):
        place = mark.parent
        try:
            found.append(overview(collect(place, answers=False)))
        except PumiceError as error:
            found.append(Overview(place.name, str(place), "unreadable", problem=str(error)))
    return tuple(sorted(found, key=lambda run: (run.created or "", run.name)))


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Runs side by side, in the order given; they may be young, running or broken off.

    Raises:
        UsageError: a folder holds no run.
        DataError: a file of one is malformed.
    """
    runs = [collect(folder, answers=False) for folder in folders]
    known = [run.recipe for run in runs if run.recipe is not None]
    changed = differences(*known) if len(known) == len(runs) else ()
    return Comparison(tuple(overview(run) for run in runs), changed)


def overview(run: RunFolder) -> Overview:
    """What a run has reached."""
    best = run.info.get("best")
    kept = best if isinstance(best, dict) else {}
    recorded = {str(stage.get("name")): stage for stage in run.stages}
    scores = run.scores
    return Overview(
        name=run.name,
        folder=str(run.path),
        status=run.status,
        recipe=run.info.get("recipe"),
        created=run.info.get("created"),
        stages=tuple(
            _progress(each, recorded.get(each.stage, {}), kept.get(each.stage) or {}) for each in run.curves
        ),
        scores={name: _interval(one["overall"]) for name, one in scores["variants"].items()}
        if scores
        else None,
        questions=scores["digest"] if scores else None,
        note=run.note,
        sessions=len(run.info.get("sessions") or []),
        held_out=_held_out(run),
    )


def _progress(each: Curves, record: Row, best: Row) -> Progress:
    last = each.train[-1] if each.train else {}
    steps, seconds = record.get("steps", last.get("steps")), number(record, "seconds")
    kept = best.get("step")
    return Progress(
        name=each.stage,
        step=int(last.get("step", 0)),
        steps=int(steps) if isinstance(steps, int) else None,
        seconds=number(last, "seconds") if seconds is None else seconds,
        loss=number(last, "loss"),
        validation=_last(each.validation, "loss"),
        evaluation=_last(each.evaluation, "value"),
        tasks=_tasks(each.evaluation),
        best_step=kept if isinstance(kept, int) else None,
        best_loss=number(best, "loss"),
        best_figure=str(best["figure"]) if "figure" in best else None,
        best_value=number(best, "value"),
    )


def _tasks(rows: Sequence[Row]) -> dict[str, float]:
    """The last figure of each task that was asked on the way."""
    found = rows[-1].get("tasks") if rows else None
    values = {name: number(one, "value") for name, one in found.items()} if isinstance(found, dict) else {}
    return {name: value for name, value in values.items() if value is not None}


def _held_out(run: RunFolder) -> str | None:
    """What a run's last validation loss is of, as one word to compare: data, template, tokens, kind."""
    stages = {each.stage: each for each in run.curves if each.validation}
    if not stages or run.recipe is None:
        return None
    try:
        value = read_yaml(run.recipe, str(run.path / "recipe.yaml")).value
        stage = next(one for one in value["stages"] if one["name"] == list(stages)[-1])
        validation = stage["validation"]
        facts = [stage["kind"], stage.get("template"), validation, value["data"][validation["source"]]]
        facts += [value["model"].get(key) for key in ("language", "checkpoint", "template")]
    except (RecipeError, KeyError, TypeError, StopIteration):
        return None
    # How often and what is kept decides nothing.
    validation = {key: each for key, each in validation.items() if key not in ("every", "keep_best")}
    facts[2] = validation
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _last(rows: Sequence[Row], key: str) -> float | None:
    return number(rows[-1], key) if rows else None


def _interval(found: Any) -> dict[str, float]:
    return {key: float(found[key]) for key in ("value", "low", "high", "n")}
