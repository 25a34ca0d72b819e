"""The same questions about the same scenes as training draws them, and as it never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pumice.errors import DataError
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
from pumice.evaluate.dimensions.intervals import drop, group, share
from pumice.evaluate.questions import QuestionSet
from pumice.evaluate.results import Scores
from pumice.evaluate.statistics import mcnemar

DOMAIN, PAIR, SEEN = "domain", "pair", "seen"


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """Ask in every domain, then accuracy in each, and the drop against the seen one, question by question."""
    whole = read(folder, [DOMAIN])
    questions = some_of(whole, terms.limit, terms.seed, PAIR)
    raws = ask("domain", questions, [Way(INTACT)], subject, out, terms, progress)[INTACT]
    asked = questions.questions
    right = [correct(question, raw) for question, raw in zip(asked, raws, strict=True)]
    places: dict[str, list[int]] = {}
    for place, question in enumerate(asked):
        places.setdefault(str(fact(question, DOMAIN)), []).append(place)
    _check(places, folder)
    unseen = [place for name, own in places.items() if name != SEEN for place in own]
    scenes = [_scene(questions, place) for place in range(len(asked))]

    def of(own: list[int]) -> tuple[float, tuple[float, float]]:
        return share([scenes[p] for p in own], [right[p] for p in own])

    partner = {(fact(asked[p], PAIR)): p for p in places[SEEN] if PAIR in (asked[p].facts or {})}
    twins = {
        name: [(partner[key], p) for p in own if (key := (asked[p].facts or {}).get(PAIR)) in partner]
        for name, own in places.items()
    }
    pairs = [pair for name, own in twins.items() if name != SEEN for pair in own]
    (value, ends), (seen, around) = of(unseen), of(places[SEEN])
    metrics, interval = {"unseen": value, "seen": seen}, {"unseen": list(ends), "seen": list(around)}
    if pairs:
        metrics["drop"], own = _drop(pairs, scenes, right)
        interval["drop"] = list(own)
    groups: dict[str, Any] = {}
    for name in [SEEN, *sorted(set(places) - {SEEN})]:
        value, around = of(places[name])
        figures = {"accuracy": value}
        if name != SEEN and twins[name]:
            test = mcnemar([right[a] for a, _ in twins[name]], [right[b] for _, b in twins[name]])
            figures |= {"drop": _drop(twins[name], scenes, right)[0], "p": test.p}
        groups[name] = group(len(places[name]), figures, around)
    notes = [
        "drop: seen less unseen, of questions that are asked in both; intervals: bootstrap over scenes",
        "p: McNemar's exact test against the seen domain, not corrected for the number of domains",
    ]
    lone = len(unseen) - len(pairs)
    if lone:
        notes.append(f"{lone} questions have no partner in the seen domain and are in no drop")
    return Measured(
        Scores(metrics=metrics, interval=interval, n=len(asked), groups=groups, counts={}, notes=[]),
        len(asked),
        len(whole),
        None,
        tuple(notes),
        predictions(questions, raws, right, [str(fact(question, DOMAIN)) for question in asked]),
    )


def _check(places: dict[str, list[int]], folder: Path) -> None:
    if SEEN not in places or len(places) < 2:
        raise DataError(
            f"the questions are of the domains {', '.join(sorted(places))}",
            where=str(folder),
            remedy=f'there must be {{"domain": "{SEEN}"}} and at least another one',
        )


def _scene(questions: QuestionSet, place: int) -> object:
    """What is resampled: the scene, which all its questions and all its drawings share."""
    question = questions.questions[place]
    pair = (question.facts or {}).get(PAIR)
    return str(pair).rpartition("-")[0] or pair if pair is not None else question.image


def _drop(
    pairs: list[tuple[int, int]], scenes: list[object], right: list[bool]
) -> tuple[float, tuple[float, float]]:
    return drop([scenes[a] for a, _ in pairs], [right[a] for a, _ in pairs], [right[b] for _, b in pairs])


DOMAINS = Dimension(
    "domain",
    "Unseen domains",
    "Accuracy on pictures drawn as no training picture is, and the drop against the same scenes as usual.",
    "domain",
    ('questions.jsonl: rows of docs/data.md with "facts": {"domain": "seen", "pair": "scene-7-0"}',),
    measure,
    lambda subject, folder: file_digest(folder),
)
