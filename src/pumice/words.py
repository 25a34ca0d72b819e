"""Numbers of things, in words."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``2,000 rows``; ``many`` where it is not ``one`` with an s behind it."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
