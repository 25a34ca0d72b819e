"""How sure a figure is, and how much of it needs no sight.

All intervals treat questions as independent. Questions about one picture are somewhat alike, so
the true interval of a set with many questions per picture is a little wider.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pumice.evaluate.paired import ALPHA, POWER
from pumice.evaluate.scorers import normalise
from pumice.score.pope import PopeScore, f1_ends
from pumice.score.result import wilson

__all__ = [
    "PairedTest", "chance", "f1_interval", "guess_floor", "mcnemar", "mcnemar_detectable", "mode_floor",
    "wilson",
]  # fmt: skip
HALVINGS = 12
SPREAD = 6
"""Standard deviations beyond which nothing is summed up."""


def f1_interval(
    score: PopeScore, *, seed: int = 0, resamples: int = 10_000, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of F1, in 0..1; (0, 1) when there are no questions.

    An F1 of 0 or 1 has resamples that are all alike: its ends are ``pumice.score.pope.f1_ends``, at 95%.

    F1 depends on the four counts only, and drawing n questions with replacement draws these counts
    from a multinomial distribution: so that is what is drawn, all resamples at once.
    """
    if score.n == 0:
        return 0.0, 1.0
    if score.f1 in (0.0, 1.0):
        low, high = f1_ends(
            score.true_positives, score.false_positives, score.false_negatives, score.true_negatives
        )
        return low / 100, high / 100
    counts = np.array(
        [score.true_positives, score.false_positives, score.false_negatives, score.true_negatives],
        dtype=np.float64,
    )
    draws_R4 = np.random.default_rng(seed).multinomial(score.n, counts / score.n, size=resamples)
    hits_R = 2 * draws_R4[:, 0]
    wholes_R = hits_R + draws_R4[:, 1] + draws_R4[:, 2]
    f1_R = np.divide(hits_R, wholes_R, out=np.zeros(resamples), where=wholes_R > 0)
    low, high = np.quantile(f1_R, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two variants on the same questions. ``difference`` is accuracy of a less that of b, ``p`` two-sided."""

    n: int
    only_a: int
    only_b: int
    difference: float
    p: float


def mcnemar(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> PairedTest:
    """McNemar's exact test: of the questions that one variant alone got right, are a's more than half?

    ``p`` is the two-sided binomial probability of a split at least as uneven, 1 when they never differ.
    """
    assert len(correct_a) == len(correct_b), f"{len(correct_a)} answers against {len(correct_b)}"
    pairs = list(zip(correct_a, correct_b, strict=True))
    only_a = sum(a and not b for a, b in pairs)
    only_b = sum(b and not a for a, b in pairs)
    differing = only_a + only_b
    log_half = differing * math.log(2)
    tail = math.fsum(
        math.exp(math.lgamma(differing + 1) - math.lgamma(i + 1) - math.lgamma(differing - i + 1) - log_half)
        for i in range(min(only_a, only_b) + 1)
    )
    difference = (only_a - only_b) / len(pairs) if pairs else 0.0
    return PairedTest(len(pairs), only_a, only_b, difference, min(1.0, 2 * tail))


def mcnemar_detectable(n: int, differing: int) -> float | None:
    """The smallest true difference of accuracy, 0 to 1, that ``mcnemar`` finds at ``ALPHA`` with ``POWER``.

    The test is exact, so its power is summed up: no normal approximation, which promises too much where
    few questions differ.

    Args:
        n: questions.
        differing: those that one variant alone got right; as many differ whatever the difference is, and
            more only where it cannot be had with so few.

    Returns:
        None where not even a difference on every question would be found: of five questions, say.
    """
    if _power(n, 1.0, 1.0) < POWER:
        return None
    share = differing / n
    high = 1 / n
    while _power(n, max(share, high), high) < POWER:
        high = min(1.0, 2 * high)
    low = high / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _power(n, max(share, middle), middle) < POWER:
            low = middle
        else:
            high = middle
    return high


def _power(n: int, share: float, difference: float) -> float:
    """How often McNemar's test tells a difference where so large a share of n questions differs."""
    spread = SPREAD * math.sqrt(n * share * (1 - share)) + 1
    first, last = max(1, math.floor(n * share - spread)), min(n, math.ceil(n * share + spread))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    better = (1 + difference / share) / 2
    total = 0.0
    for differ in range(first, last + 1):
        k = np.arange(differ + 1)
        ways = logs[differ] - logs[k] - logs[differ - k]
        tail = np.minimum(1.0, 2 * np.cumsum(np.exp(ways - differ * math.log(2))))
        told = tail[np.minimum(k, differ - k)] < ALPHA
        split = np.exp(ways + _times(k, better) + _times(differ - k, 1 - better))[told].sum()
        seen = (
            logs[n] - logs[differ] - logs[n - differ] + _times(differ, share) + _times(n - differ, 1 - share)
        )
        total += float(np.exp(seen) * split)
    return total


def _times(count: npt.ArrayLike, share: float) -> npt.NDArray[np.float64]:
    """``count`` times the logarithm of a share; 0 times that of 0 is 0."""
    counts = np.asarray(count, dtype=np.float64)
    return counts * math.log(share) if share > 0 else np.where(counts > 0, -np.inf, 0.0)


def guess_floor(present: Sequence[str], answer: str) -> float:
    """Expected accuracy of naming one of the distinct values present, each with the same chance.

    A model that sees which values are in the picture, but not which object has which, does this well
    without any binding. 0 when the answer is not among the values.

    >>> guess_floor(["red", "red", "blue"], "red")
    0.5
    """
    values = {normalise(value) for value in present}
    return 1 / len(values) if normalise(answer) in values else 0.0


def mode_floor(present: Sequence[str], answer: str) -> float:
    """Expected accuracy of naming the value that most objects have; tied values share the guess.

    >>> mode_floor(["red", "red", "blue"], "red"), mode_floor(["red", "blue"], "blue")
    (1.0, 0.5)
    """
    counts = Counter(normalise(value) for value in present)
    most = max(counts.values(), default=0)
    commonest = {value for value, count in counts.items() if count == most}
    return 1 / len(commonest) if normalise(answer) in commonest else 0.0


def chance(answers: Sequence[str]) -> float:
    """Accuracy of always giving the commonest answer of the set; 0 for an empty one."""
    counts = Counter(normalise(answer) for answer in answers)
    return max(counts.values()) / len(answers) if answers else 0.0
