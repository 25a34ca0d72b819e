"""A trainer of an embedded part, taken through the step loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pumice.world.pretraining import Trainer, run


def rows_of(folder: Path, kind: str = "train") -> list[dict[str, Any]]:
    """The rows of a kind in a folder's metrics file."""
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def steps_of(trainer: Trainer, work: Path) -> list[dict[str, Any]]:
    """Train to the plan's end; the row of each step."""
    run(trainer, work, dict, lambda step, steps, figures: None, lambda: False)
    return rows_of(work / trainer.NAME)
