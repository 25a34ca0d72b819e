"""An audit from material to the files it leaves: what was found, row by row, and the record of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pumice
from pumice.data.index import Progress
from pumice.data.lines import lines_file, to_line
from pumice.errors import UsageError
from pumice.files import write_json
from pumice.trust.audit.check import SEVERITIES, Check, Finding, Row, Severity
from pumice.trust.audit.look import looked
from pumice.trust.audit.material import Material
from pumice.trust.audit.registry import Listed, Wishes
from pumice.trust.audit.seen import Seen
from pumice.trust.personal import masked
from pumice.types import ImageRef, Still, Video

FINDINGS, RECORD = "findings.jsonl", "audit.json"
FORMAT, VERSION = "pumice audit", 1
SAMPLES = 8
"""Findings of each kind that the record shows, spread over all of them."""
EXCERPT = 240
"""Characters of a question or an answer that the record shows."""


@dataclass(frozen=True)
class Audit:
    """What an audit found: every finding in the order of the checks, and what ``audit.json`` holds."""

    material: Material
    findings: tuple[Finding, ...]
    record: dict[str, Any]

    def worst(self) -> Severity | None:
        """The severest of all findings; None where there is none."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in reversed(SEVERITIES) if severity in found), None)


def run_audit(
    material: Material,
    chosen: Sequence[Listed],
    wishes: Wishes,
    *,
    out: Path,
    notes: Path | None,
    workers: int,
    progress: Progress | None = None,
    needed: Collection[str] = (),
) -> Audit:
    """Look at everything, conclude, and write ``findings.jsonl`` and ``audit.json``.

    Args:
        material: from ``open_material``.
        chosen: the checks, from ``registry.choose``.
        wishes: what they are made from.
        out: the folder that is written to; it exists.
        notes: where what was noticed is kept for the next time.
        workers: processes.
        progress: told how far it is.
        needed: names of checks that were asked for one by one, so that it is no use to go on without them.

    Raises:
        UsageError: one of these cannot run.
        DataError: a file changed while the audit ran.
    """
    began = time.monotonic()
    checks: list[Check] = []
    idle: list[dict[str, str]] = []
    for listed in chosen:
        made = listed.make(wishes)
        if isinstance(made, str) and listed.name in needed:
            raise UsageError(
                f"the check {listed.name} cannot run: {made}",
                where=listed.name,
                remedy="give it what it needs, or leave it out of --checks and --drop",
            )
        if isinstance(made, str):
            idle.append({"check": listed.name, "why": made})
        else:
            checks.append(made)
    found: list[Finding] = []
    seconds: dict[str, float] = {}
    with looked(
        material,
        checks,
        folder=notes,
        workers=workers,
        progress=progress,
        show_values=wishes.show_values,
    ) as seen:
        looking = time.monotonic() - began
        for place, check in enumerate(checks):
            start = time.monotonic()
            if progress is not None:
                progress("conclusions", place, len(checks))
            found += check.conclude(seen)
            seconds[check.name] = round(time.monotonic() - start, 3)
        if progress is not None:
            progress("conclusions", len(checks), len(checks))
        record = _record(material, chosen, checks, found)
        record["not_run"] = idle
        record["values_shown"] = wishes.show_values
        record["seconds"] = {"looking": round(looking, 3), "concluding": seconds}
        ids = _ids(seen, found)
        with lines_file(out / FINDINGS, llava=False) as add:
            for finding in found:
                add(to_line(line_of(material, finding, ids)))
        _add_samples(record, seen, found, ids, str if wishes.show_values else masked)
    write_json(out / RECORD, record)
    return Audit(material, tuple(found), record)


def concerned(material: Material, finding: Finding) -> list[int]:
    """The rows that a finding is about, rising."""
    rows = set(finding.also)
    if finding.row is not None:
        rows.add(finding.row)
    elif finding.picture is not None:
        rows.update(material.showing(finding.picture).tolist())
    return sorted(rows)


def line_of(material: Material, finding: Finding, ids: Mapping[int, str]) -> dict[str, Any]:
    """A finding as a line of ``findings.jsonl``."""
    rows = concerned(material, finding)
    first = finding.row if finding.row is not None else rows[0] if rows else None
    line: dict[str, Any] = {"check": finding.check, "kind": finding.kind, "severity": finding.severity}
    if finding.place is not None:
        lost = finding.place
        line |= {"source": lost.source, "file": lost.file, "row": lost.row, "id": lost.id}
    elif first is not None:
        origin = material.origin(first)
        line |= {"source": material.source(first), "file": origin.file, "row": origin.row, "id": ids[first]}
    else:
        line |= {"source": None, "file": None, "row": None, "id": None}
    line["picture"] = None if finding.picture is None else str(material.stills[finding.picture])
    line |= {"what": finding.what, "score": finding.score, "group": finding.group}
    others = [material.origin(row) for row in rows if row != first]
    line["also"] = [[origin.file, origin.row] for origin in others]
    if finding.details:
        line["details"] = dict(finding.details)
    return line


