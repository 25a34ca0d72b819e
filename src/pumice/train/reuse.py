"""Taking from an earlier run what would come out the same: finished stages, and states before a change.

A stage is a function of its recipe, its data, the weights it begins with, and the code. Where all of these
are those of an earlier run, its model is the model, bit for bit, and is taken (files are linked, not copied).
The first stage that differs, and all behind it, are trained.

With ``keep_plan`` the stages that are trained follow the earlier plans with holes where rows were erased
(``data.holes``), and the first of them goes on from the earlier run's last state before a hole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pumice.data.contents import Contents
from pumice.data.holes import PLAN_FILE, Holes
from pumice.data.samples import Samples
from pumice.data.seen import SEEN_FILE, Seen, seen_rows
from pumice.errors import RunError
from pumice.files import write_json
from pumice.lineage.quarantine import MARKER
from pumice.lineage.record import LINEAGE
from pumice.recipes.compare import differences
from pumice.recipes.load import dump_recipe
from pumice.recipes.schema import Recipe, Stage
from pumice.train.checkpoint import State, list_states, publish_state
from pumice.train.lineage import CODE, HELD_OUT
from pumice.train.loop import Observer
from pumice.train.prepare import Prepared
from pumice.train.record import read_record

HOLES = "holes"
"""In a stage's folder: the plan and the rows of the earlier run, where its plan is that one with holes."""
_NAMES = ("model.vision", "model.language", "model.more_vision", "model.checkpoint")
ALIKE_THREADS = 3
"""Up to so many threads of a CPU a picture's features do not depend on the others of their chunk."""


