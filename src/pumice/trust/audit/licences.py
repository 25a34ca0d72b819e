"""The check ``licences``: what rows say of their licence, and whom they forget to name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumice.licences import Policy, Reading, read_licence
from pumice.trust.audit.check import Check, Finding, Need, Severity
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen


@dataclass(frozen=True)
class Licences(Check):
    """Rows without a licence, under an unknown or refused one, and rows that must name somebody and do not.

    It reads no row: tables hold what rows say of their rights. There is one finding for all rows of a file
    that say the same.

    Attributes:
        policy: what is permitted; without one, only what permits no use at all is refused.
    """

    name: ClassVar[str] = "licences"
    reads: ClassVar[frozenset[Need]] = frozenset()
    policy: Policy = field(default_factory=lambda: Policy(purpose="private", unknown="warn"), compare=False)

    @property
    def key(self) -> str:
        """Nothing is noted."""
        return "[]"

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        material = seen.material
        for part, table in enumerate(material.tables):
            numbers = table.columns.rights[material.chosen[part]]
            for number in np.unique(numbers).tolist():
                rights = table.rights_numbered(number)
                rows = (np.flatnonzero(numbers == number) + int(material.starts[part])).tolist()
                for kind, bad, what in self._faults(read_licence(rights.licence), bool(rights.attribution)):
                    told = f"{counted(len(rows), 'row')}: {what}"
                    yield Finding(self.name, kind, bad, told, row=rows[0], also=tuple(rows[1:]))

    def _faults(self, reading: Reading, named: bool) -> Iterator[tuple[str, Severity, str]]:
        objection = self.policy.objection(reading)
        if not reading.text.strip():
            yield "none", "serious" if objection else "warning", "nothing says their licence"
            return
        if not reading.known:
            near = f"; {reading.near} may be meant" if reading.near else ""
            yield "unknown", "serious" if objection else "warning", f"their licence is {reading.label}{near}"
            return
        if objection:
            purpose = f" ({self.policy.purpose})" if self.policy.purpose else ""
            yield "refused", "serious", f"{objection}{purpose}"
        if not named and all(any(one.attribution for one in way) for way in reading.ways):
            yield "unnamed", "warning", f"{reading.label} wants the author named, and they name nobody"
