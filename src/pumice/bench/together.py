"""Many questions at once beside one at a time, on the same engine: requests a second, and first tokens.

Legend: a way is how requests come (``one``, ``together``), a kind what they show: a picture each (``image``),
all of a round the same one (``shared``), nothing (``text``), or every other one a picture (``mixed``).
"""

from __future__ import annotations

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
    """

    weights: str = "bfloat16"
    requests: int = 16
    alone: int = 4
    tokens: int = 128
    rounds: int = 3
    threads: int = 2


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
        ratio: of ``rate`` to that of one at a time.
    """

    kind: Kind
    way: Literal["one", "together"]
    requests: int
    lost: int
    rate: float
    token_rate: float
    first_p50: float
    first_p95: float
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class _Round:
    seconds: float
    firsts: tuple[float, ...]
    tokens: int
    lost: int


def bench_together(folder: Path, kinds: Sequence[Kind], settings: Settings, tell: Tell) -> list[Load]:
    """Measure an engine of a model.

    Args:
        folder: of the model.
        kinds: which requests.
        settings: how many.
        tell: told of progress.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    engine = make_engine(folder, settings)
    engine.start()
    try:
        return _measure(engine, kinds, settings, tell)
    finally:
        engine.close(drain=False)
        torch.set_num_threads(before)


def make_engine(folder: Path, settings: Settings) -> Engine:
    """An engine with room for all requests at once, as ``pumice serve`` makes one."""
    made = load_as(folder, settings.weights)
    return Engine(*made, limits=Limits(running=settings.requests))


def _measure(engine: Engine, kinds: Sequence[Kind], settings: Settings, tell: Tell) -> list[Load]:
    seed = 0
    ways: tuple[tuple[Literal["one", "together"], int], ...] = (
        ("one", settings.alone),
        ("together", settings.requests),
    )
    found: dict[tuple[Kind, Literal["one", "together"]], list[_Round]] = {}
    total, done = len(kinds) * len(ways) * settings.rounds, 0
    tell("warming up", 0, total)
    _ask(engine, [question(10**6 + n, 2, picture=n > 0) for n in range(2)], at_once=True)
    for turn in range(settings.rounds):
        for kind in kinds:
            for way, count in ways:
                tell(f"{kind}, {way}, round {turn + 1}", done, total)
                asked = _questions(kind, seed, count, settings.tokens)
                seed += count
                found.setdefault((kind, way), []).append(_ask(engine, asked, at_once=way == "together"))
                done += 1
    tell("measured", total, total)
    loads = [_load(kind, way, rounds) for (kind, way), rounds in found.items()]
    alone = {one.kind: one.rate for one in loads if one.way == "one"}
    return [replace(one, ratio=one.rate / alone[one.kind]) if one.way == "together" else one for one in loads]


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


def _load(kind: Kind, way: Literal["one", "together"], rounds: Sequence[_Round]) -> Load:
    firsts = sorted(first for one in rounds for first in one.firsts)
    requests = len(rounds[0].firsts) + rounds[0].lost
    return Load(
        kind,
        way,
        requests,
        sum(one.lost for one in rounds),
        statistics.median(requests / one.seconds for one in rounds),
        statistics.median(one.tokens / one.seconds for one in rounds),
        firsts[len(firsts) // 2],
        firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))],
    )
