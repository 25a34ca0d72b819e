"""Two models on the same questions: how large the difference is, and what chance alone would give.

Shape letters: N units (questions or pictures), K columns that a figure is made of, R resamples, S strata,
U distinct rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pumice.score.result import CELLS, SEED, Floats, ends, resample

RESAMPLES = 10_000
ALPHA = 0.05
FEW = 20
"""Rows to one distinct row: with fewer, rows are drawn and not how often each distinct one comes."""
POWER = 0.8
"""Of the smallest difference that could have been told: how often such a one is found."""

Strata = Sequence[tuple[Floats, Floats]]
"""Of each stratum the rows of both models, ``(N, K)`` each; row by row the same unit."""
Figure = Callable[[Floats], Floats]
"""From column means ``(R, K)`` to a stratum's figure ``(R,)``."""
Combine = Callable[[Floats], Floats]
"""From the figures of all strata ``(R, S)`` to the whole figure ``(R,)``."""


@dataclass(frozen=True, slots=True)
class Paired:
    """A figure of two models, a and b, on the same units.

    Attributes:
        a, b: the figures.
        interval_a, interval_b: their 95% bootstrap intervals.
        interval: of the difference b - a; both figures come from the same resamples.
        p: two-sided, of the exchange test: how often a difference as large comes about when the two answers
            to each unit change sides at random.
        detectable: the smallest true difference that a test at ``ALPHA`` finds with ``POWER``: here as large
            as the difference's standard error makes it; None where none could be found.
    """

    a: float
    b: float
    interval_a: tuple[float, float]
    interval_b: tuple[float, float]
    interval: tuple[float, float]
    p: float
    detectable: float | None

    @property
    def difference(self) -> float:
        return self.b - self.a


def paired(strata: Strata, figure: Figure, combine: Combine, *, resamples: int = RESAMPLES) -> Paired:
    """Both figures, their difference, and how sure it is. Each stratum is resampled in itself."""
    a, b = _whole([(a.mean(axis=0)[None], b.mean(axis=0)[None]) for a, b in strata], figure, combine)
    draws = []
    for number, (a_NK, b_NK) in enumerate(strata):
        means_R2K = _resampled(np.hstack([a_NK, b_NK]), (SEED, number), resamples)
        draws.append((means_R2K[:, : a_NK.shape[1]], means_R2K[:, a_NK.shape[1] :]))
    a_R, b_R = _whole(draws, figure, combine)
    return Paired(
        float(a[0]),
        float(b[0]),
        ends(a_R),
        ends(b_R),
        ends(b_R - a_R),
        exchange_p(strata, figure, combine, permutations=resamples),
        detectable(float(np.std(b_R - a_R))),
    )


def exchange_p(
    strata: Strata, figure: Figure, combine: Combine, *, permutations: int = RESAMPLES, seed: int = SEED
) -> float:
    """The two-sided p value of the exchange (paired permutation) test; 1 where all rows are alike.

    It is (1 + as extreme) / (1 + permutations), so never 0.
    """
    if all(np.array_equal(a, b) for a, b in strata):
        return 1.0
    means = [(a.mean(axis=0)[None], b.mean(axis=0)[None]) for a, b in strata]
    a, b = _whole(means, figure, combine)
    swapped = []
    for number, (a_NK, b_NK) in enumerate(strata):
        moved_RK = _moves(b_NK - a_NK, permutations, (seed, number, 1))
        (a_1K, b_1K) = means[number]
        swapped.append((a_1K + moved_RK, b_1K - moved_RK))
    a_R, b_R = _whole(swapped, figure, combine)
    observed = abs(float(b[0] - a[0]))
    # sums that differ in their last digits are one and the same split
    extreme = int((np.abs(b_R - a_R) >= observed - 1e-9 * max(1.0, observed)).sum())
    return (1 + extreme) / (1 + permutations)


def _resampled(rows_NK: Floats, seed: Sequence[int], resamples: int) -> Floats:
    """As ``pumice.score.result.resample``, quicker where most rows are distinct: it draws the rows then."""
    total, distinct = len(rows_NK), len(np.unique(rows_NK, axis=0))
    if total > FEW * distinct:
        return resample(rows_NK, seed=seed, resamples=resamples)
    generator = np.random.default_rng(seed)
    means_RK = np.empty((resamples, rows_NK.shape[1]))
    for number in range(resamples):
        drawn_N = np.bincount(generator.integers(0, total, total), minlength=total)
        means_RK[number] = drawn_N @ rows_NK / total
    return means_RK


def _moves(difference_NK: Floats, permutations: int, seed: Sequence[int]) -> Floats:
    """How much of the mean changes sides, ``(R, K)``: how many of each distinct row do is binomial."""
    rows_UK, counts_U = np.unique(difference_NK, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    each = max(1, CELLS // len(rows_UK))
    single, several = counts_U == 1, counts_U > 1
    parts = []
    for start in range(0, permutations, each):
        size = min(each, permutations - start)
        # a coin for a row that comes once costs less than a binomial draw
        coins = generator.integers(0, 2, (size, int(single.sum())), dtype=np.int8)
        moved_RK = coins.astype(np.float64) @ rows_UK[single]
        draws = generator.binomial(counts_U[several], 0.5, size=(size, int(several.sum())))
        parts.append((moved_RK + draws @ rows_UK[several]) / len(difference_NK))
    return np.concatenate(parts)


def _whole(means: Strata, figure: Figure, combine: Combine) -> tuple[Floats, Floats]:
    first = combine(np.stack([figure(a_RK) for a_RK, _ in means], axis=1))
    second = combine(np.stack([figure(b_RK) for _, b_RK in means], axis=1))
    return first, second


def detectable(standard_error: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest difference that a two-sided test finds with this power (normal approximation).

    >>> round(detectable(1.0), 2)
    2.8
    """
    normal = NormalDist()
    return standard_error * (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power))


def holm(ps: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm 1979), in the given order; valid whatever their dependence.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(ps)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda each: ps[each])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted
