"""Many bad rows, one error."""

from __future__ import annotations

from pumice.errors import DataError, PumiceError
from pumice.types import Origin


def place(error: PumiceError, origin: Origin) -> None:
    """Put the file and row before what an error says of its place ("message 2 (user)")."""
    if error.where is None:
        error.where = str(origin)
    elif not error.where.startswith(str(origin)):
        error.where = f"{origin}, {error.where}"


class Problems:
    """Collects row errors, so that a user mends a file once rather than row by row.

    Every error is counted; the first ``limit`` are kept word for word.
    """

    def __init__(self, limit: int = 20) -> None:
        assert limit >= 1
        self.limit = limit
        self.count = 0
        self.kept: list[PumiceError] = []

    def add(self, error: PumiceError) -> None:
        """Remember one row's error."""
        self.count += 1
        if len(self.kept) < self.limit:
            self.kept.append(error)

    def raise_if_any(self, what: str) -> None:
        """Raise what was collected: a lone error as it is, several as one ``DataError`` that lists them."""
        if self.count == 0:
            return
        if self.count == 1:
            raise self.kept[0]
        shown = "" if self.count <= self.limit else f", the first {self.limit} of them here"
        lines = [f"{what} ({self.count:,}{shown}):"]
        lines += [f"  {error.where or 'unknown place'}: {error.what}" for error in self.kept]
        remedies = dict.fromkeys(error.remedy for error in self.kept if error.remedy)
        remedy = "; ".join(remedies)
        raise DataError("\n".join(lines), remedy=remedy or None)
