"""LLaVA-Bench: a judge's two scores for each question, the reference's first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pumice.data.checks import is_number
from pumice.errors import DataError, UsageError
from pumice.score.answers import counted, names, quoted, row_id
from pumice.score.files import Row, read
from pumice.score.foreign import REVIEWS, check_own
from pumice.score.inputs import Inputs
from pumice.score.result import Floats, Group, Item, Result, ends, resample

PREFIX = "llava_bench_"
KINDS = ("conv", "detail", "complex")
QUESTIONS = 60
"""Of the bench in the wild."""
ALL = "overall"
TIMES = 2
"""Scores in a review."""
WORDS = ("content", "text")
"""Keys of a review's words: this bench's, and those of the text-only one before it."""
NONE = "-"
UNREAD = (-1.0, -1.0)
"""What LLaVA's tool writes where it could not read a review."""


def parse_review(text: str) -> tuple[float, float] | None:
    """The two scores of a review's first line, by LLaVA's rule; None where it has not just two numbers.

    >>> parse_review("8 10\\nBoth ..."), parse_review("8, 10"), parse_review("8/10")
    ((8.0, 10.0), None, None)
    """
    words = text.split("\n")[0].replace(",", " ").split(" ")
    if len(words) != TIMES:
        return None
    try:
        first, second = float(words[0]), float(words[1])
    except ValueError:
        return None
    return (first, second) if math.isfinite(first) and math.isfinite(second) else None


def relative(pairs: Sequence[tuple[float, float]]) -> float:
    """The second's mean score in per cent of the first's.

    LLaVA's summary (summarize_gpt_review.py) rounds both means to three places before it divides, and prints
    one place: where the ratio lies at the edge, it may print 0.1 less or more.
    """
    first, second = (float(mean) for mean in np.asarray(pairs, dtype=np.float64).mean(axis=0))
    return 100 * second / first if first else 0.0


def llava_bench(inputs: Inputs) -> Result:
    """Relative scores overall and by category; of several review files (runs of the judge) their means.

    Reviews without two readable scores are left out and counted. LLaVA's summary averages them in as -1.
    """
    inputs.need(inputs.reviews[0] if inputs.reviews else None, "reviews")
    asked = None
    if inputs.questions is not None:
        asked = [row_id(row) for row in read(inputs.questions, "question file")]
    if inputs.missing == "wrong":
        raise UsageError(
            "no score stands for a review that was not written",
            where="--missing",
            remedy="say --missing skip, or let the judge go on",
        )
    runs = [_Run(path, asked, skip=inputs.missing == "skip") for path in inputs.reviews]
    kinds = sorted({kind for run in runs for kind in run.pairs if kind != ALL}, key=_place)
    metrics = {
        kind: float(np.mean([run.relative(kind) for run in runs if kind in run.pairs]))
        for kind in (ALL, *kinds)
    }
    intervals = {kind: _interval(runs, kind) for kind in metrics}
    groups = {kind: Group(_size(runs, kind), {"relative": metrics[kind]}, intervals[kind]) for kind in kinds}
    if len(runs) > 1:
        for number, run in enumerate(runs, 1):
            own = {"relative": run.relative(ALL)}
            groups[f"run {number}"] = Group(len(run.pairs[ALL]), own, _interval([run], ALL))
    counts = {
        "unparsed": sum(len(run.unread) for run in runs),
        "scores_not_in_words": sum(run.differing for run in runs),
    }
    return Result(
        "llava-bench",
        _size(runs, ALL),
        metrics,
        intervals,
        groups,
        counts,
        tuple(_notes(runs, whole=asked is not None)),
        _items(runs),
    )


def _place(kind: str) -> tuple[int, str]:
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), kind)


def _size(runs: Sequence[_Run], kind: str) -> int:
    """Questions with readable scores in any run."""
    return len({name for run in runs for name in run.pairs.get(kind, ())})


def _notes(runs: Sequence[_Run], *, whole: bool) -> list[str]:
    notes = [f"figures are means of {len(runs)} runs of the judge"] if len(runs) > 1 else []
    if not whole and any(run.n != QUESTIONS for run in runs):
        sizes = ", ".join(f"{run.n}" for run in runs)
        notes.append(f"LLaVA-Bench (in the wild) has {QUESTIONS} questions; these reviews have {sizes}")
    return notes


