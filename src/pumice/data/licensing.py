"""How many rows of a mixture are under which licence, and whether a policy lets them be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pumice.data.table import SampleTable
from pumice.errors import DataError
from pumice.licences import Policy, read_licence
from pumice.types import IntArray
from pumice.words import counted

SHOWN = 3
"""Rows of a licence that are named."""
LISTED = 12
"""Licences that an error lists; it always says how many there are."""


@dataclass(frozen=True, slots=True)
class LicenceCount:
    """Rows of one source under one licence.

    Attributes:
        licence: the ids, as SPDX joins them (``licences.Reading.label``).
        said: as the first such row writes it; ``read_licence`` gives the facts again.
        rows: how many different ones an epoch sees.
        samples: counted as often as they come.
        attributed: of the rows, those that say whom to name.
        first: where the first stand.
    """

    licence: str
    said: str
    rows: int
    samples: int
    attributed: int
    first: list[str]


def count_licences(table: SampleTable, chosen: IntArray) -> list[LicenceCount]:
    """The licences of a table's rows, those of most rows first; ``chosen`` [any] may repeat rows."""
    rows, times = np.unique(chosen, return_counts=True)
    of = table.columns.rights[rows]
    by_label: dict[str, list[int]] = {}
    told = {int(number): table.rights_numbered(int(number)) for number in np.unique(of)}
    for number, rights in told.items():
        by_label.setdefault(read_licence(rights.licence).label, []).append(number)
    named = np.array([number for number, rights in told.items() if rights.attribution], np.int64)
    found = []
    for label, numbers in by_label.items():
        here = np.isin(of, numbers)
        own = rows[here]
        found.append(
            LicenceCount(
                label,
                told[int(of[here][0])].licence,
                len(own),
                int(times[here].sum()),
                int(np.isin(of[here], named).sum()),
                [str(table.origin(int(row))) for row in own[:SHOWN]],
            )
        )
    return sorted(found, key=lambda one: (-one.rows, one.licence))


def check_licences(policy: Policy, summaries: Iterable[Mapping[str, Any]], to: str = "trained on") -> None:
    """Refuse rows that a policy does not let pass.

    Args:
        policy: what is permitted.
        summaries: of sources, as ``mixture.json`` has them, each with its ``licences``.
        to: what the rows may not be.

    Raises:
        DataError: it names each licence with its rows, the source, and why.
    """
    lines = []
    for summary, count in _counts(summaries):
        reason = policy.objection(read_licence(count["said"]))
        if reason is not None:
            lines.append(f"{_told(summary, count)}: {reason} ({_places(count)})")
    if not lines:
        return
    more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    purpose = f" (purpose: {policy.purpose})" if policy.purpose else ""
    raise DataError(
        f"there are rows that may not be {to}{purpose}:\n    " + "\n    ".join(lines[:LISTED] + more),
        where="licences",
        remedy="take these rows out; or say their licence where they do not: data.NAME.licence; or, where "
        "you may use them all the same, name the licence in licences.allow (unknown: warn lets rows without "
        "one pass)",
    )


def licence_notes(policy: Policy | None, summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    """What should be said of rows that pass though nobody knows their licence."""
    if policy is None:
        return []
    return [
        f"{_told(summary, count)} have no known licence ({_places(count)}), and are used"
        for summary, count in _counts(summaries)
        if policy.warns(read_licence(count["said"]))
    ]


def _counts(
    summaries: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each licence of each source once, though several stages may train on it."""
    seen = set()
    for summary in summaries:
        for count in summary.get("licences", ()):
            key = (summary["source"], count["licence"])
            if key not in seen:
                seen.add(key)
                yield summary, count


def _told(summary: Mapping[str, Any], count: Mapping[str, Any]) -> str:
    return f"{counted(count['rows'], 'row')} of {summary['source']}"


def _places(count: Mapping[str, Any]) -> str:
    first: Sequence[str] = count["first"]
    rest = f" and {count['rows'] - len(first):,} more" if count["rows"] > len(first) else ""
    return "; ".join(first) + rest
