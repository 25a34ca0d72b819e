"""The check ``personal``: personal data in what rows say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from json import dumps
from typing import TYPE_CHECKING, Any, ClassVar

from pumice.trust.audit.check import ROWS, Check, Finding, Need, Row, Severity
from pumice.trust.personal import KINDS, find, mask

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

_MILD: dict[str, Severity] = {"email": "warning", "phone": "warning", "address": "warning", "ip": "note"}


@dataclass(frozen=True)
class Personal(Check):
    """Addresses and numbers of people.

    Attributes:
        show_values: whether findings say them in full.
    """

    name: ClassVar[str] = "personal"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS})
    show_values: bool = False

    @property
    def key(self) -> str:
        """Notes hold no value, so they are the same whether values are shown or not."""
        return dumps([self.name, self.version])

    def row(self, row: Row) -> Any:
        found = []
        seen: set[tuple[str, str]] = set()
        for place, text in row.texts():
            for hit in find(text):
                value = text[hit.start : hit.end]
                if (hit.kind, value) not in seen:
                    seen.add((hit.kind, value))
                    found.append(
                        [hit.kind, place, hit.start, hit.end, int(hit.example), mask(hit.kind, value)]
                    )
        return found or None

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        said = dict(seen.said(self, "rows"))
        rows = dict(seen.samples(list(said))) if self.show_values else {}
        for number, hits in said.items():
            texts = dict(Row(number, rows[number]).texts()) if number in rows else {}
            for kind, place, start, end, example, hidden in hits:
                value = texts[place][start:end] if texts else hidden
                what = f"{KINDS[kind]} {value} in {place}" + (", one kept for examples" if example else "")
                bad: Severity = "note" if example else _MILD.get(kind, "serious")
                details = {"place": place, "start": start, "end": end, "example": bool(example)}
                yield Finding(self.name, kind, bad, what, row=number, details=details)