def _ids(seen: Seen, found: Iterable[Finding]) -> dict[int, str]:
    """The ids of the rows that findings name."""
    wanted = set()
    for finding in found:
        if finding.row is not None:
            wanted.add(finding.row)
        elif finding.picture is not None:
            wanted.update(seen.material.showing(finding.picture)[:1].tolist())
        elif finding.also:
            wanted.add(min(finding.also))
    return {number: sample.id for number, sample in seen.samples(sorted(wanted))}


def _record(
    material: Material, chosen: Sequence[Listed], checks: Sequence[Check], found: Sequence[Finding]
) -> dict[str, Any]:
    """``audit.json`` but for its samples and times."""
    about = {listed.name: listed.about for listed in chosen}
    return {
        "format": FORMAT,
        "version": VERSION,
        "pumice": pumice.__version__,
        "sources": [
            {
                "name": table.source,
                "file": table.head.path,
                "sha256": table.head.sha256,
                "rows": len(table) + len(table.head.unreadable),
                "looked_at": len(rows),
            }
            for table, rows in zip(material.tables, material.chosen, strict=True)
        ],
        "rows": material.rows,
        "pictures": material.pictures,
        "videos": material.videos,
        "severities": _counts(finding.severity for finding in found),
        "checks": [
            {"check": check.name, "about": about[check.name], **_figures(material, check, found)}
            for check in checks
        ],
    }


def _figures(material: Material, check: Check, found: Sequence[Finding]) -> dict[str, Any]:
    """How much a check found, and what share of rows and pictures that concerns."""
    own = [finding for finding in found if finding.check == check.name]
    rows = {row for finding in own for row in concerned(material, finding)}
    pictures = {finding.picture for finding in own if finding.picture is not None}
    kinds = {}
    for kind in sorted({finding.kind for finding in own}):
        of_kind = [finding for finding in own if finding.kind == kind]
        kinds[kind] = {
            "findings": len(of_kind),
            "rows": len({row for finding in of_kind for row in concerned(material, finding)}),
            "severities": _counts(finding.severity for finding in of_kind),
        }
    return {
        "settings": json.loads(check.key),
        "findings": len(own),
        "rows": len(rows),
        "row_rate": len(rows) / material.rows if material.rows else 0.0,
        "pictures": len(pictures),
        "picture_rate": len(pictures) / material.pictures if material.pictures else 0.0,
        "kinds": kinds,
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    counted = Counter(names)
    return {name: counted[name] for name in SEVERITIES if counted[name]}


def _add_samples(
    record: dict[str, Any],
    seen: Seen,
    found: Sequence[Finding],
    ids: Mapping[int, str],
    masked: Callable[[str], str],
) -> None:
    """Put some findings of each kind into the record, with the words of their rows."""
    for entry in record["checks"]:
        own = [finding for finding in found if finding.check == entry["check"]]
        for kind, figures in entry["kinds"].items():
            of_kind = [finding for finding in own if finding.kind == kind]
            step = max(len(of_kind) / SAMPLES, 1)
            picks = [of_kind[int(n * step)] for n in range(min(SAMPLES, len(of_kind)))]
            lines = [line_of(seen.material, finding, ids) for finding in picks]
            rows = [concerned(seen.material, finding)[:1] for finding in picks]
            said = dict(seen.samples([row for one in rows for row in one]))
            for line, first, finding in zip(lines, rows, picks, strict=True):
                line["also"] = line["also"][:SAMPLES]
                if finding.picture is not None:
                    line["still"] = place_of(seen.material.stills[finding.picture])
                elif first:
                    stills = [one for one in said[first[0]].images if not isinstance(one, Video)]
                    line["still"] = place_of(stills[0]) if stills else None
                if first:
                    row = Row(first[0], said[first[0]])
                    line["pairs"] = [[_cut(masked(q)), _cut(masked(a))] for q, a in islice(row.pairs(), 2)]
            figures["samples"] = lines


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "\u2026"


def place_of(still: Still) -> dict[str, Any]:
    """Where a picture is, as JSON."""
    if isinstance(still, ImageRef):
        return {"file": str(still.file), "offset": still.offset, "length": still.length, "name": still.name}
    return {"file": str(still)}
