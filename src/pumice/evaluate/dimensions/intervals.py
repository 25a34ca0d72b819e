"""Figures with bootstrap intervals over pictures: questions about one picture stand and fall together.

Shape letters: N pictures, K columns of sums, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pumice.score.result import Floats, ends, flat, resample, wilson

Interval = tuple[float, float]


def sums(keys: Iterable[Hashable], rows: Sequence[Sequence[float]]) -> Floats:
    """The rows of each picture summed, ``(N, K)``; pictures in the order in which they first come."""
    found: dict[Hashable, Floats] = {}
    for key, row in zip(keys, rows, strict=True):
        values = np.asarray(row, dtype=np.float64)
        found[key] = found[key] + values if key in found else values
    return np.stack(list(found.values()))


def with_interval(sums_NK: Floats, figure: Callable[[Floats], Floats]) -> tuple[float, Interval]:
    """A figure of column means ``(R, K)`` and its 95% interval over resampled pictures."""
    value = float(figure(sums_NK.mean(axis=0)[None])[0])
    return value, ends(figure(resample(sums_NK)))


def ratio(first_R: Floats, second_R: Floats) -> Floats:
    """Per cent; 0 of nothing."""
    return np.asarray(
        100 * np.divide(first_R, second_R, out=np.zeros_like(first_R), where=second_R > 0), dtype=np.float64
    )


def _bounded(
    sums_N2: Floats, figure: Callable[[Floats], Floats], lowest: float, highest: float
) -> tuple[float, Interval]:
    """As ``with_interval``, of a figure between two ends.

    Where all pictures are alike, or there is only one, resamples are alike, too, and would claim to be
    certain: then the interval is as wide to each side as Wilson's is where all of so many are wrong.
    """
    value, interval = with_interval(sums_N2, figure)
    if not flat(interval):
        return value, interval
    width = 100 * wilson(0, len(sums_N2))[1]
    return value, (max(lowest, value - width), min(highest, value + width))


def share(keys: Iterable[Hashable], scores: Sequence[float] | Sequence[bool]) -> tuple[float, Interval]:
    """The mean score of questions in per cent, with its interval over their pictures.

    Where all are right or all are wrong, it is Wilson's interval of as many pictures.
    """
    sums_N2 = sums(keys, [(float(score), 1.0) for score in scores])
    return _bounded(sums_N2, lambda means_R2: ratio(means_R2[:, 0], means_R2[:, 1]), 0, 100)


def drop(
    keys: Iterable[Hashable],
    before: Sequence[float] | Sequence[bool],
    after: Sequence[float] | Sequence[bool],
) -> tuple[float, Interval]:
    """By how many points the mean score of the same questions falls.

    Where nothing differs, or all questions go from right to wrong (or back), its ends are Wilson's, too.
    """
    rows = [(float(a) - float(b), 1.0) for a, b in zip(before, after, strict=True)]
    sums_N2 = sums(keys, rows)
    return _bounded(sums_N2, lambda means_R2: ratio(means_R2[:, 0], means_R2[:, 1]), -100, 100)


def slope(
    keys: Iterable[Hashable], x: Sequence[float], scores: Sequence[float] | Sequence[bool]
) -> tuple[float, Interval]:
    """Points of the mean score that one more of ``x`` brings, by least squares over questions; 0 where all
    have the same ``x``."""
    rows = [(1.0, a, a * a, float(b), a * float(b)) for a, b in zip(x, scores, strict=True)]

    def fitted(means_R5: Floats) -> Floats:
        n, x_, xx, y, xy = (means_R5[:, column] for column in range(5))
        return ratio(n * xy - x_ * y, n * xx - x_ * x_)

    return with_interval(sums(keys, rows), fitted)


def group(n: int, metrics: Mapping[str, float], interval: Interval | None = None) -> dict[str, Any]:
    """A group as result files hold it: figures, ``n``, and the interval of the first figure."""
    told = {} if interval is None else {"interval": [round(end, 4) for end in interval]}
    return {**{name: round(value, 6) for name, value in metrics.items()}, "n": n, **told}