@dataclass
class Reuse:
    """An earlier run from which parts are taken.

    Attributes:
        folder: of the earlier run.
        keep_plan: whether stages that are trained follow its plans.
        notes: what the owner should know, as sentences.
    """

    folder: Path
    keep_plan: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.record = read_record(self.folder)
        if not self.record:
            raise RunError(
                "there is no run to take stages from", where=str(self.folder), remedy="name a run's folder"
            )
        path = self.folder / "recipe.yaml"
        try:
            self._recipe = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RunError(
                f"the recipe of the run to take from cannot be read ({error})",
                where=str(path),
                remedy="restore it from a copy, or leave --reuse out",
            ) from error

    def place(self, stage: Stage) -> Path:
        """The earlier run's folder of a stage."""
        return self.folder / "stages" / stage.name

    def holes(self, recipe: Recipe, stage: Stage) -> Holes | None:
        """What a stage's plan is made from; None where it gets one of its own."""
        if not self.keep_plan or any(
            self._changed(recipe, block) for block in ("model", "seed", f"stages.{stage.name}")
        ):
            return None
        found = Holes.load(self.place(stage))
        if found is None:
            self.notes.append(
                f"{self.folder} has no record of stage {stage.name!r}: it gets a plan of its own"
            )
        return found

    def take_stages(
        self,
        recipe: Recipe,
        prepared: Mapping[str, Prepared],
        described: Mapping[str, Mapping[str, Any]],
        record: dict[str, Any],
        folder: Path,
        cache: Path,
    ) -> None:
        """Link the stages that would come out the same, up to the first that would not, and record them.

        Args:
            recipe: of the new run.
            prepared: its stages, by name.
            described: its parts (``record.describe_parts``).
            record: its record, of which ``stages`` and ``best`` grow.
            folder: its folder.
            cache: keeps digests of pictures.
        """
        contents = Contents(cache)
        sums = {part: facts["sha256"] for part, facts in described.items()}
        then = {part: facts.get("sha256") for part, facts in self.record.get("parts", {}).items()}
        if sums != then or self._changed(recipe, "model") or self._changed(recipe, "seed"):
            self.notes.append(f"{self.folder} began with another model or seed: nothing is taken from it")
            return
        finished = {row["name"]: row for row in self.record.get("stages", [])}
        for stage in recipe.stages:
            row = finished.get(stage.name)
            if any(done["name"] == stage.name for done in record["stages"]):
                continue
            if row is None or list_states(folder / "stages" / stage.name / "state"):
                break
            why = self._differs(recipe, stage, prepared[stage.name], contents, record)
            if why is not None:
                self.notes.append(f"stage {stage.name!r} of {self.folder} is not taken: {why}")
                break
            _link_tree(self.place(stage), folder / "stages" / stage.name)
            record["stages"].append({**row, "reused": self.folder.name})
            if (best := self.record.get("best", {}).get(stage.name)) is not None:
                record["best"][stage.name] = best
            write_json(folder / "run.json", record)
            self.notes.append(f"stage {stage.name!r} is that of {self.folder}: the same comes out")
        contents.save()

    def tell(self, observer: Observer) -> None:
        """Say what was noted so far, once."""
        for note in self.notes:
            observer.on_notice(note)
        self.notes.clear()

    def take_state(
        self, stage: Stage, ready: Prepared, folder: Path, lineage: Mapping[str, Any] | None
    ) -> State | None:
        """Give a stage that follows an earlier plan the last state of it before the first hole.

        Returns:
            The state as it lies in the new run; None where there is none, and the stage begins at its start.
        """
        target = folder / "stages" / stage.name
        if ready.first_hole is None or list_states(target / "state") or (target / "metrics.jsonl").exists():
            return None
        why = self._begun_otherwise(stage, lineage) or self._measured_otherwise(stage, ready)
        if why is not None:
            self.notes.append(f"stage {stage.name!r} begins at its start: {why}")
            return None
        states = [one for one in list_states(self.place(stage) / "state") if one.step <= ready.first_hole]
        states = [one for one in states if not (one.folder / MARKER).exists()]
        if not states:
            self.notes.append(
                f"{self.folder} has no state of stage {stage.name!r} before step "
                f"{ready.first_hole + 1}, where the first erased row stood"
            )
            return None
        shutil.copyfile(self.place(stage) / "metrics.jsonl", target / "metrics.jsonl")
        return _moved(states[-1], target / "state", ready.plan.digest, lineage)

    def _changed(self, recipe: Recipe, block: str) -> bool:
        """Whether a block of the recipe is another; parts are compared by their weights and not by name."""
        keys = [one.key for one in differences(self._recipe, dump_recipe(recipe))]
        return any((key == block or key.startswith(f"{block}.")) and key not in _NAMES for key in keys)

    def _differs(
        self, recipe: Recipe, stage: Stage, ready: Prepared, contents: Contents, record: Mapping[str, Any]
    ) -> str | None:
        """Why a finished stage would not come out the same; None where it would."""
        place = self.place(stage)
        if self._changed(recipe, f"stages.{stage.name}"):
            return "its settings are others"
        if (place / "model" / MARKER).exists():
            return "it is quarantined"
        try:
            plan = json.loads((place / PLAN_FILE).read_text("utf-8"))["digest"]
            made = json.loads((place / LINEAGE).read_text("utf-8"))
            code, root = made["code"], made["data"]["root"]
        except (OSError, ValueError, KeyError, TypeError):
            return "it has no record of its data"
        if plan != ready.plan.digest:
            return "its data is other data"
        if not _same_rows(place / HELD_OUT, ready):
            return "its validation data is other data"
        samples = ready.data.samples
        assert isinstance(samples, Samples)
        if seen_rows(samples, [], contents).root != root:
            return "a picture is another picture"
        changed = [key for key in CODE if code.get(key) != record.get(key)]
        if changed:
            now = ", ".join(f"{key} {record.get(key)} in place of {code.get(key)}" for key in changed)
            return f"the code is another ({now})"
        return None

    def _begun_otherwise(self, stage: Stage, lineage: Mapping[str, Any] | None) -> str | None:
        """Why a state of the earlier run lies on no way that the new stage takes; None where it does.

        What a stage begins with is in each of its states. A stage before it that was trained again, because
        it saw erased rows as well or its settings are others, begins another way.
        """
        try:
            then = json.loads((self.place(stage) / LINEAGE).read_text("utf-8"))
            before, code = _weights_of(then), then["code"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return f"{self.folder} has no record of what it began with"
        if lineage is None or before != _weights_of(lineage):
            return f"in {self.folder} it began with other weights"
        if code != lineage["code"]:
            return f"{self.folder} was trained with another code"
        return None

    def _measured_otherwise(self, stage: Stage, ready: Prepared) -> str | None:
        """Why a state before the first hole is not that of a run with the holes from its start."""
        if not _same_rows(self.place(stage) / HELD_OUT, ready):
            return "rows of its validation were erased, too"
        if stage.validation is not None and stage.validation.keep_best:
            return "which model is its best may hang on the erased rows"
        kept = stage.features.keep == "memory" and "vision" not in stage.parts
        alike = stage.features.keep == "disk" or not kept
        if not alike and (torch.cuda.is_available() or torch.get_num_threads() > ALIKE_THREADS):
            return (
                "pictures were read in chunks that held those of erased rows, and on this device that may "
                "change a bit (features.keep: disk or none does not)"
            )
        return None


def own_holes(folder: Path, stage: Stage) -> Holes | None:
    """What the plan of a stage of a run that goes on was made from, if it is one with holes."""
    return Holes.load(folder / "stages" / stage.name / HOLES)


def keep_holes(found: Mapping[str, Holes], folder: Path) -> None:
    """Put beside each stage what its plan is made from, so that the run goes on without the earlier one."""
    for name, holes in found.items():
        place = folder / "stages" / name / HOLES
        place.mkdir(parents=True, exist_ok=True)
        if not (place / PLAN_FILE).exists():
            holes.seen.save(place / SEEN_FILE)
            holes.base.save(place / PLAN_FILE)


def _weights_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The digests of what a stage began with, by part."""
    return {part: parent["weights"] for part, parent in record["parents"].items()}


def _same_rows(path: Path, ready: Prepared) -> bool:
    """Whether a stage measured itself on the rows that it would be measured on now."""
    if ready.validation is None:
        return not path.is_file()
    if not path.is_file():
        return False
    before, now = Seen.load(path), ready.validation.samples
    assert isinstance(now, Samples)
    rows = [table.columns.digest[chosen] for table, chosen in now.parts]
    then = before.columns.row[before.columns.sample]
    return len(then) == len(now) and bool(np.array_equal(then, np.concatenate(rows)))


def _moved(state: State, folder: Path, digest: str, lineage: Mapping[str, Any] | None) -> State:
    """A state under another plan whose steps up to it are the same."""
    record = json.loads((state.folder / "state.json").read_text("utf-8"))
    partial = folder / f".{state.folder.name}.writing"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in record["files"]:
        _link(state.folder / name, partial / name)
    return publish_state(partial, state.step, digest, float(record["seconds"]), record["seals"], lineage)


def _link_tree(source: Path, target: Path) -> None:
    """A folder's files under another name, without those of its states; whole or not at all."""
    partial = target.with_name(f".{target.name}.reusing")
    shutil.rmtree(partial, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_dir() or relative.parts[0] in ("state", "frozen"):
            continue
        (partial / relative).parent.mkdir(parents=True, exist_ok=True)
        _link(path, partial / relative)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
