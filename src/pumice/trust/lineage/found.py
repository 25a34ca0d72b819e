"""What lies under some folders: weights with a record, weights without one, and the rows that stages saw.

Nothing here asks a run where its weights went: folders are looked through, so a copy or an export is found as
well, wherever it was put among them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pumice.data.seen import SEEN_FILE, Seen
from pumice.errors import PumiceError
from pumice.lineage.record import LINEAGE, ancestors, read_lineage

HELD_OUT = "rows-held-out.npz"
_MARKS = ("config.json", "adapter_config.json", "state.json")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_SKIPPED = (".cache", ".git", "__pycache__")


@dataclass(frozen=True, slots=True)
class Weights:
    """A folder with weights; ``record`` is None where nothing is known of them, and ``why`` says why."""

    folder: Path
    record: Mapping[str, Any] | None
    why: str = ""

    @property
    def kind(self) -> str:
        """What made them."""
        return "weights" if self.record is None else str(self.record["kind"])


@dataclass(frozen=True)
class StageRows:
    """The rows of a stage, as its run kept them; they are read when they are asked for."""

    run: Path
    stage: str
    record: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The stage's."""
        return self.run / "stages" / self.stage

    @property
    def key(self) -> str:
        """What tells it from other stages: its rows, and which step shows which."""
        return data_key(self.record)

    @cached_property
    def seen(self) -> Seen:
        """Its rows.

        Raises:
            RunError: the file is missing or damaged.
        """
        return Seen.load(self.folder / SEEN_FILE)

    @cached_property
    def held_out(self) -> Seen | None:
        """The rows that it measured itself on."""
        path = self.folder / HELD_OUT
        return Seen.load(path) if path.is_file() else None


@dataclass
class Found:
    """All that was found; stages by their key. A stage that another run took over is the same stage, and in
    ``places`` twice."""

    weights: list[Weights] = field(default_factory=list)
    stages: dict[str, StageRows] = field(default_factory=dict)
    runs: list[Path] = field(default_factory=list)
    places: list[StageRows] = field(default_factory=list)

    def stages_of(self, record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], StageRows | None]]:
        """The trained stages behind a record, the nearest first, and their rows where they are known."""
        for one in ancestors(record):
            if one.get("data") is not None:
                yield one, self.stages.get(data_key(one))


def data_key(record: Mapping[str, Any]) -> str:
    """The root of a record's rows, and the digest of its plan."""
    return f"{record['data']['root']} {record['data']['plan']}"


def look_through(folders: Iterable[Path]) -> Found:
    """Find weights, runs and stages' rows under some folders; links are not followed."""
    found = Found()
    seen: set[str] = set()
    for top in folders:
        for place, names, files in os.walk(top):
            names[:] = sorted(name for name in names if name not in _SKIPPED)
            folder = Path(place)
            if (real := os.path.realpath(place)) in seen:
                names.clear()
                continue
            seen.add(real)
            if "run.json" in files:
                found.runs.append(folder)
            if any(name.endswith(_WEIGHTS) for name in files) and any(mark in files for mark in _MARKS):
                found.weights.append(_weights(folder))
            elif LINEAGE in files and SEEN_FILE in files:
                _add_stage(found, folder)
    return found


def _weights(folder: Path) -> Weights:
    try:
        record = read_lineage(folder)
    except PumiceError as error:
        return Weights(folder, None, error.what)
    return Weights(folder, record, "" if record is not None else "it has no record of where it comes from")


def _add_stage(found: Found, folder: Path) -> None:
    try:
        record = read_lineage(folder)
        assert record is not None
        stage = StageRows(folder.parent.parent, folder.name, record)
        found.stages.setdefault(stage.key, stage)
        found.places.append(stage)
    except (PumiceError, KeyError, TypeError):
        return  # its weights have records of their own, and are told as unknown without it


def recipe_data(run: Path) -> list[dict[str, Any]]:
    """What a run's ``mixture.json`` says of its data; nothing where it cannot be read."""
    try:
        rows = json.loads((run / "mixture.json").read_text(encoding="utf-8"))
        return [row for row in rows if isinstance(row, dict)]
    except (OSError, ValueError, RecursionError):
        return []
