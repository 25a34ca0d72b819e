"""Markdown out of plain values: what a row or a person wrote cannot become markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"([\\`*_\[\]<>|#&~$!])")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`|\\()\[\]]+\Z", re.IGNORECASE)


def plain(text: object) -> str:
    """Text on one line that shows as it is written."""
    return _MARKS.sub(r"\\\1", " ".join(str(text).split()))


def address(url: str) -> str:
    """An address as a link; what is none as plain text."""
    return f"<{url}>" if _ADDRESS.match(url) else plain(url)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> list[str]:
    """The lines of a table, whose cells are Markdown already; columns in ``right`` stand at the right."""
    marks = ["---:" if column in set(right) else "---" for column in range(len(header))]
    lines = [header, marks, *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
