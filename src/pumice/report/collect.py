"""Reads what a run folder holds so far. A run may be young, running or broken off: what is not there yet is
left out and named; what is there and malformed is an error with its file and row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import DataError, UsageError
from pumice.evaluate import Scores, read_scores
from pumice.report.status import status_of

Row = dict[str, Any]

RUN = "give a folder that pumice train made, such as runs/NAME: it holds run.json, recipe.yaml and stages/"
"""What a run is, for those who named something else."""


KINDS = ("train", "validation", "grounding", "evaluation")
"""Of the rows of a metrics file."""


@dataclass(frozen=True)
class Curves:
    """The rows of one stage's metrics file, by kind."""

    stage: str
    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    grounding: tuple[Row, ...]
    evaluation: tuple[Row, ...] = ()


@dataclass(frozen=True)
class RunFolder:
    """Everything a page shows. ``predictions`` maps variant -> question_id (as text) -> row; ``status`` and
    ``note`` are those of ``status.status_of``."""

    path: Path
    info: Row
    recipe: str | None
    mixture: tuple[Row, ...]
    curves: tuple[Curves, ...]
    scores: Scores | None
    predictions: Mapping[str, Mapping[str, Row]]
    missing: tuple[str, ...]
    status: str = "unknown"
    note: str | None = None

    @property
    def name(self) -> str:
        """The folder's: a copy of a run is another one, and is found by that name."""
        return self.path.resolve().name

    @property
    def stages(self) -> list[Row]:
        """The stages as run.json records them."""
        return [stage for stage in self.info.get("stages", []) if isinstance(stage, dict)]


@dataclass(frozen=True)
class Choice:
    """The questions whose pictures are shown, and how they were chosen, in words."""

    rows: tuple[Row, ...]
    how: str


def collect(run_dir: Path, *, answers: bool = True) -> RunFolder:
    """Reads a run folder; without ``answers`` all but the single predictions.

    Raises:
        UsageError: it is no folder, or no run's: there is no run.json.
        DataError: a file of it is malformed, with the row.
    """
    if not run_dir.is_dir():
        raise UsageError("there is no such run", where=str(run_dir), remedy=RUN)
    info = _read_object(run_dir / "run.json")
    if info is None:
        raise UsageError("the folder is no run: it holds no run.json", where=str(run_dir), remedy=RUN)
    recipe = run_dir / "recipe.yaml"
    scores_path = run_dir / "eval" / "scores.json"
    mixture = _read_list(run_dir / "mixture.json")
    curves = _read_curves(run_dir, info)
    scores = read_scores(scores_path) if scores_path.exists() else None
    status, note = status_of(run_dir, info)
    present = {
        "recipe.yaml (the resolved recipe)": recipe.exists(),
        "mixture.json (what it was trained on)": bool(mixture),
        "stages/*/metrics.jsonl (curves)": bool(curves),
        "eval/scores.json (measurement)": scores is not None,
    }
    return RunFolder(
        path=run_dir,
        info=info,
        recipe=recipe.read_text(encoding="utf-8", errors="replace") if recipe.exists() else None,
        mixture=mixture,
        curves=curves,
        scores=scores,
        predictions=_read_predictions(run_dir / "eval", scores) if scores and answers else {},
        missing=tuple(name for name, there in present.items() if not there),
        status=status,
        note=note,
    )


def choose(rows: Sequence[Row], count: int = 12, least_wrong: int = 3) -> Choice:
    """Questions to show: types in turn, one picture each, drawn by a hash of the id, mistakes included.

    The number of mistakes shown follows their share among all ``rows``, but is at least
    ``least_wrong`` (fewer only where there are fewer). Nothing depends on how an answer looks.
    """
    asked = [row for row in rows if row.get("image")]
    wrong = [row for row in asked if not row["correct"]]
    right = [row for row in asked if row["correct"]]
    quota = min(len(wrong), max(least_wrong, round(count * len(wrong) / len(asked)))) if asked else 0
    used: set[str] = set()
    seen_types: dict[str, int] = {}
    mistakes = _in_turn(wrong, quota, used, seen_types)
    successes = _in_turn(right, count - len(mistakes), used, seen_types)
    chosen = sorted(mistakes + successes, key=lambda row: (str(row["type"]), _draw(row)))
    share = f"{100 * len(wrong) / len(asked):.1f}%" if asked else "0%"
    how = (
        f"Drawn by a hash of the question's id, question types in turn, each picture once: {len(successes)} "
        f"of the questions answered rightly and {len(mistakes)} of those answered wrongly "
        f"(mistakes are {share} of all; at least {least_wrong} are always shown)."
    )
    return Choice(tuple(chosen), how)


