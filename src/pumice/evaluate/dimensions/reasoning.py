"""Accuracy against the number of steps that a question takes, and against what is in the picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pumice.evaluate.dimensions.asked import (
    INTACT,
    Way,
    ask,
    correct,
    fact,
    file_digest,
    predictions,
    read,
    some_of,
)
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.intervals import group, share, slope
from pumice.evaluate.questions import Question
from pumice.evaluate.results import Baseline, Scores
from pumice.evaluate.scorers import normalise

STEPS, OBJECTS = "steps", "objects"


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """Ask, then accuracy by steps, by objects in the picture and by type, and the slope of the first."""
    whole = read(folder, [STEPS])
    questions = some_of(whole, terms.limit, terms.seed)
    raws = ask("reasoning", questions, [Way(INTACT)], subject, out, terms, progress)[INTACT]
    asked = questions.questions
    right = [correct(question, raw) for question, raw in zip(asked, raws, strict=True)]
    keys = [question.image for question in asked]
    steps = [float(fact(question, STEPS)) for question in asked]
    accuracy, own = share(keys, right)
    slant, ends = slope(keys, steps, right)
    metrics = {"accuracy": accuracy, "slope": slant}
    interval = {"accuracy": list(own), "slope": list(ends)}
    if all(OBJECTS in (question.facts or {}) for question in asked):
        objects = [float(fact(question, OBJECTS)) for question in asked]
        metrics["slope_objects"], around = slope(keys, objects, right)
        interval["slope_objects"] = list(around)
    names = [_names(question) for question in asked]
    groups: dict[str, Any] = {}
    for name in sorted({one for each in names for one in each}, key=_place):
        places = [place for place, each in enumerate(names) if name in each]
        value, around = share([keys[p] for p in places], [right[p] for p in places])
        groups[name] = group(len(places), {"accuracy": value}, around)
    levels = len({fact(question, STEPS) for question in asked})
    notes = (
        f"slope: points of accuracy for one more step, least squares over {len(asked)} questions"
        f" of {levels} numbers of steps",
        "slope_objects: the same for one more object in the picture; intervals: bootstrap over pictures",
    )
    return Measured(
        Scores(metrics=metrics, interval=interval, n=len(asked), groups=groups, counts={}, notes=[]),
        len(asked),
        len(whole),
        _chance(asked),
        notes,
        predictions(questions, raws, right, [each[0] for each in names]),
    )


def _names(question: Question) -> list[str]:
    facts = question.facts or {}
    found = [f"{facts[STEPS]} steps" if facts[STEPS] != 1 else "1 step"]
    if OBJECTS in facts:
        found.append(f"{facts[OBJECTS]} objects" if facts[OBJECTS] != 1 else "1 object")
    return [*found, question.type]


def _place(name: str) -> tuple[int, int, str]:
    number, _, word = name.partition(" ")
    if not number.isdecimal():
        return 2, 0, name
    return (0 if word.startswith("step") else 1), int(number), name


def _chance(asked: tuple[Question, ...]) -> Baseline:
    """The commonest answer of each type."""
    counts: dict[str, Counter[str]] = {}
    for question in asked:
        counts.setdefault(question.type, Counter())[normalise(question.answer)] += 1
    hits = sum(max(each.values()) for each in counts.values())
    scores = Scores(
        metrics={"accuracy": 100 * hits / len(asked)},
        interval={},
        n=len(asked),
        groups={},
        counts={},
        notes=[],
    )
    return Baseline(how="the commonest answer of each type", scores=scores, uniform=None)


REASONING = Dimension(
    "reasoning",
    "Reasoning by complexity",
    "Accuracy by the number of steps a question takes, and what one more step costs.",
    "reasoning",
    ('questions.jsonl: rows of docs/data.md with "facts": {"steps": 3, "objects": 4}',),
    measure,
    lambda subject, folder: file_digest(folder),
)
