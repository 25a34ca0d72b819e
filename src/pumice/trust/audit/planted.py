"""What an audit found of the faults that `pumice data plant` put into data, and its false alarms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import DataError
from pumice.trust.audit.check import Finding
from pumice.trust.audit.material import Material
from pumice.trust.audit.run import concerned

CATCHES: Mapping[str, tuple[str, ...]] = {
    "duplicates": ("duplicate-rows/exact", "duplicate-rows/near", "duplicate-pictures"),
    "near-duplicates": ("duplicate-pictures", "tower/looks-alike"),
    "mismatches": ("tower/mismatch", "answers/mismatch"),
    "triggers": ("patches/patch",),
    "phrases": ("phrases/phrase",),
    "label-flips": ("answers/label-flip", "contradictions"),
    "personal": ("personal",),
}
"""What each kind of fault should be found by: checks, or kinds of their findings."""


@dataclass(frozen=True)
class Caught:
    """One kind of fault.

    Attributes:
        kind: of the fault.
        by: the check, or the kind of its findings; "all" for all of the fault's that ran.
        planted, found: rows.
        alarms: rows that it told of in which nothing was planted, and of which nothing was.
        clean: all such rows.
    """

    kind: str
    by: str
    planted: int
    found: int
    alarms: int
    clean: int

    @property
    def recall(self) -> float:
        """The share of planted rows that were found."""
        return self.found / self.planted

    @property
    def alarm_rate(self) -> float:
        """The share of clean rows that were told of."""
        return self.alarms / max(1, self.clean)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind, "by": self.by, "planted": self.planted, "found": self.found,
            "recall": self.recall, "alarms": self.alarms, "clean": self.clean, "alarm_rate": self.alarm_rate,
        }  # fmt: skip


def read_truth(path: Path) -> list[dict[str, Any]]:
    """The lines of ``planted.jsonl``.

    Raises:
        DataError: it cannot be read, or a line is no planted fault.
    """
    problems = Problems()
    lines = [line for _, line in read_objects(path, problems, what="file of planted faults")]
    problems.raise_if_any("lines of the file of planted faults cannot be read")
    for number, line in enumerate(lines):
        if line.get("kind") not in CATCHES or not isinstance(line.get("row"), int):
            raise DataError(
                f"the line is no planted fault: {json.dumps(line)[:100]}",
                where=f"{path}, row {number}",
                remedy="give the planted.jsonl that pumice data plant wrote beside the data",
            )
    return lines


def caught(
    material: Material, findings: Sequence[Finding], ran: Iterable[str], truth: Sequence[Mapping[str, Any]]
) -> list[Caught]:
    """Recall and false alarms for each kind of fault, of each check that ran and of all together.

    Args:
        material: the planted data, one file.
        findings: of the audit.
        ran: the names of the checks that ran.
        truth: from ``read_truth``.
    """
    place = {material.origin(row).row: row for row in range(material.rows)}
    ran = set(ran)
    kinds: dict[str, set[int]] = {}
    twin: dict[int, int] = {}
    touched: set[int] = set()
    for line in truth:
        for key in ("row", "of"):
            if line.get(key) in place:
                touched.add(place[line[key]])
        if line["row"] in place:
            kinds.setdefault(str(line["kind"]), set()).add(place[line["row"]])
            if line.get("of") in place:
                twin[place[line["row"]]] = place[line["of"]]
    # A picture that a planted one was made of is alike to it: no false alarm.
    made_of = {str(line["picture_of"]) for line in truth if line.get("picture_of")}
    root = material.tables[0].root
    for number, still in enumerate(material.stills):
        path = Path(str(still))
        if root is not None and path.is_relative_to(root):
            path = path.relative_to(root)
        if path.as_posix() in made_of:
            touched.update(material.showing(number).tolist())
    told: dict[str, set[int]] = {}
    for finding in findings:
        rows = concerned(material, finding)
        for name in (finding.check, f"{finding.check}/{finding.kind}"):
            told.setdefault(name, set()).update(rows)
    clean = material.rows - len(touched)
    result = []
    for kind, wanted in kinds.items():
        by = [name for name in CATCHES[kind] if name.split("/")[0] in ran]
        every = {row for name in by for row in told.get(name, ())}
        ways = [(name, told.get(name, set())) for name in by] if len(by) > 1 else []
        for name, found in [("all", every), *ways] if by else ():
            title = by[0] if len(by) == 1 else name
            # Of two rows that are one a check tells the later; which of them was planted nobody can know.
            hits = sum(row in found or twin.get(row) in found for row in wanted)
            result.append(Caught(kind, title, len(wanted), hits, len(found - touched), clean))
        if not by:
            result.append(Caught(kind, "", len(wanted), 0, 0, clean))
    return result
