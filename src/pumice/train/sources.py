"""A recipe's sources as the data package takes them, and what is written of rows that were left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pumice.data.mixture import Mixture, Source
from pumice.data.problems import Refusals
from pumice.files import write_text
from pumice.recipes.schema import Recipe, Stage
from pumice.train.grounding import TARGETS

REFUSED = "refused.jsonl"
"""In a run's folder: every row that was left out since it cannot be used."""


def source_of(recipe: Recipe, name: str) -> Source:
    """A source of a recipe by its name."""
    source = recipe.data[name]
    return Source(
        name,
        source.file,
        Path(source.images) if source.images else None,
        source.weight,
        source.limit,
        source.format,
        source.prompt,
        source.licence,
        source.allow_bad,
        source.attribution,
        source.url,
    )


def refusals_of(recipe: Recipe, stage: Stage) -> Refusals:
    """Takes the rows of a stage that cannot be used, as many of each source as the recipe lets pass."""
    held_out = None if stage.validation is None else stage.validation.source
    names = [*stage.sources, *([held_out] if held_out is not None else [])]
    return Refusals({name: recipe.data[name].allow_bad for name in names})


def fingerprint_of(mixture: Mixture, stage: Stage) -> str:
    """What a plan's digest stands for beside lengths: the data, and a grounded stage's kind of targets."""
    targets = f" grounding {TARGETS}" if stage.grounding is not None else ""
    return mixture.fingerprint() + targets


def refused_rows(stage: Stage, refusals: Refusals) -> list[dict[str, Any]]:
    """The rows that a stage leaves out, as ``refused.jsonl`` has them."""
    return [
        {
            "stage": stage.name,
            "source": row.source,
            "file": row.file,
            "row": row.row,
            "id": row.id,
            "place": row.detail,
            "reason": row.reason,
            "remedy": row.remedy,
        }
        for row in refusals.rows
    ]


def write_refused(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one row a line; without any, no file, and one that is there goes."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    if lines:
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)
