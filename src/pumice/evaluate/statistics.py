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

from pumice.evaluate.scorers import normalise
from pumice.score.pope import PopeScore
from pumice.score.result import wilson

__all__ = ["PairedTest", "chance", "f1_interval", "guess_floor", "mcnemar", "mode_floor", "wilson"]


def f1_interval(
    score: PopeScore, *, seed: int = 0, resamples: int = 10_000, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of F1, in 0..1; (0, 1) when there are no questions.

    F1 depends on the four counts only, and drawing n questions with replacement draws these counts
    from a multinomial distribution: so that is what is drawn, all resamples at once.
    """
    if score.n == 0:
        return 0.0, 1.0
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
