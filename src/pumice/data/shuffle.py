"""The one way that data is shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pumice.errors import UsageError
from pumice.types import IntArray

MIXTURE, PLAN = 1, 2
"""Second part of a key: who shuffles, so that no two uses of one seed share an order."""


def shuffled(count: int, key: Sequence[int]) -> IntArray:
    """A permutation of 0..count-1, int64 [count], that is a pure function of ``count`` and ``key``.

    It sorts PCG64's raw output: NumPy keeps the bit stream of a bit generator fixed over versions, but
    not that of ``Generator.permutation``, and a plan must come out the same after an upgrade.

    Raises:
        UsageError: a negative number in ``key``.
    """
    if min(key) < 0:
        raise UsageError(
            f"a seed must not be negative, this is {min(key)}", remedy="give a seed of 0 or more"
        )
    raw = np.random.PCG64(np.random.SeedSequence(list(key))).random_raw(count)
    return np.argsort(raw, kind="stable").astype(np.int64)
