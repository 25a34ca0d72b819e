"""What calls that answer share: models, limits, pictures, metrics, and the way from a body to a flow."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import PIL.Image
from pydantic import BaseModel, ValidationError

from pumice.serve.backend import Ask, Piece, Stage
from pumice.serve.call import Call, parse
from pumice.serve.content import Source
from pumice.serve.failure import Failure, failure_of
from pumice.serve.fetch import Fetcher
from pumice.serve.filtering import MakeFilter
from pumice.serve.flow import Ended, Flow
from pumice.serve.limits import Limits
from pumice.serve.log import RequestLog, content_of
from pumice.serve.metrics import Metrics
from pumice.serve.models import Models, Served
from pumice.serve.pictures import Held, PixelBudget, base64_of, data_of, decode, is_data

PING_SECONDS = 5.0
"""How long a stream may be silent before a comment says that the server is still there."""
SEEDS = 2**64

Event = Piece | Ended | Stage | None
"""What a stream is told; None is that nothing came for a while."""
B = TypeVar("B", bound=BaseModel)


class Service:
    """The parts of one server that its routes share.

    Args:
        models: what answers.
        limits: how much a call may ask for.
        log: where calls are written down.
        fetcher: fetches pictures from addresses; None refuses them.
        make_filter: makes the output filter of each answer; None lets all text pass.
        decoders: how many pictures are decoded at once.
        ping_seconds: as ``PING_SECONDS``.
    """

    def __init__(
        self,
        models: Models,
        limits: Limits,
        log: RequestLog,
        *,
        fetcher: Fetcher | None = None,
        make_filter: MakeFilter | None = None,
        decoders: int = 2,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self.models, self.limits, self.log = models, limits, log
        self.fetcher, self.make_filter, self.ping_seconds = fetcher, make_filter, ping_seconds
        self.metrics = Metrics()
        self.budget = PixelBudget(limits.pixels_held)
        self.open = 0
        self.draining = False
        self._endings: set[Callable[[], None]] = set()
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="pumice-decode")
        self._fetchers = ThreadPoolExecutor(8, thread_name_prefix="pumice-fetch")

    @property
    def standing(self) -> str:
        """What ``/health`` says: ok, loading, or draining."""
        return "draining" if self.draining else "ok" if self.models.started else "loading"

    def ends_by(self, call: Call, end: Callable[[], None]) -> None:
        """Have ``end`` called where the server cannot wait for a call: it makes the call fail with 503."""
        self._endings.add(end)
        call.stack.callback(self._endings.discard, end)

    def end_all(self) -> None:
        """End all calls under way that can be ended."""
        for end in list(self._endings):
            end()

    def seed(self, given: int | None) -> int:
        """A request's seed, or one drawn for it."""
        return secrets.randbits(63) if given is None else given % SEEDS

    def new_tokens(self, given: int | None) -> int:
        """The longest answer: what was asked for, at most the limit."""
        return min(self.limits.default_new_tokens if given is None else given, self.limits.new_tokens)

    async def pictures(self, call: Call, sources: Sequence[Source]) -> tuple[PIL.Image.Image, ...]:
        """The pictures of a call, fetched and decoded; their room is given back when the call ends.

        Raises:
            Failure: a picture that cannot be used, by its number.
        """
        if not sources:
            return ()
        held = Held(self.budget)
        call.stack.callback(held.give_back)
        loop = asyncio.get_running_loop()
        images: list[PIL.Image.Image] = []
        for number, source in enumerate(sources, start=1):
            fetched = await self._fetched(source)
            images.append(
                await loop.run_in_executor(self._decoders, self._decoded, fetched, source, number, held)
            )
        self.metrics.add("pumice_images_total", len(images))
        call.log["images"] = len(images)
        return tuple(images)

    async def _fetched(self, source: Source) -> bytes | None:
        """The bytes behind an address; None where the source holds them itself."""
        if source.bare or is_data(source.url):
            return None
        if self.fetcher is None:
            raise Failure(
                400,
                "this server fetches no pictures: send data: addresses, or start it with --fetch-images",
                param=source.param,
                code="image_urls_off",
            )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._fetchers, self.fetcher.fetch, source.url, source.param)

    def _decoded(self, fetched: bytes | None, source: Source, number: int, held: Held) -> PIL.Image.Image:
        data = fetched
        if data is None and source.bare and not is_data(source.url):
            data = base64_of(source.url, self.limits, source.param)
        elif data is None:
            data = data_of(source.url, self.limits, source.param)
        return decode(data, number, self.limits, held, source.param)

    async def flow(self, call: Call, served: Served, asks: Sequence[Ask]) -> Flow:
        """Submit asks; the flow and its model are held until the call ends.

        Raises:
            Failure: the model is not there yet, the queue is full, or a request cannot be carried out.
        """
        call.log["model"] = served.name
        call.log["seed"] = asks[0].settings.seed
        if self.log.content:
            call.log["asked"] = [content_of(ask) for ask in asks]
        if len(asks) * asks[0].n > self.limits.answers:
            raise Failure(
                400, f"a call may ask for {self.limits.answers} answers", param="n", code="invalid_value"
            )
        if self.make_filter is not None and asks[0].settings.logprobs is not None:
            raise Failure(
                400, "logprobs are not told by a server that filters its answers", param="logprobs",
                code="unsupported_value",
            )  # fmt: skip
        try:
            backend = await call.stack.enter_async_context(self.models.use(served))
            flow = Flow(backend, asks, self.make_filter, self.metrics, served.name)
            call.stack.callback(lambda: self._note(call, flow))
            self.ends_by(call, flow.give_up)
            return await call.stack.enter_async_context(flow)
        except Exception as error:
            raise failure_of(error) from error

    async def ticked(self, flow: Flow) -> AsyncIterator[Event]:
        """A flow's events, and None whenever there was none for ``ping_seconds``."""
        events = flow.watched()
        coming: asyncio.Task[Piece | Ended | Stage] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(events))
                done, _ = await asyncio.wait({coming}, timeout=self.ping_seconds)
                if not done:
                    yield None
                    continue
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    return
                finally:
                    coming = None
                yield event
        finally:
            if coming is not None:
                coming.cancel()

    async def begun(self, flow: Flow) -> tuple[Event, AsyncIterator[Event]]:
        """The first of a flow's events, and an iterator over the others.

        Until something is sent, an error can still have a status of its own.

        Raises:
            Failure: the flow failed before it said anything.
        """
        events = self.ticked(flow)
        try:
            return await anext(events), events
        except Exception as error:
            raise failure_of(error) from error

    def _note(self, call: Call, flow: Flow) -> None:
        order = sorted(flow.finishes)
        if order:
            call.log["finish"] = [flow.finishes[index] for index in order]
            if self.log.content:
                call.log["answered"] = ["".join(flow.texts.get(index, ())) for index in order]
        call.log["prompt_tokens"], call.log["completion_tokens"] = flow.prompt_tokens, flow.completion_tokens
        if flow.first_token_at is not None:
            call.log["first_token_ms"] = round(1000 * (flow.first_token_at - call.started))

    def close(self) -> None:
        """Let go of threads and the log."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self.log.close()


def read(body: bytes, kind: type[B]) -> B:
    """A body as one of the schemas.

    Raises:
        Failure: 400, naming the member that is wrong.
    """
    try:
        return kind.model_validate(parse(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = _place(first["loc"])
        raise Failure(
            400, f"{place or 'the request'}: {first['msg']}", param=place or None, code="invalid_value"
        ) from error


def _place(parts: tuple[Any, ...]) -> str:
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif str(part).isidentifier():  # the names of alternatives are for programmers
            place += f".{part}" if place else str(part)
    return place


def elapsed_ns(since: float) -> int:
    """Nanoseconds since a time of the clock that never goes back."""
    return round(1e9 * (time.monotonic() - since))
