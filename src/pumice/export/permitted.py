"""Whether the licences of a model's rows let it be shared: asked of the record of the run that made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pumice.data.licensing import check_licences
from pumice.errors import PumiceError, RunError
from pumice.licences import Policy
from pumice.licences.policy import Purpose
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
    """Refuse a model whose rows the policy of its run forbids.

    Args:
        model: its folder.
        purpose: what the export serves, in the place of the recipe's purpose; None keeps that.

    Returns:
        What a user should know: that nothing was checked, and why; None where all rows pass, or nothing was
        asked.

    Raises:
        DataError: rows that the policy forbids.
        RunError: the record cannot be read, or ``purpose`` was given and there is no record to look at.
    """
    run = run_of(model)
    if run is None:
        if purpose is not None:
            raise RunError(
                "the model lies in no run, so nothing tells which rows it saw",
                where=str(model),
                remedy="name the run's folder or the model inside it; or leave --purpose out",
            )
        return None
    policy = _policy(run, purpose)
    if policy is None:
        return None
    rows = _mixture(run)
    if any("licences" not in row for row in rows):
        if purpose is None:
            return f"{run / MIXTURE} counts no licences (an older record), so none was checked"
        raise RunError(
            "the run's record counts no licences: an older program wrote it",
            where=str(run / MIXTURE),
            remedy=f"look with `pumice data attribution {run / RECIPE}`, or leave --purpose out",
        )
    check_licences(policy, rows, "part of a model that is shared" if policy.purpose != "private" else "used")
    return None


def _policy(run: Path, purpose: Purpose | None) -> Policy | None:
    block = read_yaml((run / RECIPE).read_text(encoding="utf-8"), str(run / RECIPE), lines=False).value
    told = block.get("licences") if isinstance(block, dict) else None
    if told is None:
        return None if purpose is None else Policy(purpose)
    try:
        own = Licences.model_validate(told).policy
    except (ValidationError, PumiceError) as error:
        raise RunError(
            f"the policy of the run's recipe cannot be read ({error})",
            where=str(run / RECIPE),
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
