"""The answers of one call: asks go to the backend, events come back to the event loop, filtered."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from pumice.serve.backend import Ask, Backend, Done, Event, Piece, Running, Stage, Usage
from pumice.serve.failure import Failure, failure_of
from pumice.serve.filtering import MakeFilter, OutputFilter, Withheld
from pumice.serve.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Ended:
    """Answer number ``index`` ended, with OpenAI's word for why: ``stop``, ``length``, ``content_filter``."""

    index: int
    finish: str
    usage: Usage


class Flow:
    """The answers to some asks as one stream; answer k of ask j has the index ``j * n + k``.

    It is entered to submit them. Leaving it gives up whatever still runs, so a client that disconnects
    (which cancels the task inside) frees its places at once.

    Args:
        backend: what answers.
        asks: at least one; all have the same ``n``.
        make_filter: makes the filter of each answer; None lets all text pass.
        metrics: where tokens and times are counted.
        model: the model's name there.

    Attributes:
        finishes: why answers ended, by index, so far.
        texts: what clients were given, by index, for the log.
    """

    def __init__(
        self,
        backend: Backend,
        asks: Sequence[Ask],
        make_filter: MakeFilter | None,
        metrics: Metrics,
        model: str,
    ) -> None:
        self._backend, self._asks, self._metrics, self._model = backend, asks, metrics, model
        self._n = asks[0].n
        self._filters = [None if make_filter is None else make_filter() for _ in range(len(asks) * self._n)]
        self._left = set(range(len(self._filters)))
        self._withheld: set[int] = set()
        self._prompts: dict[int, Usage] = {}
        self._running: list[Running] = []
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._given_up = False
        self.completion_tokens = 0
        self.first_token_at: float | None = None
        self.finishes: dict[int, str] = {}
        self.texts: dict[int, list[str]] = {}

    async def __aenter__(self) -> Flow:
        loop = asyncio.get_running_loop()
        for number, ask in enumerate(self._asks):
            emit = partial(self._emit, loop, number * self._n)
            try:
                # Rendering a prompt takes its time, and the loop has other clients.
                submitting = asyncio.ensure_future(self._submit(loop, ask, emit))
                submitting.add_done_callback(_noticed)
                await asyncio.shield(submitting)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    self._count_aborted()
                self.give_up()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._left:
            self._count_aborted()
            self.give_up()

    def _count_aborted(self) -> None:
        self._metrics.add("pumice_aborted_total", len(self._left), model=self._model)

    def give_up(self) -> None:
        """Abort all that runs, and what is being submitted as soon as it is."""
        self._given_up = True
        for running in self._running:
            running.abort()

    @property
    def prompt_tokens(self) -> int:
        """Of all asks, each counted once."""
        return sum(usage.prompt_tokens for usage in self._prompts.values())

    @property
    def cached_tokens(self) -> int:
        """Of all asks, each counted once."""
        return sum(usage.cached_tokens for usage in self._prompts.values())

    @property
    def timings(self) -> dict[str, float] | None:
        """Seconds of the first ask, by name, where it is watched and has begun to answer."""
        if not self._asks[0].watch or 0 not in self._prompts:
            return None
        usage = self._prompts[0]
        return {
            "queue_seconds": round(usage.queue_seconds, 4),
            "image_seconds": round(usage.image_seconds, 4),
            "first_token_seconds": round(usage.first_token_seconds, 4),
        }

    async def events(self) -> AsyncIterator[Piece | Ended]:
        """Pieces as they come, and the end of each answer, until all have ended.

        Raises:
            Failure: 400, the request cannot be carried out after all; 500, the backend failed;
                503, it gave the request up because the server stops.
        """
        async for event in self.watched():
            if not isinstance(event, Stage):
                yield event

    async def watched(self) -> AsyncIterator[Piece | Ended | Stage]:
        """The same with the stages of asks that are watched."""
        async for event in self._passed():
            if isinstance(event, Piece):
                self.texts.setdefault(event.index, []).append(event.text)
            elif isinstance(event, Ended):
                self.finishes[event.index] = event.finish
            yield event

    async def _passed(self) -> AsyncIterator[Piece | Ended | Stage]:
        """What the filters let pass."""
        while self._left:
            event = await self._events.get()
            if isinstance(event, Stage):
                yield event
                continue
            if event.index not in self._left:
                continue  # of an answer that a filter ended
            if self.first_token_at is None:
                self.first_token_at = time.monotonic()
            filter_ = self._filters[event.index]
            if isinstance(event, Piece):
                piece, withheld = _through(filter_, event)
                if piece.text or piece.scores:
                    yield piece
                if withheld:
                    self._withheld.add(event.index)
                    self._filters[event.index] = _Nothing()
                    self._abort_if_all_withheld(event.index)
                continue
            for one in self._end(event, filter_):
                yield one

    def _end(self, done: Done, filter_: OutputFilter | None) -> list[Piece | Ended]:
        self._left.discard(done.index)
        self._count(done)
        withheld = done.index in self._withheld
        if not withheld:
            if done.refused is not None:
                raise failure_of(done.refused)
            if done.reason == "error":
                raise Failure(500, "the model failed at this request; the server's log says why")
            if done.reason == "abort":
                raise Failure(503, "the server gave this request up", code="aborted", retry_after=5)
        out: list[Piece | Ended] = []
        if filter_ is not None:
            try:
                if held := filter_.finish():
                    out.append(Piece(done.index, held))
            except Withheld:
                withheld = True
        return [*out, Ended(done.index, "content_filter" if withheld else done.reason, done.usage)]

    def _abort_if_all_withheld(self, index: int) -> None:
        """Stop an ask's computation once a filter has ended each of its answers."""
        ask = index // self._n
        open_ = self._left & set(range(ask * self._n, (ask + 1) * self._n))
        if open_ <= self._withheld:
            self._running[ask].abort()

    def _count(self, done: Done) -> None:
        usage, labels = done.usage, {"model": self._model}
        self.completion_tokens += usage.completion_tokens
        self._metrics.add("pumice_completion_tokens_total", usage.completion_tokens, **labels)
        ask = done.index // self._n
        if ask in self._prompts:
            return
        self._prompts[ask] = usage
        self._metrics.add("pumice_prompt_tokens_total", usage.prompt_tokens, **labels)
        self._metrics.add("pumice_cached_tokens_total", usage.cached_tokens, **labels)
        self._metrics.time("pumice_time_to_first_token_seconds", usage.first_token_seconds, **labels)
        self._metrics.time("pumice_queue_seconds", usage.queue_seconds, **labels)
        if self._asks[ask].images:
            self._metrics.time("pumice_image_encode_seconds", usage.image_seconds, **labels)

    async def _submit(self, loop: asyncio.AbstractEventLoop, ask: Ask, emit: Callable[[Event], None]) -> None:
        running = await loop.run_in_executor(None, self._backend.submit, ask, emit)
        self._running.append(running)
        if self._given_up:  # the client left while it was submitted
            running.abort()

    def _emit(self, loop: asyncio.AbstractEventLoop, base: int, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to tell
            loop.call_soon_threadsafe(self._events.put_nowait, replace(event, index=base + event.index))


def _noticed(submitting: asyncio.Future[None]) -> None:
    """A full queue is no news where its client has left: asyncio would write what nobody asked for."""
    if not submitting.cancelled():
        submitting.exception()


def _through(filter_: OutputFilter | None, piece: Piece) -> tuple[Piece, bool]:
    """A piece as its filter lets it pass, and whether the filter ended the answer."""
    if filter_ is None:
        return piece, False
    try:
        return replace(piece, text=filter_.push(piece.text), scores=()), False
    except Withheld:
        return replace(piece, text="", scores=()), True


class _Nothing:
    """The filter of an answer that was ended: nothing passes."""

    def push(self, text: str) -> str:
        return ""

    def finish(self) -> str:
        return ""
