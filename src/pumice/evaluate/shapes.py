"""How each task's figures are made of its questions, so that they can be made again of some of them.

The formulas are the scorers' own. A row holds what a figure needs of one unit: of a question, or for MME of a
picture with its two questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pumice.evaluate.paired import Combine, Figure
from pumice.score import Item, llava_bench, mme, pope
from pumice.score.result import Floats


@dataclass(frozen=True, slots=True)
class Answered:
    """One question with what its answer was worth.

    Attributes:
        id: no other question of the task has it.
        parsed: as the scorer read the answer.
        score: 0 to 1; None where the scorer gives nothing for it.
        groups: its categories and types.
        picture: the first picture's name; empty for a question on text alone.
        truth: the right answer, empty where the files do not tell.
        prompt: what was asked.
    """

    id: str
    parsed: str
    score: float | None
    groups: tuple[str, ...] = ()
    picture: str = ""
    truth: str = ""
    prompt: str = ""


Units = Callable[[Sequence[Answered]], dict[str, Floats]]
"""From questions to the rows of each stratum, ``(N, K)``. It looks at ids, groups and pictures alone to tell
which row is where, so two models' rows of the same questions lie side by side."""


@dataclass(frozen=True)
class Shape:
    """A figure.

    Attributes:
        units: the rows of each stratum.
        figure: a stratum's figure from the means of its rows.
        combine: the figure of all strata.
        keep: which questions it is of.
        unit: what is resampled: "questions" or "pictures".
        plain: whether it is the mean of the scores, in per cent.
    """

    units: Units
    figure: Figure
    combine: Combine
    keep: Callable[[Answered], bool] = lambda answered: True
    unit: str = "questions"
    plain: bool = False

    def of(self, rows: Sequence[Answered]) -> float | None:
        """The figure of these questions; None where it is of none of them."""
        strata = self.units([row for row in rows if self.keep(row)])
        if not strata:
            return None
        each = [self.figure(values_NK.mean(axis=0)[None]) for values_NK in strata.values()]
        return float(self.combine(np.stack(each, axis=1))[0])

    def only(self, group: str) -> Shape:
        """The same of one group."""
        return Shape(
            self.units,
            self.figure,
            self.combine,
            lambda answered: group in answered.groups,
            self.unit,
            self.plain,
        )


def score_of(answered: Answered) -> float:
    """What an answer is worth; a question without a score has no place in a figure."""
    assert answered.score is not None, answered.id
    return answered.score


def _scores(rows: Sequence[Answered]) -> dict[str, Floats]:
    return {"": np.asarray([[score_of(row)] for row in rows])} if rows else {}


def _single(means_R1: Floats) -> Floats:
    return np.asarray(100 * means_R1[:, 0])


def _first(each_R1: Floats) -> Floats:
    return np.asarray(each_R1[:, 0])


def mean(keep: Callable[[Answered], bool] = lambda answered: True) -> Shape:
    """The mean score in per cent."""
    return Shape(_scores, _single, _first, keep, plain=True)


def _of_group(*names: str) -> Callable[[Answered], bool]:
    return lambda answered: any(name in answered.groups for name in names)


def _cells(rows: Sequence[Answered]) -> dict[str, Floats]:
    strata: dict[str, list[Item]] = {}
    for row in rows:
        item = Item(row.id, row.parsed, score_of(row))
        strata.setdefault(row.groups[0] if row.groups else "", []).append(item)
    return {name: pope.cells(items) for name, items in strata.items()}


def _pope(name: str) -> Shape:
    return Shape(_cells, partial(pope.figure, name), pope.mean_of_categories)


def _pictures(rows: Sequence[Answered]) -> dict[str, Floats]:
    pictures: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        category = row.groups[0] if row.groups else ""
        pictures.setdefault((category, row.picture), []).append(score_of(row))
    strata: dict[str, list[list[float]]] = {}
    for (category, _), scores in pictures.items():
        if len(scores) == mme.BOTH:
            strata.setdefault(category, []).append(scores)
    return {name: mme.both_of(np.asarray(pairs)) for name, pairs in strata.items()}


def _mme(categories: Sequence[str]) -> Shape:
    keep = _of_group(*categories)
    return Shape(_pictures, mme.points, mme.sum_of_categories, keep, unit="pictures")


def _reviews(rows: Sequence[Answered]) -> dict[str, Floats]:
    return {"": np.asarray([llava_bench.scores_in_runs(row.parsed) for row in rows])} if rows else {}


_RELATIVE = Shape(_reviews, llava_bench.mean_of_runs, _first)
_PICTURED = {"accuracy": mean(), "accuracy_img": mean(lambda answered: bool(answered.picture))}
_MEDICAL = {"open_recall": mean(_of_group("open")), "closed_accuracy": mean(_of_group("closed"))}

SHAPES: Mapping[str, Mapping[str, Shape]] = {
    "pope": {name: _pope(name) for name in pope.FIGURES},
    "mme": {"perception": _mme(mme.PERCEPTION), "cognition": _mme(mme.COGNITION)},
    "llava-bench": {llava_bench.ALL: _RELATIVE},
    "mm-vet": {"total": mean()},
    "scienceqa": _PICTURED,
    "seed": {
        "accuracy": mean(),
        "accuracy_image": mean(_of_group("image")),
        "accuracy_video": mean(_of_group("video")),
    },
    "docvqa": {"anls": mean()},
    "chartqa": {"relaxed_accuracy": mean()},
    "vqa-rad": _MEDICAL,
    "slake": _MEDICAL,
    "pathvqa": _MEDICAL,
}
"""By task and figure; the first is the one that papers report. All others have the mean, ``accuracy``."""


def _all_cells(rows: Sequence[Answered]) -> dict[str, Floats]:
    """All questions as one stratum, whatever their groups."""
    items = [Item(row.id, row.parsed, score_of(row)) for row in rows]
    return {"": pope.cells(items)} if items else {}


_YES_NO = {name: Shape(_all_cells, partial(pope.figure, name), pope.mean_of_categories)
           for name in pope.FIGURES}  # fmt: skip


def shapes_of(task: str, rule: str = "", figure: str = "accuracy") -> Mapping[str, Shape]:
    """The figures of a task that can be made of its questions.

    Args:
        task: its name.
        rule: of a task that is no published benchmark, how it is scored; empty for the others.
        figure: what such a task's first figure is called.
    """
    if rule:
        return _YES_NO if rule == "yes-no" else {figure: mean()}
    return SHAPES.get(task, {"accuracy": mean()})
