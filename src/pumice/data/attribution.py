"""Whom to name for data, and where it is from: what a notice lists.

Rows are put together by licence, author and data set. What nobody told comes first: it is what a person must
look at before anything is shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.licensing import SHOWN
from pumice.data.table import SampleTable
from pumice.licences import Licence, read_licence, short_id
from pumice.licences.known import UNKNOWN
from pumice.markdown import address, plain
from pumice.types import IntArray
from pumice.words import counted

GENERATION = "generation.json"
"""The record that lies beside rows that ``pumice generate`` wrote."""


@dataclass(slots=True)
class Credit:
    """Rows with one licence, author and data set.

    Attributes:
        licence: the ids, as SPDX joins them.
        attribution: whom to name; "" where nobody is told.
        dataset: the data set that the rows name, else the source's name.
        rows: how many different ones.
        urls: where they are from, each once, in order.
        first: where the first rows stand.
        licences: what is known of the licence.
        said: the licence, as the first row writes it.
    """

    licence: str
    attribution: str
    dataset: str
    rows: int = 0
    urls: dict[str, None] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    licences: tuple[Licence, ...] = ()
    said: str = ""

    @property
    def lacking(self) -> str | None:
        """What a person must find out; None where nothing is missing."""
        if not read_licence(self.said).known:
            return "no known licence"
        if not self.attribution and any(one.attribution for one in self.licences):
            return f"under {self.licence}, which asks to name an author, and none is told"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {
            "licence": self.licence,
            "said": self.said,
            "attribution": self.attribution,
            "dataset": self.dataset,
            "rows": self.rows,
            "urls": list(self.urls),
            "first": self.first,
            "lacking": self.lacking,
        }


@dataclass(frozen=True, slots=True)
class Attribution:
    """A notice before it is written: credits, those that lack something first, and what was done to data."""

    of: str
    credits: tuple[Credit, ...]
    changes: tuple[str, ...]

    @property
    def lacking(self) -> tuple[Credit, ...]:
        """The credits of which something must be found out."""
        return tuple(credit for credit in self.credits if credit.lacking)

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        facts = {one.id: _facts(one) for credit in self.credits for one in credit.licences}
        return {
            "of": self.of,
            "rows": sum(credit.rows for credit in self.credits),
            "credits": [credit.to_dict() for credit in self.credits],
            "licences": dict(sorted(facts.items())),
            "changes": list(self.changes),
        }


def attribute(
    of: str, parts: Iterable[tuple[SampleTable, IntArray]], notes: Sequence[str] = ()
) -> Attribution:
    """Whom to name for rows.

    Args:
        of: what they are the rows of, in words.
        parts: tables, and the numbers of their rows, int64 [any], which may repeat.
        notes: what else was done to the data, as sentences.
    """
    tables: dict[tuple[str, str, str], tuple[SampleTable, list[IntArray]]] = {}
    for table, chosen in parts:  # one file may serve several stages
        key = (table.head.path, table.source, str(table.given))
        tables.setdefault(key, (table, []))[1].append(chosen)
    found: dict[tuple[str, str, str], Credit] = {}
    changes: dict[str, None] = {}
    for table, several in tables.values():
        _add(table, np.unique(np.concatenate(several)), found)
        changes |= dict.fromkeys(_changes(table))
    order = sorted(
        found.values(),
        key=lambda one: (one.lacking is None, one.licence, -one.rows, one.attribution, one.dataset),
    )
    return Attribution(of, tuple(order), (*changes, *notes))


def _add(table: SampleTable, rows: IntArray, found: dict[tuple[str, str, str], Credit]) -> None:
    of = table.columns.rights[rows]
    numbers, first, counts = np.unique(of, return_index=True, return_counts=True)
    for place in np.argsort(first).tolist():
        rights = table.rights_numbered(int(numbers[place]))
        reading = read_licence(rights.licence)
        key = (reading.label, rights.attribution, rights.dataset or table.source)
        credit = found.setdefault(key, Credit(*key, licences=reading.licences, said=rights.licence))
        credit.rows += int(counts[place])
        if rights.url:
            credit.urls[rights.url] = None
        if len(credit.first) < SHOWN:
            own = rows[of == numbers[place]][: SHOWN - len(credit.first)]
            credit.first += [str(table.origin(int(row))) for row in own]


def _changes(table: SampleTable) -> list[str]:
    """What is known to have been done to a file's rows."""
    name = Path(table.head.origins[0]).name if table.head.origins else table.source
    record = Path(table.head.path).with_name(GENERATION)
    told = [
        f"{name}: rows are used as conversations, texts as they are; pictures are scaled as they are read"
    ]
    if table.prompt is not None:
        told.append(f"{name}: {table.prompt!r} was put behind every question")
    try:
        teachers = json.loads(record.read_text(encoding="utf-8"))["teachers"]
        models = ", ".join(dict.fromkeys(str(one["model"]) for one in teachers))
    except (OSError, ValueError, KeyError, TypeError):
        return told
    return [*told, f"{name}: questions and answers were written by {models} from captions and boxes"]


def notice(found: Attribution) -> str:
    """The notice as Markdown: what is not known first, then each licence with those to name."""
    rows = sum(credit.rows for credit in found.credits)
    lines = ["# Attribution", "", f"{counted(rows, 'row')} of {plain(found.of)}.", ""]
    if found.lacking:
        lines += ["## Not known", "", "To be found out before anything made of these rows is shared:", ""]
        for credit in found.lacking:
            # The notice goes out with the model: where files lie on this machine is nobody's business.
            places = "; ".join(plain(Path(place).name) for place in credit.first)
            rest = (
                f"; and {credit.rows - len(credit.first):,} more" if credit.rows > len(credit.first) else ""
            )
            lines.append(
                f"- {counted(credit.rows, 'row')} of {plain(credit.dataset)}: {plain(credit.lacking)} "
                f"({places}{rest})"
            )
        lines.append("")
    for licence in dict.fromkeys(credit.licence for credit in found.credits):
        own = [credit for credit in found.credits if credit.licence == licence]
        lines += _section(licence, own)
    lines += ["## Changes", "", *(f"- {plain(change)}" for change in found.changes), ""]
    return "\n".join(lines)


def _section(licence: str, credits: Sequence[Credit]) -> list[str]:
    unknown = short_id(UNKNOWN.id)
    title = f"No known licence{licence[len(unknown) :]}" if licence.startswith(unknown) else licence
    lines = [f"## {plain(title)}", ""]
    for one in credits[0].licences:
        if one is UNKNOWN:
            continue
        said = [plain(one.name), *([address(one.url)] if one.url else [])]
        marks = [f"commercial use: {one.commercial}", f"sharing what is made from it: {one.derivatives}"]
        marks += ["under the same terms"] if one.share_alike else []
        marks += [one.remark] if one.remark else []
        lines += [f"{', '.join(said)}. {plain('; '.join(marks).capitalize())}.", ""]
    for credit in credits:
        who = plain(credit.attribution) if credit.attribution else "nobody named"
        lines.append(f"- {who}: {counted(credit.rows, 'row')} of {plain(credit.dataset)}")
        lines += [f"  - {address(url)}" for url in credit.urls]
    return [*lines, ""]


def _facts(one: Licence) -> dict[str, Any]:
    return {
        "id": short_id(one.id),
        "name": one.name,
        "url": one.url,
        "commercial": one.commercial,
        "derivatives": one.derivatives,
        "share_alike": one.share_alike,
        "attribution": one.attribution,
        "remark": one.remark,
    }
