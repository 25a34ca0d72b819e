"""Scores of which most are of one kind and a few of another whose distribution is known.

Captions of other pictures are drawn, so it is known how they score. How many of the data's own are like that,
and from which score on, follows (Efron, Microarrays, empirical Bayes and the two-groups model, 2008).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 0.3, 0.6
"""Between these shares of the wrong ones' distribution hardly any right one scores."""

FEWEST = 50
"""Rows that there must be for mismatches to be judged."""
SURE = 0.8
"""The expected share of true mismatches among those that are told."""
MOST = 0.25
"""The share of wrong ones from which it is likelier that whoever scored them knows the subject badly."""


def blind(own_N: NDArray[np.float64], wrong_M: NDArray[np.float64], who: str) -> str:
    """Why no row is judged: so many score like wrong ones that the scores say nothing; "" where they do.

    Args:
        own_N: the data's own.
        wrong_M: of the wrong kind, drawn.
        who: scored them, in words.
    """
    share = wrong_share(own_N, wrong_M)
    if share <= MOST:
        return ""
    return (
        f"to {who} up to {share:.0%} of {len(own_N):,} rows fit no better than what others say; "
        "it knows such data too little, or pictures are mixed up all over; no row is told"
    )


def wrong_share(scores_N: NDArray[np.float64], wrong_M: NDArray[np.float64]) -> float:
    """The share of scores that are of the wrong kind, which is low; too high where right ones score low, too.

    Where hardly any right one scores, F(t) = share x F0(t): the median of F(t) / F0(t) over such t.
    """
    at = np.quantile(wrong_M, np.linspace(LOW, HIGH, 31))
    own = np.searchsorted(np.sort(scores_N), at, side="right") / max(1, len(scores_N))
    theirs = np.searchsorted(np.sort(wrong_M), at, side="right") / max(1, len(wrong_M))
    return float(min(1.0, np.median(own / np.maximum(theirs, 1e-9))))


def wrong_chances(scores_N: NDArray[np.float64], wrong_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each score the expected share of wrong ones among the scores that are as low or lower, [N].

    Args:
        scores_N: the data's own.
        wrong_M: of the wrong kind, drawn.
    """
    if not len(scores_N) or not len(wrong_M):
        return np.zeros(len(scores_N))
    share = wrong_share(scores_N, wrong_M)
    order = np.sort(scores_N)
    own = np.searchsorted(order, scores_N, side="right") / len(scores_N)
    theirs = np.searchsorted(np.sort(wrong_M), scores_N, side="right") / len(wrong_M)
    chance = np.minimum(1.0, share * theirs / own)
    # The lowest scores are few; what holds of more of them holds of them, too.
    places = np.argsort(-scores_N, kind="stable")
    chance[places] = np.maximum.accumulate(chance[places])
    return np.asarray(chance)
