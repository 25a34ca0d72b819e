"""Packing samples into rows of a fixed number of tokens.

Best-fit decreasing: samples from the longest to the shortest (equal lengths in their given order), each
into the row whose free space it leaves smallest, the row used most recently among equals; a new row
where none has room. It depends on nothing but lengths and order. Rows with equal free space share a
bucket and the free spaces are kept sorted, so a sample costs one bisection: 100,000 samples take a
fraction of a second.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

import numpy as np

from pumice.errors import DataError
from pumice.types import IntArray


def pack(
    lengths: Sequence[int] | IntArray, capacity: int, *, name: Callable[[int], str] | None = None
) -> list[list[int]]:
    """Pack samples into rows.

    Args:
        lengths: tokens of each sample, at least 1.
        capacity: tokens a row holds.
        name: tells a sample's place in its file from its index, for the error.

    Returns:
        Rows of indices into ``lengths``, each index once; rows in order of opening (longest first),
        indices ascending within a row.

    Raises:
        DataError: a sample that is empty or longer than a row.
    """
    tokens = np.asarray(lengths, dtype=np.int64)
    check_fit(tokens, capacity, name=name)
    rows: list[list[int]] = []
    buckets: dict[int, list[int]] = {}  # free space -> rows with it, most recent last
    spaces: list[int] = []  # the keys of buckets, ascending
    for index in np.argsort(-tokens, kind="stable").tolist():
        length = int(tokens[index])
        place = bisect_left(spaces, length)
        if place == len(spaces):
            row, free = len(rows), capacity - length
            rows.append([index])
        else:
            space = spaces[place]
            bucket = buckets[space]
            row, free = bucket.pop(), space - length
            rows[row].append(index)
            if not bucket:
                del buckets[space], spaces[place]
        if free:
            if free not in buckets:
                buckets[free] = []
                insort(spaces, free)
            buckets[free].append(row)
    for members in rows:
        members.sort()
    return rows


def check_fit(lengths: IntArray, capacity: int, *, name: Callable[[int], str] | None = None) -> None:
    """Refuse samples that no row can hold.

    Raises:
        DataError: names the first sample that is empty or longer than ``capacity``, and counts the rest.
    """
    if capacity < 1:
        raise DataError(f"a row of {capacity} tokens holds nothing", remedy="raise the row length")
    bad = np.flatnonzero((lengths > capacity) | (lengths < 1))
    if not bad.size:
        return
    first = int(bad[0])
    others = f" ({bad.size - 1:,} more do not fit either; the longest has {int(lengths.max()):,})"
    raise DataError(
        f"sample {first} has {int(lengths[first]):,} tokens, a row holds 1 to {capacity:,}"
        + (others if bad.size > 1 else ""),
        where=None if name is None else name(first),
        remedy=f"raise the row length to {int(lengths.max()):,} or shorten or remove the sample"
        if lengths[first] > capacity
        else "remove the sample",
    )