class _Run:
    """One file of reviews: pairs of scores by category and question, and what could not be read.

    Attributes:
        pairs: by category, ``ALL`` being one; by question.
        unread: questions whose review has no two scores.
        said: the words of the first of them, in quotes.
        differing: reviews whose words say other scores than were written down, or none.
        n: reviews.
    """

    def __init__(self, path: Path, asked: Iterable[str] | None, *, skip: bool) -> None:
        self.pairs: dict[str, dict[str, tuple[float, float]]] = {ALL: {}}
        self.items: list[Item] = []
        self.unread: list[str] = []
        self.said = ""
        self.differing = 0
        seen: dict[str, str] = {}
        check_own(path, REVIEWS)
        for row in read(path, "review file"):
            name = row_id(row)
            if name in seen:
                raise DataError(
                    f"question {name} is reviewed twice, before in {seen[name]}",
                    where=row.where,
                    remedy="keep one review of each question; give runs of the judge as files of their own",
                )
            seen[name] = row.where
            self._add(name, row)
        self.n = len(seen)
        if not self.pairs[ALL]:
            raise DataError(
                f"no review can be read: to question {self.unread[0]} the judge said {self.said}",
                where=str(path),
                remedy="take another judge, or check that it is the right file",
            )
        if asked is not None:
            _check(seen, list(asked), path, skip=skip)

    def relative(self, kind: str) -> float:
        """The relative score of a category."""
        return relative(list(self.pairs[kind].values()))

    def _add(self, name: str, row: Row) -> None:
        pair = scores_of(row)
        kind = str(row.value.get("category", "")).removeprefix(PREFIX)
        words = next((row.value[key] for key in WORDS if isinstance(row.value.get(key), str)), None)
        if pair is None:
            self.said = self.said or quoted(words or "")
            self.unread.append(name)
            return
        self.differing += words is not None and parse_review(words) != pair
        self.pairs[ALL][name] = pair
        if kind:
            self.pairs.setdefault(kind, {})[name] = pair
        self.items.append(Item(name, f"{pair[0]:g} {pair[1]:g}", pair[1] / 10, (kind,) if kind else ()))


def scores_of(row: Row) -> tuple[float, float] | None:
    """The scores of a review: ``tuple`` or ``score`` as its tool wrote them, else parsed from its words.

    Raises:
        DataError: what is written is not two numbers, or there is nothing to parse.
    """
    for key in ("tuple", "score"):
        if key in row.value:
            pair = row.value[key]
            if not isinstance(pair, list) or len(pair) != TIMES or not all(map(is_number, pair)):
                raise DataError(f"{key} is {pair!r}", where=row.where, remedy="it is two numbers: [8, 10]")
            found = (float(pair[0]), float(pair[1]))
            return None if found == UNREAD else found
    for key in WORDS:
        if isinstance(row.value.get(key), str):
            return parse_review(row.value[key])
    raise DataError(
        "the review has neither scores nor words", where=row.where, remedy="give it a tuple: [8, 10]"
    )


def _check(seen: dict[str, str], asked: list[str], path: Path, *, skip: bool) -> None:
    """Refuse reviews of other questions, and questions without a review unless these are skipped."""
    known = set(asked)
    unknown = [name for name in seen if name not in known]
    if unknown:
        raise DataError(
            f"{counted(len(unknown), 'review')} of no question: {names(unknown)}",
            where=seen[unknown[0]],
            remedy="check that reviews and questions are of the same bench",
        )
    absent = [name for name in asked if name not in seen]
    if absent and not skip:
        raise DataError(
            f"{len(absent)} of {len(asked)} questions have no review: {names(absent)}",
            where=str(path),
            remedy="let the judge go on, or say --missing skip to leave them out",
        )


def _interval(runs: Sequence[_Run], kind: str) -> tuple[float, float]:
    """Of the mean over runs. A question is drawn with its scores in all, 0 and 0 where one lacks it."""
    kept = [run.pairs[kind] for run in runs if kind in run.pairs]
    questions = list(dict.fromkeys(name for pairs in kept for name in pairs))
    scores_N2R = np.asarray([[pairs.get(name, (0.0, 0.0)) for pairs in kept] for name in questions])
    means_S2R = resample(scores_N2R.reshape(len(questions), -1))
    return ends(mean_of_runs(means_S2R))


def mean_of_runs(means_S2R: Floats) -> Floats:
    """The relative score as the mean over runs of the judge, ``(S,)``, from the mean scores of each run."""
    first_SR, second_SR = means_S2R[:, 0::2], means_S2R[:, 1::2]
    ratios_SR = np.divide(second_SR, first_SR, out=np.zeros_like(first_SR), where=first_SR > 0)
    return np.asarray(100 * ratios_SR.mean(axis=1))


def _items(runs: Sequence[_Run]) -> tuple[Item, ...]:
    """Each question with its scores in all runs, "8 10; 8 9"; "-" stands for a run that has none of it."""
    kinds = {item.id: item.groups for run in runs for item in run.items}
    items = []
    for name, groups in kinds.items():
        pairs = [run.pairs[ALL].get(name) for run in runs]
        said = [NONE if pair is None else f"{pair[0]:g} {pair[1]:g}" for pair in pairs]
        worth = [pair[1] / 10 for pair in pairs if pair is not None]
        items.append(Item(name, "; ".join(said), float(np.mean(worth)), groups))
    return tuple(items)


def scores_in_runs(parsed: str) -> list[float]:
    """The scores of an ``Item``, run after run, the reference's first; 0 and 0 for a run without.

    >>> scores_in_runs("8 10; -")
    [8.0, 10.0, 0.0, 0.0]
    """
    pairs = [
        [0.0, 0.0] if each == NONE else [float(word) for word in each.split()] for each in parsed.split("; ")
    ]
    return [score for pair in pairs for score in pair]
