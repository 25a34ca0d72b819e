"""What a stage writes of where its weights come from: which rows, in which steps, of which parents.

stages/STAGE/rows.npz            every row by digest and place, and the steps that show it (``data.seen``)
stages/STAGE/rows-held-out.npz   the same of its validation, which teaches nothing
stages/STAGE/lineage.json        the record (``lineage.record``); each folder of weights carries it on
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.data.contents import Contents
from pumice.data.samples import Samples
from pumice.data.seen import SEEN_FILE, Seen, seen_rows
from pumice.errors import RunError
from pumice.files import write_json
from pumice.lineage.record import FORMAT, LINEAGE, VERSION, parent_of
from pumice.recipes.load import dump_recipe
from pumice.recipes.schema import Recipe, Stage
from pumice.train.checkpoint import list_states
from pumice.train.prepare import CheckObserver, Prepared
from pumice.train.record import Parts

HELD_OUT = "rows-held-out.npz"
"""Beside ``SEEN_FILE``: the rows that a stage measured itself on."""
CODE = ("pumice", "revision", "torch", "transformers", "python")
MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class StageLineage:
    """The record of a stage, as each folder of weights that it writes carries it."""

    record: Mapping[str, Any]

    def of(self, kind: str, step: int) -> dict[str, Any]:
        """That of a folder of weights after so many steps."""
        return {**self.record, "kind": kind, "step": step}


def write_stage_lineage(
    recipe: Recipe,
    stage: Stage,
    ready: Prepared,
    parents: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
    folder: Path,
    cache: Path,
    observer: CheckObserver,
) -> StageLineage:
    """Write the three files of a stage before its first step.

    Args:
        recipe: the run's.
        stage: which.
        ready: its data and plan.
        parents: what it begins with (``parents_of``).
        run: the run's record.
        folder: the run's.
        cache: keeps digests of pictures.
        observer: told how far the pictures are.

    Raises:
        RunError: the stage goes on, and a picture is not the one that its first steps saw.
        ImageError: a picture cannot be read.
    """
    place, contents = folder / "stages" / stage.name, Contents(cache)
    plan = ready.plan
    samples, held_out = ready.data.samples, ready.validation
    assert isinstance(samples, Samples), "a run's samples are rows of tables"
    workers = min(MOST_THREADS, os.cpu_count() or 1)
    steps = [plan.samples(step) for step in range(len(plan))]
    seen = seen_rows(samples, steps, contents, progress=observer.on_check, workers=workers)
    measured = None
    if held_out is not None:
        assert isinstance(held_out.samples, Samples)
        measured = seen_rows(held_out.samples, [], contents, progress=observer.on_check, workers=workers)
    contents.save()
    if any(state.step for state in list_states(place / "state")):
        _check_same(place / SEEN_FILE, seen)
    seen.save(place / SEEN_FILE)
    if measured is not None:
        measured.save(place / HELD_OUT)
    record = {
        "kind": "stage",
        "run": str(run["name"]),
        "stage": stage.name,
        "steps": len(plan),
        "seed": recipe.seed,
        "recipe": {
            "name": recipe.name,
            "sha256": hashlib.sha256(dump_recipe(recipe).encode()).hexdigest(),
        },
        "code": {key: run.get(key) for key in CODE},
        "policy": None if recipe.licences is None else recipe.licences.model_dump(mode="json"),
        "data": {
            "root": seen.root,
            "rows": len(seen),
            "samples": len(samples),
            "pictures": len(seen.columns.picture),
            "plan": plan.digest,
            "sources": [_source(row) for row in ready.mixture],
            "held_out": None if measured is None else {"root": measured.root, "rows": len(measured)},
        },
        "parents": {part: dict(one) for part, one in parents.items()},
    }
    write_json(place / LINEAGE, {"format": FORMAT, "version": VERSION, **record})
    return StageLineage(record)


def parents_of(
    recipe: Recipe, stage: Stage, described: Mapping[str, Mapping[str, Any]], parts: Parts, folder: Path
) -> dict[str, dict[str, Any]]:
    """What a stage begins with: the recipe's parts, or the model of the stage before it.

    Args:
        recipe: the run's.
        stage: which.
        described: the parts' names and digests (``record.describe_parts``).
        parts: their folders.
        folder: the run's.
    """
    number = recipe.stages.index(stage)
    if number:
        name = f"stages/{recipe.stages[number - 1].name}/model"
        return {"checkpoint": parent_of(folder / name, name)}
    return {
        part: parent_of(place, Path(str(described[part]["name"])).name)
        for part, place in parts.places().items()
    }


def _source(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of a source: names, counts and digests, no path."""
    keys = ("source", "format", "sha256", "used", "samples", "licence", "erased")
    counts = [{**one, "first": [Path(place).name for place in one["first"]]} for one in row["licences"]]
    return {"file": Path(row["file"]).name, **{key: row[key] for key in keys}, "licences": counts}


def _check_same(path: Path, seen: Seen) -> None:
    """RunError where the steps that were done saw other pictures than the next ones would."""
    if not path.is_file():
        return
    before = Seen.load(path)
    if len(before) != len(seen) or before.root == seen.root:
        return  # other rows mean another plan, and that is refused elsewhere
    row = next(row for row in range(len(seen)) if before.leaf(row) != seen.leaf(row))
    file, number = seen.origin(row)
    raise RunError(
        "a picture is not the one that the stage began with",
        where=f"{file}, row {number}",
        remedy="put the old file back, or start a run under another --name",
    )
