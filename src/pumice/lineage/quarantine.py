"""Weights that must not be used: a marker in their folder says why, and nothing loads them by mistake.

`pumice data erase` sets it on all that saw rows which were erased since. It holds digests and counts, never
contents.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.errors import CheckpointError
from pumice.files import write_json

MARKER = "QUARANTINED.json"


class QuarantinedError(CheckpointError):
    """Weights that a marker forbids to use."""


def quarantine(folder: Path, reason: str, facts: Mapping[str, Any], remedy: str | None = None) -> bool:
    """Forbid the use of a folder; reasons of before stay. Returns whether it was free until now.

    Args:
        folder: with weights, or a run.
        reason: why, as a sentence without a full stop.
        facts: what else a person should know; digests and counts alone.
        remedy: what to do instead.
    """
    marker = folder / MARKER
    before = _read(marker)
    again = [row for row in before if row.get("erasure") != facts.get("erasure")]
    row = {"reason": reason, "remedy": remedy, **facts}
    write_json(marker, {"format": "pumice quarantine", "version": 1, "reasons": [*again, row]})
    return not before


def check_quarantine(folder: Path) -> None:
    """Refuse a folder that is forbidden.

    Raises:
        QuarantinedError: it is; says why and what to do.
    """
    marker = folder / MARKER
    if not marker.exists():
        return
    found = _read(marker)
    reasons = [str(row.get("reason", "no reason is given")) for row in found] or ["the marker cannot be read"]
    remedies = [str(row["remedy"]) for row in found if row.get("remedy")]
    remedy = remedies[-1] if remedies else "train it again without them"
    raise QuarantinedError(
        f"the weights are quarantined: {'; '.join(dict.fromkeys(reasons))}",
        where=str(marker),
        remedy=f"{remedy}; who must look at them adds --allow-quarantined (pumice chat, pumice look)",
    )


def _read(marker: Path) -> list[dict[str, Any]]:
    """The reasons; none where it cannot be read: it forbids all the same."""
    try:
        rows = json.loads(marker.read_text(encoding="utf-8"))["reasons"]
        return [row for row in rows if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
