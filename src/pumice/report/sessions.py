"""The part of a run page that tells how often the run was started, and how each start ended."""

from __future__ import annotations

from typing import Any

from pumice.report.collect import Row, RunFolder
from pumice.report.html import Markup, tag
from pumice.report.sections import code, moment, scrolling, section


def sessions(run: RunFolder) -> Markup | None:
    """A table with a row for each start; nothing for a run that was started once and needs no word."""
    rows = [row for row in run.info.get("sessions") or [] if isinstance(row, dict)]
    if len(rows) < 2 and run.note is None:
        return None
    head = [tag("th", name, scope="col") for name in _COLUMNS]
    body = [
        tag("tr", [tag("td", cell) for cell in _cells(row, run if row is rows[-1] else None)]) for row in rows
    ]
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", body))
    intro = run.note and f"{run.note[0].upper()}{run.note[1:]}."
    return section("Sessions", intro, scrolling(table, "Sessions"))


_COLUMNS = ("Started", "Ended", "How", "Found at", "Left at", "Ranks", "Code", "Command")


def _cells(row: Row, run: RunFolder | None) -> list[Markup | str]:
    """What is known of a session; of the last one ``run`` knows better how it ended."""
    how = str(row.get("how") or "")
    return [
        moment(row.get("started")) or "",
        moment(row.get("ended")) or "not told",
        run.status if run is not None and how == "running" else how,
        _place(row.get("begins")) or "nothing",
        _place(row.get("ends")) or "",
        str(row.get("ranks") or ""),
        code(row) or "",
        tag("code", str(row.get("command") or "")),
    ]


def _place(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    return f"step {value.get('step')} of {value.get('stage')}"
