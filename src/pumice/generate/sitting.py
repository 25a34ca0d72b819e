"""Having all jobs done by teachers: many at once, nothing twice, every reply kept before it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pumice.endpoint.cache import Cache, key_of
from pumice.endpoint.client import Endpoint
from pumice.endpoint.refusal import Refusal
from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request
from pumice.errors import EndpointError
from pumice.generate.budget import BudgetSpent, Meter, size_of, usage_of
from pumice.generate.work import Job, Outcome, Terms, Wish, Work, work

OF_ONE = frozenset({400, 413, 422})
"""Statuses of a refusal that may be about this request alone."""
IN_A_ROW = 20
"""Refusals without a reply between them after which the fault is no longer seen in single requests."""
Progress = Callable[[int, int, Meter], None]
"""Told how many jobs of how many are done."""


@dataclass
class _Live:
    """A job under way."""

    job: Job
    work: Work


class Sitting:
    """One teacher, and all that is asked of it.

    Args:
        terms: how jobs are done.
        endpoints: the teacher, and whoever makes the second pass.
        cache: where replies are looked for and go.
        meter: counts, and says when to stop.
    """

    def __init__(self, terms: Terms, endpoints: Sequence[Endpoint], cache: Cache, meter: Meter) -> None:
        self.terms, self.endpoints, self.cache, self.meter = terms, endpoints, cache, meter
        self.refused: dict[str, str] = {}
        self.spent = False
        self._row_of_refusals = 0

    def key(self, wish: Wish) -> str:
        """The name of a reply in the cache."""
        return key_of(self.endpoints[wish.whom], wish.request, 0)

    def outcome(self, job: Job) -> Outcome | None:
        """What came of a job, from the replies that are there; None where one is missing."""
        under_way = work(job, self.terms)
        reply: Reply | None = None
        try:
            while True:
                wish = next(under_way) if reply is None else under_way.send(reply)
                reply = self.cache.get(self.key(wish))
                if reply is None:
                    return None
        except StopIteration as end:
            found: Outcome = end.value
            return found

    def ask(self, jobs: Iterable[Job], total: int, whom: int = 0, progress: Progress | None = None) -> None:
        """Ask one of the teachers all that jobs want of it and that is not in the cache.

        Where the budget is spent it ends early, and ``spent`` is true.

        Args:
            jobs: all of them, in any order.
            total: how many.
            whom: 0 the teacher, 1 whoever makes the second pass.
            progress: told after each job.

        Raises:
            EndpointError: the server could not be asked. What it said is kept.
            RunError: another process writes into the cache.
        """
        self.cache.claim()
        sweep = _Sweep(self, iter(jobs), total, whom, progress)
        try:
            for number, reply in self.endpoints[whom].complete_all(sweep.requests(), sweep.refuse):
                self._row_of_refusals = 0
                sweep.take(number, reply)
        except BudgetSpent:
            self.spent = True


class _Sweep:
    def __init__(
        self, sitting: Sitting, jobs: Iterator[Job], total: int, whom: int, progress: Progress | None
    ) -> None:
        self._sitting, self._jobs, self._total, self._whom = sitting, jobs, total, whom
        self._progress = progress
        self._done = 0
        self._ready: deque[tuple[_Live, Wish]] = deque()
        self._asked: list[tuple[str, Wish]] = []
        self._waiting: dict[str, list[_Live]] = {}

    def requests(self) -> Iterator[Request | None]:
        """What is to be sent, each once; None while all that is left waits for replies."""
        while True:
            found = self._ready.popleft() if self._ready else self._next_job()
            if found is None:
                if not self._waiting and not self._ready:
                    return
                yield None
                continue
            live, wish = found
            key = self._sitting.key(wish)
            if key in self._waiting:  # another job asks the same
                self._waiting[key].append(live)
                continue
            if (known := self._sitting.cache.get(key)) is not None:
                self._go_on(live, known)
                continue
            while not self._sitting.meter.reserve(key, wish.request):
                if not self._waiting:
                    self._sitting.spent = True
                    return
                yield None
            self._waiting[key] = [live]
            self._asked.append((key, wish))
            yield wish.request

    def take(self, number: int, reply: Reply) -> None:
        """A reply: kept first, then read."""
        key, wish = self._asked[number]
        job = self._waiting[key][0].job
        if "completion_tokens" not in reply.usage:  # a guess, so that a later sitting knows what was spent
            reply = replace(reply, usage=dict(usage_of(reply, size_of(wish.request))))
        self._sitting.cache.put(key, reply, job=job.id, attempt=wish.attempt, whom=wish.whom)
        self._sitting.meter.settle(key, reply)
        for live in self._waiting.pop(key):
            self._go_on(live, reply)

    def refuse(self, number: int, error: EndpointError) -> bool:
        """A request that was refused for good: whether the others go on."""
        key, _ = self._asked[number]
        self._sitting.meter.settle(key, None)
        self._sitting._row_of_refusals += 1
        jobs = [live.job for live in self._waiting.pop(key)]
        cause = error.__cause__
        if not isinstance(cause, Refusal) or cause.status not in OF_ONE:
            return False
        for job in jobs:
            self._sitting.refused[job.id] = error.what
            self._count()
        return self._sitting._row_of_refusals < IN_A_ROW

    def _next_job(self) -> tuple[_Live, Wish] | None:
        for job in self._jobs:
            live = _Live(job, work(job, self._sitting.terms))
            self._go_on(live, None)
            if self._ready:
                return self._ready.popleft()
        return None

    def _go_on(self, live: _Live, reply: Reply | None) -> None:
        """Give a job its reply, and those that are in the cache, until it asks for a new one or is done."""
        try:
            wish = next(live.work) if reply is None else live.work.send(reply)
            while (known := self._sitting.cache.get(self._sitting.key(wish))) is not None:
                wish = live.work.send(known)
        except StopIteration:
            self._count()
            return
        if wish.whom == self._whom:
            self._ready.append((live, wish))
        else:
            self._count()

    def _count(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total, self._sitting.meter)
