"""The cheapest way to weights that never saw some rows: what is kept, what is done again, how long."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.data.plan import Plan
from pumice.errors import PumiceError
from pumice.recipes.text import read_yaml
from pumice.trust.lineage.exposure import Exposure
from pumice.trust.lineage.found import Found

_STATE = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train a run again.

    Attributes:
        command: that does it, under a new name.
        kept: what of the run stays, in words.
        steps: that are done again.
        seconds: about how long they take, by the run's own clock; None where it tells none.
        equals: the run that it equals, bit for bit on the same machine, in words.
    """

    command: str
    kept: str
    steps: int
    seconds: float | None
    equals: str


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is to be done about one run; the cheapest way first.

    ``first`` are runs and checkpoints that it began with and that saw the rows themselves: they come before.
    """

    run: Path
    ways: tuple[Way, ...]
    first: tuple[str, ...]


def retraining(found: Found, run: Path, known: Mapping[str, Exposure], name: str) -> Retraining | None:
    """How a run that saw rows is trained without them; None where none of its stages did.

    Args:
        found: all that is known.
        run: its folder.
        known: what stages saw (``exposure.exposures``).
        name: of the new run.
    """
    stages = _stages(run)
    own = {one.stage: known[one.key] for one in found.places if one.run == run and one.key in known}
    first = next((number for number, stage in enumerate(stages) if stage in own), None)
    inherited = _inherited(found, run, known)
    if first is None and not inherited:
        return None
    first = 0 if first is None else first
    command = ["pumice", "train", str(run / "recipe.yaml"), "--name", name, "--reuse", str(run)]
    if run.parent != Path("runs"):
        command += ["--runs", str(run.parent)]
    counts = [_steps(run, stage) for stage in stages]
    again = list(zip(stages[first:], counts[first:], strict=True))
    before = ", ".join(f"stage {stage}" for stage in stages[:first]) or "nothing: its first stage saw them"
    ways = [
        Way(
            shlex.join(command),
            before,
            sum(steps for _, steps in again),
            _sum(_seconds(run, stage, steps) for stage, steps in again),
            "a run on the data without these rows, of the same recipe, from its start",
        )
    ]
    state = clean_state(run, stages[first], own[stages[first]].first - 1) if stages[first] in own else None
    if state is not None and not inherited:
        left = [(stages[first], counts[first] - state), *again[1:]]
        ways.append(
            Way(
                shlex.join([*command, "--keep-plan"]),
                f"{before if first else 'no whole stage'}, and stage {stages[first]} up to step {state}",
                sum(steps for _, steps in left),
                _sum(_seconds(run, stage, steps) for stage, steps in left),
                "a run of the same plan in which these rows were holes from the start",
            )
        )
    return Retraining(run, tuple(sorted(ways, key=lambda way: way.steps)), tuple(inherited))


def _stages(run: Path) -> list[str]:
    try:
        recipe: Any = read_yaml((run / "recipe.yaml").read_text("utf-8"), "recipe.yaml", lines=False).value
        return [str(stage["name"]) for stage in recipe["stages"]]
    except (OSError, PumiceError, KeyError, TypeError):
        return []


def _inherited(found: Found, run: Path, known: Mapping[str, Exposure]) -> list[str]:
    """What a run began with that saw the rows before."""
    stages, names = _stages(run), []
    own = next((one for one in found.places if one.run == run and one.stage in stages[:1]), None)
    for part, parent in ({} if own is None else own.record.get("parents", {})).items():
        if parent.get("lineage") is None:
            continue
        for record, stage in found.stages_of(parent["lineage"]):
            if stage is not None and stage.key in known:
                names.append(f"{parent['name']} ({part}), of stage {record['stage']} of run {record['run']}")
    return names


def clean_state(run: Path, stage: str, most: int) -> int | None:
    """The newest saved state of a stage after no more than so many steps."""
    folder = run / "stages" / stage / "state"
    names = [_STATE.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    steps = [int(name[1]) for name in names if name and int(name[1]) <= most]
    return max(steps, default=None)


def _steps(run: Path, stage: str) -> int:
    try:
        return len(Plan.load(run / "stages" / stage / "plan.json"))
    except PumiceError:
        return 0


def _seconds(run: Path, stage: str, steps: int) -> float | None:
    """About how long some steps of a stage take: what they took before."""
    last: dict[str, Any] = {}
    try:
        for line in (run / "stages" / stage / "metrics.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            last = row if row.get("kind") == "train" else last
        return float(last["seconds"]) / int(last["step"]) * steps
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def _sum(parts: Any) -> float | None:
    found = list(parts)
    return None if any(part is None for part in found) else float(sum(found))
