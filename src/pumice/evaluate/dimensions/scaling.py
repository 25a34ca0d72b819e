"""Runs of several sizes on the same questions: what a doubling brings.

Shape letters: N pictures, K runs and one more column, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pumice.errors import UsageError
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.efficiency import records_digest
from pumice.evaluate.dimensions.intervals import Interval, group, ratio, sums, with_interval
from pumice.evaluate.dimensions.records import Training, read_training
from pumice.evaluate.dimensions.yields import Yield, read_yield
from pumice.evaluate.results import Scores
from pumice.score.result import Floats

AXES = ("parameters", "tokens", "supervised", "flops")


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """The score of each run, and points for each doubling of parameters, tokens and arithmetic."""
    runs = _runs(subject)
    trained = [read_training(run) for run in runs]
    gained = [read_yield(run) for run in runs]
    common = _common(runs, gained)
    rows = [[float(each.answers[name][1]) for each in gained] for name in common]
    keys = [gained[0].answers[name][0] for name in common]
    sums_NK = sums(keys, [[*row, 1.0] for row in rows])
    own, around = _score(sums_NK, 0)
    metrics, interval = {"score": own}, {"score": list(around)}
    for axis in AXES:
        sizes = [float(getattr(one, axis)) for one in trained]
        if min(sizes) > 0 and len(set(sizes)) > 1:
            value, ends = _per_doubling(sums_NK, sizes)
            metrics[f"per_doubling_of_{axis}"], interval[f"per_doubling_of_{axis}"] = value, list(ends)
    if len(metrics) == 1:
        raise UsageError(
            "the runs are all of one size, data and arithmetic alike",
            where=", ".join(map(str, runs)),
            remedy="compare runs of different sizes",
        )
    groups = {}
    for place, one in enumerate(trained):
        value, ends = _score(sums_NK, place)
        figures = {"score": value, "hours": one.hours} | {axis: float(getattr(one, axis)) for axis in AXES}
        groups[_label(one, trained)] = group(len(common), figures, ends)
    return Measured(
        Scores(metrics=metrics, interval=interval, n=len(common), groups=groups, counts={}, notes=[]),
        len(common),
        len(common),
        None,
        (
            f"score: of {trained[0].name}",
            f"points for a doubling: least squares over {len(runs)} runs, against its logarithm; the interval"
            " is over pictures and says nothing of what another seed would give",
        ),
    )


def check(subject: Subject) -> None:
    """Make sure that there are finished runs with scores on the same questions."""
    runs = _runs(subject)
    for run in runs:
        read_training(run)
    _common(runs, [read_yield(run) for run in runs])


def _runs(subject: Subject) -> tuple[Path, ...]:
    own = () if subject.run is None else (subject.run,)
    runs = tuple(dict.fromkeys(run.resolve() for run in (*own, *subject.others)))
    if len(runs) < 2:
        raise UsageError(
            f"scaling takes two runs or more, and there is {len(runs) or 'none'}",
            where="--sizes",
            remedy="give the folder of a run as MODEL and others with --sizes runs/SMALL,runs/LARGE",
        )
    return runs


def _common(runs: Sequence[Path], gained: Sequence[Yield]) -> list[str]:
    """The questions that all runs were asked."""
    if len({each.questions for each in gained}) > 1:
        raise UsageError(
            "the runs were not asked the same questions",
            where=", ".join(map(str, runs)),
            remedy="measure all of them on one file: pumice eval RUN --questions FILE --out RUN/eval",
        )
    return list(gained[0].answers)


def _score(sums_NK: Floats, place: int) -> tuple[float, Interval]:
    return with_interval(sums_NK, lambda means_RK: ratio(means_RK[:, place], means_RK[:, -1]))


def _per_doubling(sums_NK: Floats, sizes: Sequence[float]) -> tuple[float, Interval]:
    x_K = np.log2(np.asarray(sizes))
    weight_K = (x_K - x_K.mean()) / ((x_K - x_K.mean()) ** 2).sum()

    def slope(means_RK: Floats) -> Floats:
        return ratio(means_RK[:, :-1] @ weight_K, means_RK[:, -1])

    return with_interval(sums_NK, slope)


def _label(one: Training, every: Sequence[Training]) -> str:
    alike = sum(other.name == one.name for other in every) > 1
    return str(one.folder) if alike else one.name


SCALING = Dimension(
    "scaling",
    "Scaling",
    "The score of runs of several sizes, and what a doubling of parameters, tokens or arithmetic brings.",
    "",
    ("two folders of runs that were asked the same questions (MODEL and --sizes)",),
    measure,
    lambda subject, folder: records_digest(
        (*(() if subject.run is None else (subject.run,)), *subject.others)
    ),
    check,
)
