"""What a scorer says: figures with their intervals, groups, and what each question got.

All figures are per cent, 0 to 100, but MME's points.

Shape letters: N questions, K columns that a figure is made of, R resamples, U distinct rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES = 2_000
SEED = 0
CELLS = 2**24
"""Numbers that are drawn at once."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question: what its answer was read as, and what that is worth, 0 to 1."""

    id: str
    parsed: str
    score: float
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of some of the questions, and the interval of the first one where it has one."""

    n: int
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """The figures by name, ``n``, and the interval."""
        ends = {} if self.interval is None else {"interval": [round(end, 4) for end in self.interval]}
        return {**{key: round(value, 6) for key, value in self.metrics.items()}, "n": self.n, **ends}


@dataclass(frozen=True)
class Result:
    """The scores of one task.

    Attributes:
        task: its name.
        n: questions that were scored.
        metrics: figures by name; the first is the one that papers report.
        intervals: ends of the 95% interval of those that have one.
        groups: figures by category, type, run, ...
        counts: how many answers could not be read, are missing, ...
        notes: what a reader of the figures must know.
        items: each question.
        lower: figures of which less is better; of all others more is.
        neither: figures of which neither is.
    """

    task: str
    n: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    lower: tuple[str, ...] = ()
    neither: tuple[str, ...] = ()

    def higher(self, name: str) -> bool | None:
        """Whether more of a figure is better; None where neither more nor less is."""
        return None if name in self.neither else name not in self.lower

    def as_json(self) -> dict[str, Any]:
        """One object: the figures by name, ``n``, then the rest."""
        return {
            "task": self.task,
            **{name: round(value, 6) for name, value in self.metrics.items()},
            "n": self.n,
            "interval": {
                name: [round(low, 4), round(high, 4)] for name, (low, high) in self.intervals.items()
            },
            "groups": {name: group.as_json() for name, group in self.groups.items()},
            "counts": dict(self.counts),
            "notes": list(self.notes),
        }


def of_all(metrics: Iterable[str], groups: Mapping[str, Container[str]]) -> list[str]:
    """The figures of all questions: without those that say a group's figure again (MME's categories).

    A group of one's own questions may be called as a figure is; it has that figure itself then.

    Args:
        metrics: names of figures.
        groups: by name, the names of the figures that each has.
    """
    return [name for name in metrics if name not in groups or name in groups[name]]


def percent(values: Sequence[float] | Sequence[bool]) -> float:
    """The mean as per cent; 0 of nothing."""
    return 100.0 * float(sum(values)) / len(values) if values else 0.0


def resample(values_NK: Floats, *, seed: int | Sequence[int] = SEED, resamples: int = RESAMPLES) -> Floats:
    """Means of the columns over bootstrap samples of the rows, ``(R, K)``.

    Drawing N rows with replacement draws from a multinomial distribution how often each distinct row
    comes. Scores take few values, so this is far less than R times N numbers.
    """
    rows_UK, counts_U = np.unique(values_NK, axis=0, return_counts=True)
    total = int(counts_U.sum())
    generator = np.random.default_rng(seed)
    each = max(1, CELLS // len(rows_UK))
    parts = []
    for start in range(0, resamples, each):
        size = min(each, resamples - start)
        parts.append(generator.multinomial(total, counts_U / total, size=size) @ rows_UK / total)
    return np.concatenate(parts)


def ends(figures_R: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """The ends of the percentile interval of a figure's resamples."""
    low, high = np.quantile(figures_R, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), in 0..1; (0, 1) when n is 0.

    It stays inside 0..1 and keeps its coverage near 0 and 1, where the normal interval fails.
    """
    assert 0 <= successes <= n, f"{successes} of {n}"
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at 0 and n the ends are exact; rounding must not push them off
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def mean_interval(scores: Sequence[float] | Sequence[bool]) -> tuple[float, float]:
    """The 95% bootstrap interval of a mean, in per cent.

    Where all are right or all are wrong, resamples are all alike and would claim to be certain: then it is
    Wilson's interval.
    """
    values_N1 = np.asarray(scores, dtype=np.float64)[:, None]
    first = float(values_N1[0, 0])
    if first in (0.0, 1.0) and (values_N1 == first).all():
        return wilson_ends(int(first) * len(values_N1), len(values_N1))
    return ends(100 * resample(values_N1)[:, 0])


def wilson_ends(successes: int, n: int, full: float = 100) -> tuple[float, float]:
    """Wilson's interval of a proportion on the scale of a figure that is ``full`` at most."""
    low, high = wilson(successes, n)
    return full * low, full * high


def flat(interval: tuple[float, float]) -> bool:
    """Whether an interval has no width: all resamples are alike, and claim to be certain."""
    return interval[1] - interval[0] < 1e-9


def stratified(
    strata: Iterable[Floats], figure: Callable[[Floats], Floats], combine: Callable[[Floats], Floats]
) -> tuple[float, float]:
    """The interval of a figure that is combined of figures of strata, each resampled in itself.

    Args:
        strata: the rows of each, ``(N, K)``.
        figure: from column means ``(R, K)`` to ``(R,)``.
        combine: from the figures of all strata ``(R, S)`` to ``(R,)``.
    """
    figures = [figure(resample(values_NK, seed=(SEED, number))) for number, values_NK in enumerate(strata)]
    return ends(combine(np.stack(figures, axis=1)))


def means(
    task: str,
    items: Sequence[Item],
    *,
    metric: str = "accuracy",
    counts: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """The result of a task whose figure is the mean over its questions, with the same of every group."""
    scores = [item.score for item in items]
    return Result(
        task=task,
        n=len(items),
        metrics={metric: percent(scores)},
        intervals={metric: mean_interval(scores)} if scores else {},
        groups=grouped(items, metric),
        counts=counts or {},
        notes=tuple(notes),
        items=tuple(items),
    )


def grouped(items: Sequence[Item], metric: str = "accuracy") -> dict[str, Group]:
    """The mean of every group, in the order in which they first come."""
    found: dict[str, list[float]] = {}
    for item in items:
        for group in item.groups:
            found.setdefault(group, []).append(item.score)
    return {
        name: Group(len(scores), {metric: percent(scores)}, mean_interval(scores))
        for name, scores in found.items()
    }
