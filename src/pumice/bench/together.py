"""Many questions at once beside one at a time, on the same engine: requests a second, and first tokens.

Legend: a way is how requests come (``one``, ``together``), a kind what they show: a picture each (``image``),
all of a round the same one (``shared``), nothing (``text``), or every other one a picture (``mixed``).
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from pumice.bench.asked import Question, question
from pumice.bench.weights import load_as
from pumice.infer.engine import Delta, Engine, Event, Finished, Limits

Kind = Literal["image", "shared", "mixed", "text"]
KINDS: tuple[Kind, ...] = ("image", "shared", "mixed", "text")
Way = Literal["one", "together"]
WAYS: tuple[Way, ...] = ("one", "together")
GOAL = 4.0
"""How many times the requests a second of one at a time 16 image requests together mean to reach."""

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured.

    Attributes:
        weights: of ``bench.weights.WEIGHTS``.
        requests: that come at once.
        alone: how many of them are asked one after another; their time stands for all.
        tokens: of an answer.
        rounds: how often, in turn.
        threads: of torch.
        seconds: for all rounds together; None sets no bound. Kinds share them, and each has one round at
            least.
    """

    weights: str = "bfloat16"
    requests: int = 16
    alone: int = 4
    tokens: int = 128
    rounds: int = 3
    threads: int = 2
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What came of requests of one kind in one way, a median over the rounds where not told otherwise.

    Attributes:
        kind, way: see above.
        requests: of a round.
        lost: of all rounds: that ended otherwise than by their length.
        rate: requests a second.
        token_rate: answered tokens a second.
        first_p50, first_p95: seconds to the first token, over all rounds.
        rounds: that were measured.
        ratio: of ``rate`` to that of one at a time.
    """

    kind: Kind
    way: Way
    requests: int
    lost: int
    rate: float
    token_rate: float
    first_p50: float
    first_p95: float
    rounds: int = 1
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class _Round:
    seconds: float
    firsts: tuple[float, ...]
    tokens: int
    lost: int


def bench_together(
    folder: Path,
    kinds: Sequence[Kind],
    settings: Settings,
    tell: Tell,
    *,
    expect: Callable[[float, float], None] = lambda one, whole: None,
    keep: Callable[[list[Load]], None] = lambda loads: None,
) -> list[Load]:
    """Measure an engine of a model, one kind after another.

    Args:
        folder: of the model.
        kinds: which requests.
        settings: how many.
        tell: told of progress.
        expect: told before the first round how many seconds one request alone took, and how many the rounds
            will take at most.
        keep: given the figures of a kind as soon as it is measured.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    engine = make_engine(folder, settings)
    engine.start()
    try:
        return _Measuring(engine, kinds, settings, tell).run(expect, keep)
    finally:
        engine.close(drain=False)
        torch.set_num_threads(before)


def make_engine(folder: Path, settings: Settings) -> Engine:
    """An engine with room for all requests at once, as ``pumice serve`` makes one."""
    made = load_as(folder, settings.weights)
    return Engine(*made, limits=Limits(running=settings.requests))


class _Measuring:
    """All rounds; ``seed`` counts questions, so that none comes twice."""

    def __init__(self, engine: Engine, kinds: Sequence[Kind], settings: Settings, tell: Tell) -> None:
        self.engine, self.kinds, self.settings, self.tell = engine, kinds, settings, tell
        self.seed = 0
        self.done = 0

    @property
    def total(self) -> int:
        """Of steps that are told."""
        return len(self.kinds) * len(WAYS) * self.settings.rounds

    def run(self, expect: Callable[[float, float], None], keep: Callable[[list[Load]], None]) -> list[Load]:
        """All kinds."""
        self.tell("warming up", 0, self.total)
        _ask(self.engine, [question(10**6 + n, 2, picture=n > 0) for n in range(2)], at_once=True)
        one = _ask(self.engine, [question(10**6 + 2, self.settings.tokens)], at_once=True).seconds
        each = one * (self.settings.alone + self.settings.requests)
        whole = each * self.settings.rounds * len(self.kinds)
        bound = self.settings.seconds
        expect(one, whole if bound is None else min(whole, max(bound, each * len(self.kinds))))
        found = []
        for kind in self.kinds:
            loads = self._kind(kind)
            keep(loads)
            found += loads
        self.tell("measured", self.total, self.total)
        return found

    def _kind(self, kind: Kind) -> list[Load]:
        settings = self.settings
        counts = {"one": settings.alone, "together": settings.requests}
        share = None if settings.seconds is None else settings.seconds / len(self.kinds)
        began = time.perf_counter()
        rounds: dict[Way, list[_Round]] = {way: [] for way in WAYS}
        for turn in range(settings.rounds):
            taken = time.perf_counter() - began
            if turn and share is not None and taken * (turn + 1) / turn > share:
                self.done += len(WAYS) * (settings.rounds - turn)
                break
            for way in WAYS:
                self.tell(f"{kind}, {way}, round {turn + 1}", self.done, self.total)
                asked = _questions(kind, self.seed, counts[way], settings.tokens)
                self.seed += counts[way]
                rounds[way].append(_ask(self.engine, asked, at_once=way == "together"))
                self.done += 1
        alone, together = (_load(kind, way, counts[way], rounds[way]) for way in WAYS)
        return [alone, replace(together, ratio=together.rate / alone.rate if alone.rate else None)]


def _questions(kind: Kind, seed: int, count: int, tokens: int) -> list[Question]:
    """Questions that nobody asked before."""
    shown = [kind in ("image", "shared") or (kind == "mixed" and n % 2 == 0) for n in range(count)]
    found = [question(seed + n, tokens, picture=shows) for n, shows in enumerate(shown)]
    if kind == "shared":
        return [Question(one.text, found[0].picture, tokens) for one in found]
    return found


class _Asked:
    """One request under way, as its reader sees it."""

    def __init__(self, tokens: int) -> None:
        self.begun = time.perf_counter()
        self.first: float | None = None
        self.tokens = 0
        self.wanted = tokens
        self.ended = threading.Event()
        self.lost = False

    def see(self, event: Event) -> None:
        if isinstance(event, Delta):
            if self.first is None:
                self.first = time.perf_counter() - self.begun
            self.tokens += len(event.token_ids)
        elif isinstance(event, Finished):
            self.lost = event.reason != "length" or self.tokens != self.wanted
            self.ended.set()


def _ask(engine: Engine, asked: Sequence[Question], *, at_once: bool) -> _Round:
    began = time.perf_counter()
    all_: list[_Asked] = []
    for one in asked:
        all_.append(_Asked(one.tokens))
        engine.submit(one.request(), all_[-1].see)
        if not at_once:
            all_[-1].ended.wait()
    for reader in all_:
        reader.ended.wait()
    seconds = time.perf_counter() - began
    firsts = tuple(reader.first for reader in all_ if reader.first is not None)
    return _Round(seconds, firsts, sum(reader.tokens for reader in all_), sum(reader.lost for reader in all_))


def _load(kind: Kind, way: Way, requests: int, rounds: Sequence[_Round]) -> Load:
    firsts = sorted(first for one in rounds for first in one.firsts)
    return Load(
        kind,
        way,
        requests,
        sum(one.lost for one in rounds),
        statistics.median((requests - one.lost) / one.seconds for one in rounds),
        statistics.median(one.tokens / one.seconds for one in rounds),
        _quantile(firsts, 0.5),
        _quantile(firsts, 0.95),
        len(rounds),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The value that so large a share reaches at most; infinity where there is none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf
