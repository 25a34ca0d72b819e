"""Two evaluations side by side: what differs, by how much, and whether it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pumice.errors import UsageError
from pumice.evaluate.paired import ALPHA, Paired, holm, paired
from pumice.evaluate.results import TaskResult
from pumice.evaluate.shapes import Answered, Shape, score_of, shapes_of
from pumice.evaluate.sides import Side, common_tasks
from pumice.evaluate.statistics import PairedTest, mcnemar, mcnemar_detectable
from pumice.evaluate.wording import p_text, points
from pumice.score.result import Floats, flat, mean_interval, wilson

NAMED = 5
"""Questions that are named where many differ."""
SUMMED = 200
"""Differing questions up to which the power of McNemar's test is summed up; beyond, it is nearly normal."""

Pairs = Sequence[tuple[Answered, Answered]]


@dataclass(frozen=True)
class Difference:
    """A figure of both models.

    Attributes:
        n: what was resampled, in ``unit``.
        paired: the figures, their intervals and their difference.
        p: two-sided: McNemar's exact test where every score is 0 or 1 and the figure is their mean, else the
            exchange test.
        test: which of the two.
    """

    n: int
    unit: str
    paired: Paired
    p: float
    test: str

    def as_json(self) -> dict[str, Any]:
        """Rounded; p is not."""
        pair = self.paired
        return {
            "a": round(pair.a, 6),
            "b": round(pair.b, 6),
            "interval_a": [round(end, 4) for end in pair.interval_a],
            "interval_b": [round(end, 4) for end in pair.interval_b],
            "difference": round(pair.difference, 6),
            "interval": [round(end, 4) for end in pair.interval],
            "p": self.p,
            "test": self.test,
            "detectable": None if pair.detectable is None else round(pair.detectable, 4),
            "n": self.n,
            "unit": self.unit,
        }


@dataclass(frozen=True)
class TaskComparison:
    """One task of both models.

    Attributes:
        task: its name.
        figure: the name of the figure that papers report.
        figures: all that can be made of the questions, that one first.
        groups: the reported figure of each category or type.
        n: questions that both were asked and got a score for.
        only_a, only_b: questions for which the one alone was right; where scores are not 0 or 1, for which it
            got more.
        equal: whether every question has one and the same score on both sides.
        p_holm: p of the first figure, corrected for the number of comparisons.
        notes: what a reader must know: questions left out, other settings.
    """

    task: str
    figure: str
    figures: Mapping[str, Difference]
    groups: Mapping[str, Difference]
    n: int
    only_a: int
    only_b: int
    equal: bool
    notes: tuple[str, ...]
    p_holm: float = 1.0

    @property
    def first(self) -> Difference:
        """The reported figure."""
        return self.figures[self.figure]

    @property
    def told(self) -> bool:
        """Whether a difference can be told, the number of comparisons allowed for."""
        return self.p_holm < ALPHA

    def verdict(self, a: str, b: str, tests: int = 1) -> str:
        """The sentence that a reader needs."""
        first, pair = self.first, self.first.paired
        size = f"{first.n:,} {first.unit}"
        if self.equal:
            return f"Both have the same score on every one of {size}."
        if pair.detectable == 0 and not pair.difference:
            return f"{self.figure} is the same in every sample of {size}, though single answers differ."
        if self.told:
            better, worse = (b, a) if pair.difference > 0 else (a, b)
            low, high = pair.interval if pair.difference > 0 else (-pair.interval[1], -pair.interval[0])
            sure = p_text(self.p_holm)
            if not flat(pair.interval):
                sure = f"95% {points(low)} to {points(high)}, {sure}"
            return (
                f"{better} is better than {worse} by {points(abs(pair.difference))} points ({sure}; {size})."
            )
        could = "so few cannot tell any"
        if pair.detectable:
            could = f"one of {pair.detectable:.1f} points could have been, four times out of five"
        if first.p < ALPHA:
            alone = f"alone it would be ({p_text(first.p)}), among {tests} comparisons it is not"
            return f"No difference can be told from {size}: {alone}; {could}."
        return f"No difference can be told from {size}; {could}."

    def as_json(self) -> dict[str, Any]:
        """One object."""
        return {
            "figure": self.figure,
            **self.first.as_json(),
            "p_holm": self.p_holm,
            "told": self.told,
            "questions": self.n,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "figures": {name: one.as_json() for name, one in self.figures.items()},
            "groups": {name: one.as_json() for name, one in self.groups.items()},
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Comparison:
    """Two sides and their tasks.

    Attributes:
        a, b: the sides' names.
        tasks: those that could be compared.
        tests: the number of comparisons that p values are corrected for.
        left_out: tasks that one of the two alone has.
        refused: tasks of both that could not be compared, and why.
    """

    a: str
    b: str
    tasks: Mapping[str, TaskComparison]
    tests: int
    left_out: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """One object."""
        tasks = {
            name: {**one.as_json(), "verdict": one.verdict("A", "B", self.tests)}
            for name, one in self.tasks.items()
        }
        return {"a": self.a, "b": self.b, "tests": self.tests, "alpha": ALPHA, "tasks": tasks}


def compare(
    sides: Sequence[Side], *, common: bool = False, task: str | None = None, each: bool = False
) -> list[Comparison]:
    """The first side against each of the others, p values corrected over all tasks of all of them (Holm).

    Args:
        sides: two or more.
        common: take the questions that both were asked; without it other questions are an error.
        task: this one alone.
        each: a task that cannot be compared is told in ``refused`` and takes no other with it.

    Raises:
        UsageError: no task is in both; or the questions of one differ, unless ``each`` is said.
    """
    assert len(sides) > 1
    found: list[tuple[Side, Side, dict[str, TaskComparison], dict[str, str]]] = []
    for other in sides[1:]:
        tasks: dict[str, TaskComparison] = {}
        refused: dict[str, str] = {}
        for name in common_tasks(sides[0], other, task):
            try:
                tasks[name] = compare_task(name, sides[0], other, common=common)
            except UsageError as error:
                if not each:
                    raise
                refused[name] = error.what
        found.append((sides[0], other, tasks, refused))
    adjusted = iter(holm([one.first.p for _, _, tasks, _ in found for one in tasks.values()]))
    tests = sum(len(tasks) for _, _, tasks, _ in found)
    return [
        Comparison(
            a.name,
            b.name,
            {name: replace(one, p_holm=next(adjusted)) for name, one in tasks.items()},
            tests,
            () if task else tuple(sorted(a.tasks.keys() ^ b.tasks.keys())),
            refused,
        )
        for a, b, tasks, refused in found
    ]


def compare_task(task: str, a: Side, b: Side, *, common: bool = False) -> TaskComparison:
    """One task of two sides, question by question."""
    pairs, notes = _matched(task, a, b, common=common)
    notes += _settings(a.results.get(task), b.results.get(task))
    rules = {side.rules[task] for side in (a, b) if task in side.rules}
    if len(rules) > 1:
        raise UsageError(
            f"{task} is scored by {' and by '.join(sorted(rule for rule, _ in rules))}",
            where=f"{a.name} and {b.name}",
            remedy="evaluate both by one scorer",
        )
    shapes = shapes_of(task, *next(iter(rules), ()))
    figures = {name: _difference(shape, pairs) for name, shape in shapes.items()}
    kept = {name: one for name, one in figures.items() if one is not None}
    if not kept:
        raise UsageError(
            f"no figure of {task} can be made of the questions that both were asked",
            where=f"{a.name} and {b.name}",
            remedy="take more of them; MME needs both questions of a picture",
        )
    figure, shape = next((name, shape) for name, shape in shapes.items() if name in kept)
    kept[figure] = _as_written(kept[figure], figure, a.results.get(task), b.results.get(task))
    for side in (a, b):
        notes += _check(side, task, figure, shape, [pair[side is b] for pair in pairs])
    names = dict.fromkeys(group for one, _ in pairs for group in one.groups)
    groups = {name: _difference(shape.only(name), pairs) for name in names} if len(names) > 1 else {}
    scores = [(score_of(one), score_of(other)) for one, other in pairs]
    return TaskComparison(
        task,
        figure,
        kept,
        {name: one for name, one in groups.items() if one is not None},
        len(pairs),
        sum(one > other for one, other in scores),
        sum(other > one for one, other in scores),
        all(one == other for one, other in scores) and not kept[figure].paired.difference,
        tuple(notes),
    )


def _matched(task: str, a: Side, b: Side, *, common: bool) -> tuple[Pairs, list[str]]:
    """The questions of both with a score on both sides, and what is to be said of the others.

    Raises:
        UsageError: the questions differ and ``common`` is not said, or none is left.
    """
    first, second = a.tasks[task], b.tasks[task]
    same = [name for name in first if name in second and _same(first[name], second[name])]
    alike = set(same)
    differ = list(dict.fromkeys(name for name in (*first, *second) if name not in alike))
    if not same or (differ and not common):
        shown = ", ".join(differ[:NAMED]) + (", ..." if len(differ) > NAMED else "")
        raise UsageError(
            f"the questions of {task} are not the same: {len(differ):,} differ or are in one alone ({shown})",
            where=f"{a.name} and {b.name}",
            remedy=f"--common compares the {len(same):,} that both were asked"
            if same
            else "evaluate both on the same questions",
        )
    notes = [f"{len(differ):,} questions that only one was asked are left out"] if differ else []
    changed = sum(first[name].prompt != second[name].prompt for name in same)
    if changed:
        notes.append(f"{changed:,} questions were put in other words to the one than to the other")
    scored = [name for name in same if first[name].score is not None and second[name].score is not None]
    neither = sum(first[name].score is None and second[name].score is None for name in same)
    single = len(same) - len(scored) - neither
    if single:
        notes.append(f"{single:,} questions have a score on one side alone and are left out")
    if neither:
        notes.append(f"{neither:,} rows have no score of their own on either side")
    if not scored:
        raise UsageError(
            f"no question of {task} has a score on both sides",
            where=f"{a.name} and {b.name}",
            remedy="let the judge go on, where there is one",
        )
    # groups and pictures are the first side's, so that both sides' rows lie alike
    return [
        (first[name], replace(second[name], groups=first[name].groups, picture=first[name].picture))
        for name in scored
    ], notes


def _same(one: Answered, other: Answered) -> bool:
    return not (one.truth and other.truth) or one.truth == other.truth


def _difference(shape: Shape, pairs: Pairs) -> Difference | None:
    """A figure of both sides; None where it is of none of the questions."""
    kept = [pair for pair in pairs if shape.keep(pair[0])]
    first, second = (shape.units([pair[side] for pair in kept]) for side in (0, 1))
    if not first:
        return None
    strata = [_alike(first[name], second[name]) for name in first]
    found = paired(strata, shape.figure, shape.combine)
    scores = [(score_of(one), score_of(other)) for one, other in kept]
    n = sum(len(rows) for rows, _ in strata)
    if shape.plain and all(score in (0.0, 1.0) for pair in scores for score in pair):
        test = mcnemar([one == 1 for one, _ in scores], [other == 1 for _, other in scores])
        return Difference(n, shape.unit, _exact(found, test, scores), test.p, "McNemar, exact")
    return Difference(n, shape.unit, found, found.p, "exchange, 10,000 draws")


def _exact(found: Paired, test: PairedTest, scores: Sequence[tuple[float, float]]) -> Paired:
    """Of right and wrong answers: what resamples and normal approximations get wrong where few differ.

    Where all are alike, resamples are, too, and would claim to be certain: then the ends are Wilson's, as
    those of a scorer's figure are (``mean_interval``).
    """
    ends = [mean_interval([pair[side] for pair in scores]) for side in (0, 1)]
    own = [
        exact if low == high else (low, high)
        for exact, (low, high) in zip(ends, (found.interval_a, found.interval_b), strict=True)
    ]
    interval = found.interval
    differing = test.only_a + test.only_b
    if not differing:
        most = 100 * wilson(0, test.n)[1]
        interval = (-most, most)
    elif test.n in (test.only_a, test.only_b):
        least = 100 * wilson(test.n, test.n)[0]
        interval = (least, 100.0) if test.only_b else (-100.0, -least)
    smallest = found.detectable
    if differing <= SUMMED:
        share = mcnemar_detectable(test.n, differing)
        smallest = None if share is None else 100 * share
    return replace(found, interval_a=own[0], interval_b=own[1], interval=interval, detectable=smallest)


def _as_written(one: Difference, figure: str, a: TaskResult | None, b: TaskResult | None) -> Difference:
    """A side whose resamples are all alike has the interval that its scorer gave the same questions."""
    ends = [one.paired.interval_a, one.paired.interval_b]
    for place, (result, value) in enumerate(((a, one.paired.a), (b, one.paired.b))):
        if result is None or not flat(ends[place]) or result["scores"]["n"] != one.n:
            continue
        low, high = result["scores"]["interval"].get(figure, ends[place])
        if low <= value <= high:
            ends[place] = (low, high)
    return replace(one, paired=replace(one.paired, interval_a=ends[0], interval_b=ends[1]))


def _alike(first_NK: Floats, second_NL: Floats) -> tuple[Floats, Floats]:
    """As many columns on both sides: a judge may have run more often on one. Repeating all keeps the mean."""
    width = math.lcm(first_NK.shape[1], second_NL.shape[1])
    return (
        np.tile(first_NK, (1, width // first_NK.shape[1])),
        np.tile(second_NL, (1, width // second_NL.shape[1])),
    )


def _check(side: Side, task: str, figure: str, shape: Shape, rows: Sequence[Answered]) -> list[str]:
    """A note where the figure made of all its questions is not the one that was written down."""
    result = side.results.get(task)
    if result is None or len(rows) != result["scores"]["n"] or figure not in result["scores"]["metrics"]:
        return []
    found, written = shape.of(rows), result["scores"]["metrics"][figure]
    if found is None or math.isclose(found, written, rel_tol=1e-4, abs_tol=0.01):
        return []
    return [f"{side.name}: {figure} is {found:.2f} by its questions, {written:.2f} in its result"]


def _settings(a: TaskResult | None, b: TaskResult | None) -> list[str]:
    """What was done in another way on the other side, besides the model."""
    if a is None or b is None:
        return []
    notes = []
    for what, first, second in (
        ("asked with", {**a["settings"], **a["choices"]}, {**b["settings"], **b["choices"]}),
        ("judged with", a["judge"] or {}, b["judge"] or {}),
    ):
        for key in dict.fromkeys((*first, *second)):
            if _plain(first.get(key)) and _plain(second.get(key)) and first.get(key) != second.get(key):
                notes.append(f"{what} {key} {first.get(key)} on the one side, {second.get(key)} on the other")
    if a["pumice"] != b["pumice"]:
        notes.append(f"scored by Pumice {a['pumice']} and {b['pumice']}")
    return notes


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
