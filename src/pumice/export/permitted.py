"""Whether the licences of a model's rows let it be shared: asked of the records of the runs that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pumice.data.licensing import check_licences
from pumice.errors import PumiceError, RunError
from pumice.licences import Policy
from pumice.licences.policy import Purpose
from pumice.lineage.record import LINEAGE, ancestors, read_lineage
from pumice.recipes.schema import Licences
from pumice.recipes.text import read_yaml

RUN, MIXTURE, RECIPE = "run.json", "mixture.json", "recipe.yaml"
_DEPTH = 4
"""How far above a model its run's folder may be: ``RUN/stages/NAME/model``, a state deeper still."""


def run_of(model: Path) -> Path | None:
    """The folder of the run that a model lies in; None where it lies in none."""
    if not model.exists():  # a name of the hub
        return None
    place = model.resolve()
    for folder in (place, *list(place.parents)[:_DEPTH]):
        if (folder / RUN).is_file() and (folder / RECIPE).is_file():
            return folder
    return None


def check_permitted(model: Path, purpose: Purpose | None = None) -> str | None:
    """Refuse a model whose rows the policy of its run forbids; those of the weights that it came from, too.

    The run's own rows are told by its folder, where the model lies in one. All others are told by the record
    that travels with the weights, so a copy of a copy is asked the same. The policy is that of the last run
    that states one.

    Args:
        model: its folder.
        purpose: what the export serves, in the place of the recipe's purpose; None keeps that.

    Returns:
        What a user should know: that something was not checked, and why; None where all rows pass, or
        nothing was asked.

    Raises:
        DataError: rows that the policy forbids.
        RunError: the record cannot be read, or ``purpose`` was given and there is no record to look at.
        CheckpointError: the record of the weights is damaged.
    """
    told = _told(model)
    if not told:
        if purpose is not None:
            raise RunError(
                "the model lies in no run and has no record, so nothing tells which rows it saw",
                where=str(model),
                remedy="name the run's folder or the model inside it; or leave --purpose out",
            )
        return None
    policy = _policy(told, purpose)
    if policy is None:
        return None
    silent = [one.where for one in told if any("licences" not in row for row in one.rows)]
    if silent and purpose is not None:
        raise RunError(
            "the record counts no licences: an older program wrote it",
            where=silent[0],
            remedy="look with `pumice data attribution RUN/recipe.yaml`, or leave --purpose out",
        )
    rows = [row for one in told for row in one.rows]
    check_licences(policy, rows, "part of a model that is shared" if policy.purpose != "private" else "used")
    return f"{silent[0]} counts no licences (an older record), so none was checked" if silent else None


@dataclass(frozen=True, slots=True)
class _Told:
    """What one record says: its rows' licences, as ``mixture.json`` counts them, and the recipe's policy."""

    where: str
    rows: Sequence[Mapping[str, Any]]
    policy: object


def _told(model: Path) -> list[_Told]:
    """The records of what a model saw, that of its own run first."""
    run = run_of(model)
    if not model.exists():
        return []
    place = model if (model / LINEAGE).is_file() or run is None else run / "model"
    record = read_lineage(place) if place.is_dir() else None
    told = []
    own = None
    if run is not None:
        block = read_yaml((run / RECIPE).read_text(encoding="utf-8"), str(run / RECIPE), lines=False).value
        told.append(
            _Told(
                str(run / MIXTURE), _mixture(run), block.get("licences") if isinstance(block, dict) else None
            )
        )
        own = None if record is None else _which(record)
    for one in () if record is None else ancestors(record):
        if one.get("data") is None or (own is not None and _which(one) == own):
            continue  # made without rows; or those that the run's folder tells of
        where = f"{place / LINEAGE}, stage {one.get('stage')} of run {one.get('run')}"
        told.append(_Told(where, one["data"].get("sources", []), one.get("policy")))
    return told


def _which(record: Mapping[str, Any]) -> tuple[object, object]:
    """Tells a run from others: its name, and its recipe's digest."""
    recipe = record.get("recipe")
    return record.get("run"), recipe.get("sha256") if isinstance(recipe, Mapping) else None


def _policy(told: Sequence[_Told], purpose: Purpose | None) -> Policy | None:
    stated = next((one for one in told if one.policy is not None), None)
    if stated is None:
        return None if purpose is None else Policy(purpose)
    try:
        own = Licences.model_validate(stated.policy).policy
    except (ValidationError, PumiceError) as error:
        raise RunError(
            f"the policy of the run's recipe cannot be read ({error})",
            where=stated.where,
            remedy="restore it from a copy",
        ) from error
    return own if purpose is None else Policy(purpose, own.allow, own.forbid, own.unknown)


def _mixture(run: Path) -> list[dict[str, Any]]:
    path = run / MIXTURE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TypeError("it is no list of objects")
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"the record of the run's data cannot be read ({error})",
            where=str(path),
            remedy="restore it from a copy; without it nothing tells which rows the model saw",
        ) from error
    return rows
