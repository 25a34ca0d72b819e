"""Having many things judged: asked at once, read, and asked again where a reply cannot be read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pumice.endpoint.cache import Cache, key_of
from pumice.endpoint.client import Endpoint
from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request

Score = TypeVar("Score")
Progress = Callable[[str, int, int], None]
"""Told which judge is at work, and how many of how many judgements stand."""

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.S)


@dataclass(frozen=True)
class Case(Generic[Score]):
    """One thing to be judged.

    Attributes:
        id: the question's.
        run: which run of the judge, from 0.
        request: what to ask at an attempt, from 0.
        parse: the score in a reply; None where it cannot be read.
        label: what else tells it from others of its question and run: the order of answers.
    """

    id: str
    run: int
    request: Callable[[int], Request]
    parse: Callable[[str], Score | None]
    label: str = ""


@dataclass(frozen=True)
class Judgement(Generic[Score]):
    """What a judge said in the end: ``score`` is None where no attempt could be read."""

    text: str
    score: Score | None
    model: str
    attempts: int


@dataclass
class Account:
    """What a judging took.

    Attributes:
        asked: requests that were sent.
        reused: replies that the cache had.
        models: what the server called the model, and how often.
        tokens: by name, of the requests that were sent.
        unread: the first question without a score, and the last reply to it; None where all have one.
    """

    asked: int = 0
    reused: int = 0
    models: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    unread: tuple[str, str] | None = None


def judge_all(
    cases: Sequence[Case[Score]],
    endpoint: Endpoint,
    cache: Cache,
    *,
    attempts: int,
    progress: Progress | None = None,
) -> tuple[list[Judgement[Score]], Account]:
    """Judge all cases.

    Every attempt is another request (another seed at least), and every reply goes into the cache before it
    is read: a killed judging goes on where it was, and a case that could not be read is not asked for ever.

    Args:
        cases: what to judge.
        endpoint: the judge.
        cache: where replies are looked for and go.
        attempts: how often a case is asked at most.
        progress: told after each reply.

    Returns:
        The judgements in the order of the cases, and what they took.

    Raises:
        EndpointError: the judge could not be asked.
        RunError: another process writes into the cache.
    """
    found: dict[int, Judgement[Score]] = {}
    account = Account()
    waiting = list(range(len(cases)))
    for attempt in range(attempts):
        for place, reply in _replies(cases, waiting, attempt, endpoint, cache, account):
            text = _THOUGHT.sub("", reply.text)
            score = cases[place].parse(text)
            found[place] = Judgement(text, score, reply.model or endpoint.model, attempt + 1)
            if progress is not None:
                standing = sum(one.score is not None or one.attempts == attempts for one in found.values())
                progress(endpoint.model, standing, len(cases))
        waiting = [place for place in waiting if found[place].score is None]
        if not waiting:
            break
    for judgement in found.values():
        account.models[judgement.model] += 1
    if waiting:
        account.unread = cases[waiting[0]].id, found[waiting[0]].text
    return [found[place] for place in range(len(cases))], account


def _replies(
    cases: Sequence[Case[Score]],
    waiting: Sequence[int],
    attempt: int,
    endpoint: Endpoint,
    cache: Cache,
    account: Account,
) -> Iterator[tuple[int, Reply]]:
    """The replies to one attempt at the cases that wait: first those that are there already."""
    unknown: list[int] = []
    if any(cache.get(key_of(endpoint, cases[n].request(attempt), cases[n].run)) is None for n in waiting):
        cache.claim()  # before anything is asked: what comes must be kept
    for place in waiting:
        case = cases[place]
        reply = cache.get(key_of(endpoint, case.request(attempt), case.run))
        if reply is None:
            unknown.append(place)
        else:
            account.reused += 1
            yield place, reply
    requests = (cases[place].request(attempt) for place in unknown)
    for number, reply in endpoint.complete_all(requests) if unknown else ():
        case = cases[unknown[number]]
        key = key_of(endpoint, case.request(attempt), case.run)
        notes = {"question_id": case.id, "run": case.run, "attempt": attempt, "order": case.label}
        cache.put(key, reply, **notes)
        account.asked += 1
        account.tokens.update(reply.usage)
        yield unknown[number], reply
