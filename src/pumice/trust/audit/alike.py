"""Rows of numbers that are alike: pairs above a cosine, and the nearest ones, in blocks.

Legend: N rows, M other rows, D numbers of one, K nearest, P pivots.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BLOCK = 2048
PIVOT_ROUNDS = 2
PIVOT_SAMPLE = 20_000


def unit(values_ND: NDArray[np.float32]) -> Floats:
    """The rows at length 1; a row of zeros stays."""
    values_ND = np.asarray(values_ND, np.float32)
    length_N1 = np.linalg.norm(values_ND, axis=1, keepdims=True)
    return np.asarray(values_ND / np.maximum(length_N1, 1e-12), np.float32)


def pairs_above(left_ND: Floats, right_MD: Floats | None, least: float) -> tuple[Ints, Ints, Floats]:
    """Every pair whose cosine is at least ``least``: left row, right row, cosine.

    Args:
        left_ND: unit rows.
        right_MD: unit rows; None compares the left ones with one another, each pair once, left < right.
        least: the cosine.
    """
    lefts, rights, cosines = [], [], []
    other_MD = left_ND if right_MD is None else right_MD
    for start in range(0, len(left_ND), BLOCK):
        first = start if right_MD is None else 0
        near = left_ND[start : start + BLOCK] @ other_MD[first:].T
        row, column = np.nonzero(near >= least)
        if right_MD is None:
            later = column > row
            row, column = row[later], column[later]
        lefts.append(row + start)
        rights.append(column + first)
        cosines.append(near[row, column])
    if not lefts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(cosines)


def nearest(values_ND: Floats, count: int) -> tuple[Ints, Floats]:
    """Of each unit row the ``count`` nearest others: their numbers and cosines, [N, K], the nearest first."""
    count = min(count, len(values_ND) - 1)
    found, cosines = [], []
    for start in range(0, len(values_ND), BLOCK):
        near = values_ND[start : start + BLOCK] @ values_ND.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -2
        some = np.argpartition(near, -count, axis=1)[:, -count:] if count else np.zeros((len(near), 0), int)
        order = np.argsort(-np.take_along_axis(near, some, 1), axis=1, kind="stable")
        some = np.take_along_axis(some, order, 1)
        found.append(some)
        cosines.append(np.take_along_axis(near, some, 1))
    if not found:
        return np.zeros((0, count), np.int64), np.zeros((0, count), np.float32)
    return np.concatenate(found), np.concatenate(cosines)


def groups(size: int, left: Ints, right: Ints) -> Ints:
    """Which rows pairs connect, over any number of steps: the lowest number of each one's group, [N]."""
    parent = np.arange(size)

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = int(parent[one])
        return one

    for one, other in zip(left.tolist(), right.tolist(), strict=True):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(one) for one in range(size)], np.int64)


def neighbourhoods(
    values_ND: Floats, least: float, rng: np.random.Generator
) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Pairs whose cosine is at least ``least``, found without comparing all with all.

    Rows go to the pivots they are nearest to, and are compared with those whose nearest or second nearest
    pivot is theirs. So a few pairs near a border are missed.

    Yields:
        For each pivot its rows, and pairs: which of them, and the row (of all) it is like, itself too.
    """
    pivots_PD = _pivots(values_ND, max(1, int(len(values_ND) ** 0.5 / 2)), rng)
    first, second = np.zeros(len(values_ND), np.int64), np.zeros(len(values_ND), np.int64)
    for start in range(0, len(values_ND), BLOCK):
        near = values_ND[start : start + BLOCK] @ pivots_PD.T
        part = slice(start, start + BLOCK)
        first[part] = near.argmax(1)
        near[np.arange(len(near)), first[part]] = -2
        second[part] = near.argmax(1) if near.shape[1] > 1 else first[part]
    for pivot in range(len(pivots_PD)):
        own = np.flatnonzero(first == pivot)
        both = np.flatnonzero((first == pivot) | (second == pivot))
        for start in range(0, len(own), BLOCK):
            some = own[start : start + BLOCK]
            row, column = np.nonzero(values_ND[some] @ values_ND[both].T >= least)
            yield some, row, both[column]


def _pivots(values_ND: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Means of rows that lie together: a few rounds of k-means on the sphere, over a sample."""
    sample_SD = values_ND[np.sort(rng.permutation(len(values_ND))[:PIVOT_SAMPLE])]
    pivots_PD = sample_SD[np.sort(rng.permutation(len(sample_SD))[:count])]
    for _ in range(PIVOT_ROUNDS):
        of_S = np.concatenate(
            [
                (sample_SD[start : start + BLOCK] @ pivots_PD.T).argmax(1)
                for start in range(0, len(sample_SD), BLOCK)
            ]
        )
        sums_PD = np.zeros_like(pivots_PD)
        np.add.at(sums_PD, of_S, sample_SD)
        full_P = np.bincount(of_S, minlength=len(pivots_PD)) > 0
        pivots_PD = np.where(full_P[:, None], unit(sums_PD), pivots_PD)
    return pivots_PD
