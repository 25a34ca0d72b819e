"""The scores file: its layout as types, and how it follows from the predictions.

All proportions are 0..1. ``low`` and ``high`` are the ends of a 95% interval: Wilson's for
accuracies, bootstrap of F1 for POPE.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from pumice.errors import DataError
from pumice.evaluate.questions import SETTINGS, Question, QuestionSet
from pumice.evaluate.scorers import exact_match, normalise
from pumice.evaluate.statistics import chance, f1_interval, guess_floor, mcnemar, mode_floor, wilson
from pumice.score.pope import pope_score

TITLES = {"wrong-image": "wrong image"}
ORDER = ("aligned", "blind", "wrong-image")


class Proportion(TypedDict):
    """A share of ``n`` questions with its interval."""

    value: float
    n: int
    low: float
    high: float


class Pope(TypedDict):
    """POPE's five figures; ``low`` and ``high`` belong to ``f1``."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float
    n: int
    low: float
    high: float


class VariantScores(TypedDict):
    """One variant. ``pope`` holds a setting each, and "overall" when there are several."""

    model: str
    overall: Proportion
    by_type: dict[str, Proportion]
    pope: dict[str, Pope]


class Floor(TypedDict):
    """What a type's accuracy is worth without sight of it.

    ``chance``: always the type's commonest answer. ``guess`` and ``mode``: see ``guess_floor`` and
    ``mode_floor``, over the ``n_present`` questions that list what is present (None without any).
    ``present``: the larger of the two. ``floor``: the largest of all.
    """

    chance: float
    guess: float | None
    mode: float | None
    present: float | None
    floor: float
    n: int
    n_present: int


class Paired(TypedDict):
    """The first variant against another on the same questions (McNemar's exact test)."""

    a: str
    b: str
    n: int
    only_a: int
    only_b: int
    difference: float
    p: float


class Scores(TypedDict):
    """eval/scores.json. The first variant is the one that is measured, the others stand beside it."""

    questions: int
    pictures: int
    digest: str
    image_root: str
    variants: dict[str, VariantScores]
    floors: dict[str, Floor]
    floor_overall: float
    paired: dict[str, Paired]


def columns(scores: Scores) -> tuple[str, list[str]]:
    """The measured variant, and the others in the order of our tables."""
    main, *others = scores["variants"]
    known = [name for name in ORDER if name in others]
    return main, known + [name for name in others if name not in known]


def variant_title(variant: str) -> str:
    """How a variant is called above its column."""
    return TITLES.get(variant, variant)


def judge(question: Question, raw: str) -> tuple[str, bool]:
    """What an answer was read as, and whether that is right: exact match for every question.

    POPE's rule takes anything that is no "no" for a yes, an empty answer too; it is used in POPE's own
    table alone, whose figures must compare with published ones.
    """
    return normalise(raw), exact_match(raw, question.answer)


def score(questions: QuestionSet, answers: Mapping[str, Sequence[str]], models: Mapping[str, str]) -> Scores:
    """Scores of all variants.

    Args:
        questions: what was asked.
        answers: per variant, the raw answers in the order of the questions; the main variant first.
        models: per variant, which model answered.
    """
    asked = questions.questions
    correct = {
        name: [judge(q, raw)[1] for q, raw in zip(asked, raws, strict=True)] for name, raws in answers.items()
    }
    floors = _floors(asked)
    first, *others = answers
    return Scores(
        questions=len(asked),
        pictures=len({question.image for question in asked if question.image is not None}),
        digest=questions.digest,
        image_root=str(questions.image_root.resolve()),
        variants={
            name: VariantScores(
                model=models[name],
                overall=_proportion(correct[name]),
                by_type=_by_type(asked, correct[name]),
                pope=_pope(asked, answers[name]),
            )
            for name in answers
        },
        floors=floors,
        floor_overall=sum(floor["floor"] * floor["n"] for floor in floors.values()) / len(asked),
        paired={f"{first} vs {other}": _paired(first, other, correct) for other in others},
    )


def read_scores(path: Path) -> Scores:
    """Reads a scores file.

    Raises:
        DataError: it is missing, not JSON or not a scores file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the scores cannot be read ({error})", where=str(path), remedy="run the evaluation again"
        ) from error
    missing = (
        Scores.__required_keys__ - set(content) if isinstance(content, dict) else Scores.__required_keys__
    )
    if missing:
        raise DataError(
            f"the scores lack {', '.join(sorted(missing))}",
            where=str(path),
            remedy="run the evaluation again",
        )
    return cast(Scores, content)


def _proportion(correct: Sequence[bool]) -> Proportion:
    hits = sum(correct)
    low, high = wilson(hits, len(correct))
    return Proportion(value=hits / len(correct), n=len(correct), low=low, high=high)


def _types(asked: Sequence[Question]) -> dict[str, list[int]]:
    """Places of each type's questions; types in alphabetical order, so that files compare."""
    places: dict[str, list[int]] = {kind: [] for kind in sorted({question.type for question in asked})}
    for place, question in enumerate(asked):
        places[question.type].append(place)
    return places


def _by_type(asked: Sequence[Question], correct: Sequence[bool]) -> dict[str, Proportion]:
    return {kind: _proportion([correct[i] for i in places]) for kind, places in _types(asked).items()}


def _pope(asked: Sequence[Question], raws: Sequence[str]) -> dict[str, Pope]:
    result: dict[str, Pope] = {}
    pairs = [(q, raw) for q, raw in zip(asked, raws, strict=True) if q.setting is not None]
    for setting in SETTINGS:
        of_setting = [(q, raw) for q, raw in pairs if q.setting == setting]
        if of_setting:
            result[setting] = _pope_figures(of_setting)
    if len(result) > 1:
        result["overall"] = _pope_figures(pairs)
    return result


def _pope_figures(pairs: Sequence[tuple[Question, str]]) -> Pope:
    counted = pope_score([raw for _, raw in pairs], [question.answer for question, _ in pairs])
    low, high = f1_interval(counted)
    return Pope(
        accuracy=counted.accuracy,
        precision=counted.precision,
        recall=counted.recall,
        f1=counted.f1,
        yes_ratio=counted.yes_ratio,
        n=counted.n,
        low=low,
        high=high,
    )


def _floors(asked: Sequence[Question]) -> dict[str, Floor]:
    floors: dict[str, Floor] = {}
    for kind, places in _types(asked).items():
        of_kind = [asked[i] for i in places]
        listed = [(q.present, q.answer) for q in of_kind if q.present is not None]
        guess = _mean([guess_floor(present, answer) for present, answer in listed])
        mode = _mean([mode_floor(present, answer) for present, answer in listed])
        present = None if guess is None or mode is None else max(guess, mode)
        majority = chance([question.answer for question in of_kind])
        floors[kind] = Floor(
            chance=majority,
            guess=guess,
            mode=mode,
            present=present,
            floor=max(majority, present or 0.0),
            n=len(of_kind),
            n_present=len(listed),
        )
    return floors


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _paired(a: str, b: str, correct: Mapping[str, Sequence[bool]]) -> Paired:
    test = mcnemar(correct[a], correct[b])
    return Paired(
        a=a, b=b, n=test.n, only_a=test.only_a, only_b=test.only_b, difference=test.difference, p=test.p
    )


def prediction_row(question: Question, variant: str, raw: str) -> dict[str, Any]:
    """A row of a prediction file: the question's fields, then what was said and what it is worth."""
    parsed, correct = judge(question, raw)
    return question.fields() | {"variant": variant, "raw": raw, "parsed": parsed, "correct": correct}
