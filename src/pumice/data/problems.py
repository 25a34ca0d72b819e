"""Many bad rows, one error; and bad rows that a recipe allows, left out and listed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pumice.errors import DataError, PumiceError
from pumice.types import Origin

_ROW = re.compile(r"(?P<file>.+?), row (?P<row>\d+)(?P<rest>\D.*)?", re.S)
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|\d[\d,.]*\d|\d")
"""What differs between errors of one kind: quoted words, paths, numbers."""


def place(error: PumiceError, origin: Origin) -> None:
    """Put the file and row before what an error says of its place ("message 2 (user)")."""
    if error.where is None:
        error.where = str(origin)
    elif not error.where.startswith(str(origin)):
        error.where = f"{origin}, {error.where}"


class Problems:
    """Collects row errors, so that a user mends a file once rather than row by row.

    Every error is kept; the first ``limit`` are shown word for word.
    """

    def __init__(self, limit: int = 20) -> None:
        assert limit >= 1
        self.limit = limit
        self.kept: list[PumiceError] = []
        self.ids: list[str | None] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.kept)

    def add(self, error: PumiceError, id: str | None = None) -> None:
        """Remember one row's error, with the row's id where it is known."""
        if len(self.kept) >= self.limit:
            error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold frames, and rows
        self.kept.append(error)
        self.ids.append(id)

    def raise_if_any(self, what: str) -> None:
        """Raise what was collected: a lone error as it is, several as one ``DataError`` that lists them."""
        if self.count == 0:
            return
        if self.count == 1:
            raise self.kept[0]
        raise listed(what, self.kept, self.limit, self.ids)


def listed(
    what: str, errors: Sequence[PumiceError], limit: int, ids: Sequence[str | None] | None = None
) -> DataError:
    """One error that lists several by file and row, then each remedy once, with the rows it is for."""
    shown = "" if len(errors) <= limit else f", the first {limit} of them here"
    lines = [f"{what} ({len(errors):,}{shown}):"]
    remedies: dict[str, list[str]] = {}
    pairs = sorted(zip(errors, ids or [None] * len(errors), strict=True), key=lambda pair: _order(pair[0]))
    single = len({_order(error)[0] for error, _ in pairs[:limit]}) == 1
    for error, id in pairs[:limit]:
        row = Refusal.of(error, "")
        said = "" if id in (None, "", str(row.row)) else f" ({id})"
        if row.row is None:
            spot = error.where or "unknown place"
        else:
            spot = f"{Origin(row.file, row.row)}{said}" + (f", {row.detail}" if row.detail else "")
        lines.append(f"  {spot}: {error.what}")
        if error.remedy:
            remedies.setdefault(error.remedy, []).append(
                str(row.row) if single and row.row is not None else spot
            )
    if len(remedies) <= 1:
        return DataError("\n".join(lines), remedy=next(iter(remedies), None))
    each = [f"{_rows(places)}: {remedy}" for remedy, places in remedies.items()]
    return DataError("\n".join(lines), remedy="".join(f"\n    {line}" for line in each))


def _order(error: PumiceError) -> tuple[str, int]:
    row = Refusal.of(error, "")
    return row.file, -1 if row.row is None else row.row


def _rows(places: Sequence[str]) -> str:
    """``row 3``, ``rows 3, 5``; a place that is no row as it is."""
    numbers = list(dict.fromkeys(place for place in places if place.isdecimal()))
    others = list(dict.fromkeys(place for place in places if not place.isdecimal()))
    head = [f"row{'s' * (len(numbers) > 1)} {', '.join(numbers)}"] if numbers else []
    return "; ".join([*head, *others])


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be used.

    Attributes:
        source: the name of its data in the mixture.
        file: its data file.
        row: its number there, from 0; None where that cannot be told.
        id: its id, where it was read far enough to know.
        reason: what is wrong.
        detail: where inside the row, if that was told.
        remedy: what to do.
    """

    source: str
    file: str
    row: int | None
    id: str | None
    reason: str
    detail: str
    remedy: str | None

    @classmethod
    def of(cls, error: PumiceError, source: str, id: str | None = None) -> Refusal:
        """The row that an error names in its ``where``."""
        found = _ROW.fullmatch(error.where or "")
        if found is None:
            return cls(source, error.where or "", None, id, error.what, "", error.remedy)
        rest = (found["rest"] or "").strip(", ")
        return cls(source, found["file"], int(found["row"]), id, error.what, rest, error.remedy)

    @property
    def where(self) -> str:
        """As errors name it."""
        if self.row is None:
            return self.file
        text = str(Origin(self.file, self.row))
        return f"{text}, {self.detail}" if self.detail else text

    @property
    def kind(self) -> str:
        """The reason without what differs from row to row, to count rows by."""
        return _VARIES.sub("…", self.reason.partition("\n")[0])

    def error(self) -> DataError:
        """The error again."""
        return DataError(self.reason, where=self.where, remedy=self.remedy)


def by_kind(refusals: Iterable[Refusal]) -> list[tuple[str, list[Refusal]]]:
    """Rows by reason, the commonest first."""
    kinds: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        kinds.setdefault(refusal.kind, []).append(refusal)
    return sorted(kinds.items(), key=lambda pair: -len(pair[1]))


class Refusals:
    """Rows that were left out of a mixture, each once, and how many each source may leave out.

    Args:
        allowed: by source; what is not there may leave out none. None: any number, of every source (a plan
            looks at everything before it says no).
        limit: how many rows an error lists.
    """

    def __init__(self, allowed: dict[str, int] | None = None, limit: int = 20) -> None:
        self.allowed = {} if allowed is None else dict(allowed)
        self.unlimited = allowed is None
        self.limit = limit
        self.rows: list[Refusal] = []
        self._errors: list[PumiceError] = []
        self._seen: set[tuple[str, str, int | None, str]] = set()

    def add(self, refusal: Refusal, error: PumiceError | None = None) -> None:
        """Note a row, with the error as it was raised; one that was noted already stays as it was."""
        key = (refusal.source, refusal.file, refusal.row, refusal.where if refusal.row is None else "")
        if key not in self._seen:
            self._seen.add(key)
            self.rows.append(refusal)
            self._errors.append(refusal.error() if error is None else error)

    @property
    def any_allowed(self) -> bool:
        """Whether some source may leave out a row."""
        return self.unlimited or any(self.allowed.values())

    def count(self, source: str) -> int:
        """How many rows of a source were left out."""
        return sum(refusal.source == source for refusal in self.rows)

    def check(self, what: str, allowed: dict[str, int] | None = None) -> None:
        """Stop where a source left out more rows than it may.

        Args:
            what: what the rows are, for the error.
            allowed: to be held against in place of what was given before.

        Raises:
            DataError: it lists those of every source that left out too many.
        """
        if self.unlimited and allowed is None:
            return
        bounds = self.allowed if allowed is None else allowed
        counts = Counter(refusal.source for refusal in self.rows)
        over = {source for source, count in counts.items() if count > bounds.get(source, 0)}
        pairs = zip(self.rows, self._errors, strict=True)
        errors = [error for row, error in pairs if row.source in over]
        if not errors:
            return
        granted = {source: bounds[source] for source in sorted(over) if bounds.get(source)}
        if granted:
            shares = ", ".join(f"{source} {count:,}" for source, count in granted.items())
            what = f"{what}, more than allow_bad lets pass ({shares})"
        elif len(errors) == 1:
            raise errors[0]
        raise listed(what, errors, self.limit, [row.id for row in self.rows if row.source in over])
