"""How far two judges of the same answers agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BINS = (1 / 3, 2 / 3)
"""Scores from 0 to 1 are wrong, partly right or right, for kappa."""


class Agreement(TypedDict):
    """Of two judges, over the questions whose scores can be read from both. None is what is not defined.

    ``pearson``, ``spearman``: correlations, -1 to 1. ``difference``: mean absolute difference, in the
    scale of the scores. ``shift``: mean of the second judge's minus the first's. ``order``: of all pairs of
    questions that both judges put in an order, the share that they put in the same one, 0 to 1; ``pairs``
    is how many these are. ``kappa``: Cohen's, of the scores in three bins.
    """

    n: int
    pearson: float | None
    spearman: float | None
    difference: float | None
    shift: float | None
    order: float | None
    pairs: int
    kappa: float | None


def agreement(first: Mapping[str, float], second: Mapping[str, float], scale: float = 1.0) -> Agreement:
    """Compare scores by question.

    Args:
        first: the first judge's, by question; 0 to ``scale``.
        second: the second's.
        scale: the highest score: 10 of a review, 1 of a grade.
    """
    names = [name for name in first if name in second]
    a_N = np.asarray([first[name] for name in names], dtype=np.float64)
    b_N = np.asarray([second[name] for name in names], dtype=np.float64)
    order, pairs = _order(a_N, b_N)
    return Agreement(
        n=len(names),
        pearson=_pearson(a_N, b_N),
        spearman=_pearson(_ranks(a_N), _ranks(b_N)),
        difference=float(np.abs(a_N - b_N).mean()) if names else None,
        shift=float((b_N - a_N).mean()) if names else None,
        order=order,
        pairs=pairs,
        kappa=_kappa(np.digitize(a_N / scale, BINS), np.digitize(b_N / scale, BINS)),
    )


def _pearson(a_N: Floats, b_N: Floats) -> float | None:
    if len(a_N) < 2 or np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return None
    return float(np.corrcoef(a_N, b_N)[0, 1])


def _ranks(values_N: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse_N, counts_K = np.unique(values_N, return_inverse=True, return_counts=True)
    ends_K = np.cumsum(counts_K)
    shared: Floats = (ends_K - (counts_K - 1) / 2)[inverse_N]
    return shared


def _order(a_N: Floats, b_N: Floats) -> tuple[float | None, int]:
    signs_NN = np.sign(a_N[:, None] - a_N[None]) * np.sign(b_N[:, None] - b_N[None])
    upper = signs_NN[np.triu_indices(len(a_N), 1)]
    pairs = int(np.count_nonzero(upper))
    return (float((upper > 0).sum() / pairs) if pairs else None), pairs


def _kappa(a_N: npt.NDArray[Any], b_N: npt.NDArray[Any]) -> float | None:
    """Cohen's kappa of two lists of classes; None where chance alone would agree always."""
    if not len(a_N):
        return None
    classes = np.union1d(a_N, b_N)
    expected = sum(float((a_N == one).mean() * (b_N == one).mean()) for one in classes)
    return None if expected == 1 else float(((a_N == b_N).mean() - expected) / (1 - expected))