def _in_turn(rows: Sequence[Row], count: int, used: set[str], seen_types: dict[str, int]) -> list[Row]:
    """The types shown least come first; ``used`` and ``seen_types`` go on from call to call."""
    waiting: dict[str, list[Row]] = {}
    for row in sorted(rows, key=_draw):
        waiting.setdefault(str(row["type"]), []).append(row)
    chosen: list[Row] = []
    while len(chosen) < count and waiting:
        kind = min(waiting, key=lambda name: (seen_types.get(name, 0), name))
        free = [row for row in waiting[kind] if row["image"] not in used]
        if not free:
            del waiting[kind]
            continue
        used.add(free[0]["image"])
        seen_types[kind] = seen_types.get(kind, 0) + 1
        chosen.append(free[0])
    return chosen


def _draw(row: Row) -> str:
    return hashlib.sha256(str(row["question_id"]).encode("utf-8", "replace")).hexdigest()


def number(row: Mapping[str, Any], key: str) -> float | None:
    """A row's number, NaN and infinities included; None where it is absent or no number."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def points(rows: Sequence[Row], key: str) -> tuple[tuple[float, float], ...]:
    """(step, value) of every row that has both; a value that is not finite stays, for the chart to report."""
    pairs = [(number(row, "step"), number(row, key)) for row in rows]
    return tuple((x, y) for x, y in pairs if x is not None and y is not None and math.isfinite(x))


def _read_curves(run_dir: Path, info: Row) -> tuple[Curves, ...]:
    recorded = [str(stage.get("name")) for stage in info.get("stages", []) if isinstance(stage, dict)]
    found = sorted(
        (path.parent.name for path in run_dir.glob("stages/*/metrics.jsonl")),
        key=lambda name: (recorded.index(name) if name in recorded else len(recorded), name),
    )
    curves: list[Curves] = []
    for name in found:
        rows = _read_rows(run_dir / "stages" / name / "metrics.jsonl")
        of_kind = {kind: tuple(row for row in rows if row.get("kind") == kind) for kind in KINDS}
        if rows:
            curves.append(Curves(name, **of_kind))
    return tuple(curves)


def _read_predictions(folder: Path, scores: Scores) -> dict[str, dict[str, Row]]:
    predictions: dict[str, dict[str, Row]] = {}
    for variant in scores["variants"]:
        path = folder / f"predictions-{variant}.jsonl"
        if not path.exists():
            continue
        rows = _read_rows(path)
        for place, row in enumerate(rows):
            lacking = {"question_id", "image", "text", "type", "answer", "raw", "correct"} - row.keys()
            if lacking:
                raise _malformed(path, f"the prediction lacks {', '.join(sorted(lacking))}", place)
        predictions[variant] = {str(row["question_id"]): row for row in rows}
    return predictions


def _read_rows(path: Path) -> list[Row]:
    """Rows of a JSONL file; a last line without its newline is one that is being written, and is left out."""
    rows: list[Row] = []
    whole = path.read_bytes().split(b"\n")[:-1]
    for place, line in enumerate(whole):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _malformed(path, f"the row is not JSON ({error})", place) from error
        if not isinstance(row, dict):
            raise _malformed(path, "the row is not a JSON object", place)
        rows.append(row)
    return rows


def _read_object(path: Path) -> Row | None:
    content = _read(path)
    if content is not None and not isinstance(content, dict):
        raise _malformed(path, "the file is not a JSON object")
    return content


def _read_list(path: Path) -> tuple[Row, ...]:
    content = _read(path)
    if content is None:
        return ()
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise _malformed(path, "the file is not a list of JSON objects")
    return tuple(content)


def _read(path: Path) -> Any:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _malformed(path, f"the file is not JSON ({error})") from error


def _malformed(path: Path, what: str, row: int | None = None) -> DataError:
    where = str(path) if row is None else f"{path}, row {row}"
    return DataError(what, where=where, remedy="restore the file, or remove it and run that step again")
