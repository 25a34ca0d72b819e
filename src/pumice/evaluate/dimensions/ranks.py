"""Retrieval from a table of likenesses: who is found among the first k, and what chance would find.

Shape letters: N pictures, M captions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def relevant(texts: Sequence[str], of: Sequence[int], pictures: int) -> Bools:
    """Which caption says what of which picture, bool [N, M]: its own, and others' of the very same words."""
    own: dict[str, set[int]] = {}
    for text, number in zip(texts, of, strict=True):
        own.setdefault(text.lower(), set()).add(number)
    found_NM = np.zeros((pictures, len(texts)), dtype=bool)
    for column, text in enumerate(texts):
        found_NM[list(own[text.lower()]), column] = True
    return found_NM


def hits(likeness_QG: Floats, relevant_QG: Bools, k: int) -> Bools:
    """Whether one of the relevant is among the first ``k`` of the gallery, for each query, bool [Q].

    Of equal likeness the irrelevant come first, so that a table of one value finds nothing.
    """
    best_Q = np.where(relevant_QG, likeness_QG, -np.inf).max(axis=1)
    before_Q = ((likeness_QG >= best_Q[:, None]) & ~relevant_QG).sum(axis=1)
    return np.asarray(before_Q < k)


def standard(likeness_QG: Floats) -> Floats:
    """Each candidate's likeness less its mean over all queries, in its standard deviations.

    Some candidates are near every query (hubs): a short caption fits most pictures in part.
    """
    spread_G = likeness_QG.std(axis=0)
    return np.asarray((likeness_QG - likeness_QG.mean(axis=0)) / np.where(spread_G > 0, spread_G, 1.0))


def by_chance(relevant_QG: Bools, k: int) -> float:
    """The share of queries that a random order answers in its first ``k``; k/N where one of N is relevant."""
    gallery = relevant_QG.shape[1]
    shares = []
    for count in relevant_QG.sum(axis=1):
        left = gallery - int(count)
        none = math.comb(left, k) / math.comb(gallery, k) if k <= left else 0.0
        shares.append(1 - none)
    return float(np.mean(shares))
