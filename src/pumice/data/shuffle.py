"""The one way that data is shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumice.errors import UsageError
from pumice.types import IntArray

MIXTURE, PLAN, BUILD = 1, 2, 3
"""Second part of a key: who shuffles, so that no two uses of one seed share an order."""


def shuffled(count: int, key: Sequence[int]) -> IntArray:
    """A permutation of 0..count-1, int64 [count], that is a pure function of ``count`` and ``key``.

    It sorts PCG64's raw output: NumPy keeps the bit stream of a bit generator fixed over versions, but
    not that of ``Generator.permutation``, and a plan must come out the same after an upgrade.

    Raises:
        UsageError: a negative number in ``key``.
    """
    return np.argsort(_raw(count, key), kind="stable").astype(np.int64)


def coins(count: int, key: Sequence[int]) -> list[bool]:
    """``count`` tosses that are a pure function of ``count`` and ``key``, as ``shuffled`` is.

    Raises:
        UsageError: a negative number in ``key``.
    """
    return [bool(raw >> 63) for raw in _raw(count, key).tolist()]


def _raw(count: int, key: Sequence[int]) -> NDArray[np.uint64]:
    if min(key) < 0:
        raise UsageError(
            f"a seed must not be negative, this is {min(key)}", remedy="give a seed of 0 or more"
        )
    return np.asarray(np.random.PCG64(np.random.SeedSequence(list(key))).random_raw(count), np.uint64)
