"""Asking an OpenAI-compatible server: many requests at once, each until it is answered.

The calls are ``POST /chat/completions`` and ``GET /models`` of OpenAI's API, which vLLM, SGLang, Ollama,
llama.cpp and most gateways serve, too. An event loop in a thread of its own does the waiting, so that
connections go on while a caller writes, and one Ctrl-C cancels all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import httpx2

from pumice.endpoint.address import Address, address_of
from pumice.endpoint.at_work import AtWork
from pumice.endpoint.refusal import Key, Refusal, as_error, refused, refused_inside, trimmed
from pumice.endpoint.reply import Reply, is_reply, reply_of
from pumice.endpoint.request import LENGTHS, Request
from pumice.errors import EndpointError, PumiceError, UsageError, suggest

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the second attempt, which double from one to the next, and the most they come to."""
LOADING_WAIT = 900.0
"""Seconds of pauses that a server has to load its model, besides the attempts: large ones take minutes."""
LOADING_PAUSE = 2.0
"""Seconds between two attempts then, where the server names none."""
CONNECTING = 20.0
"""Seconds within which a connection must stand."""
LARGEST = 32 * 2**20
"""Bytes of a reply; a server that sends more has something else to say than an answer."""
FILTERED = frozenset({"content_filter", "content_policy_violation"})
"""Codes of refusals that are about the content of one request."""
_SEED = re.compile(r"\bseed\b")


@dataclass
class Endpoint:
    """A model behind an OpenAI-compatible server.

    Attributes:
        url: with or without ``/v1`` and ``/chat/completions``.
        model: as the server calls it.
        key_variable: the environment variable with the key. It is read when it is needed and kept nowhere;
            without it, or where it names none (""), no key is sent.
        concurrency: requests in flight.
        timeout: seconds for one whole reply.
        retries: attempts after the first one.
        key_option: what a user names another variable with, for errors.
        wait: what waits a number of seconds; tests replace it.
        admit: waited for before every call of ``complete``, a repeated one too, with the call's JSON: for
            limits of rates and budgets. Where it raises, nothing is sent.
        transport: what carries calls in place of the network: a server inside this process.

    Raises:
        UsageError: the address is none, or a number is out of its range.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout: float = 180.0
    retries: int = 6
    key_option: str = field(default="--key-variable", repr=False, compare=False)
    wait: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False, compare=False)
    admit: Callable[[bytes], Awaitable[None]] | None = field(default=None, repr=False, compare=False)
    transport: httpx2.AsyncBaseTransport | None = field(default=None, repr=False, compare=False)
    address: Address = field(init=False, repr=False, compare=False)
    _length: str = field(init=False, repr=False, compare=False, default=LENGTHS[0])

    def __post_init__(self) -> None:
        self.address = address_of(self.url)
        for name, value, least in (("concurrency", self.concurrency, 1), ("retries", self.retries, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}", where=name, remedy=f"it is at least {least}")
        if not self.timeout > 0:
            raise UsageError(f"timeout is {self.timeout}", where="timeout", remedy="say how many seconds")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its user should know before anything is sent."""
        if self.address.open and self._key():
            return (
                f"the key goes to {self.address.host} over plain http, where others may read it: "
                "take https, or a server on this machine",
            )
        return ()

    def check(self) -> tuple[str, ...]:
        """Make sure, before long work, that the server is there and has the model.

        Returns:
            The models that it lists; none where it keeps no list.

        Raises:
            EndpointError: nobody answers, the key is refused, or there is no such model.
        """
        with self._open() as at_work:
            models: tuple[str, ...] = at_work.result(self._models(at_work.client))
            if models and self.model not in models:
                # Gateways take names that they do not list (aliases, variants): let it say so itself.
                at_work.result(
                    self._complete(at_work.client, Request("Hello", max_tokens=16, temperature=None))
                )
        return models

    def models(self) -> tuple[str, ...]:
        """The models that the server lists; none where it keeps no list.

        Raises:
            EndpointError: nobody answers, or the key is refused.
        """
        with self._open() as at_work:
            return at_work.result(self._models(at_work.client))

    def complete(self, request: Request) -> Reply:
        """The reply to one request.

        Raises:
            EndpointError: as ``complete_all``.
        """
        return next(reply for _, reply in self.complete_all([request]))

    def complete_all(
        self, requests: Iterable[Request | None], refused: Callable[[int, EndpointError], bool] | None = None
    ) -> Iterator[tuple[int, Reply]]:
        """Replies as they come, each with the number of its request.

        Requests are taken from their iterable when there is room for one, in the caller's thread; so they
        may be made on the way. When the caller stops, by Ctrl-C too, what is in flight is cancelled. When
        one fails, no more are taken, and those in flight are still yielded before the error is raised: they
        may have been paid for.

        Args:
            requests: what is asked. None says that there is nothing just now: it is looked again when the
                next reply has been taken. So there is always one on its way.
            refused: told of a request that got no reply, by its number; where it says True, the others go on.

        Yields:
            The number of a request, from 0, and its reply; not in order.

        Raises:
            EndpointError: the server refused one, or gave no reply to it after all attempts.
        """
        waiting = iter(requests)
        taken = 0
        done: queue.SimpleQueue[tuple[int, Future[Reply]]] = queue.SimpleQueue()
        failure: Exception | None = None
        flying = 0
        more = True
        with self._open() as at_work:
            while more or flying:
                while more and flying < self.concurrency:
                    try:
                        request = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    except PumiceError as error:  # of whoever makes the requests
                        failure, more = error, False
                        break
                    if request is None:
                        assert flying, "nothing is on its way, and nothing is asked"
                        break
                    future = at_work.start(self._complete(at_work.client, request))
                    future.add_done_callback(partial(_finished, done, taken))
                    taken += 1
                    flying += 1
                if flying:
                    number, ended = done.get()
                    flying -= 1
                    try:
                        reply = ended.result()
                    except PumiceError as error:
                        if (
                            refused is None
                            or not isinstance(error, EndpointError)
                            or not refused(number, error)
                        ):
                            failure, more = failure or error, False
                    else:
                        yield number, reply
        if failure is not None:
            raise failure

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if not key.isascii() or not key.isprintable():
            raise UsageError(
                f"the key in {self.key_variable} holds characters that no key has",
                where=f"the environment variable {self.key_variable}",
                remedy="set it to the key alone",
            )
        return key

    @contextmanager
    def _open(self) -> Iterator[AtWork]:
        key = self._key()
        client = httpx2.AsyncClient(
            headers={"Content-Type": "application/json"} | _authorised(key),
            timeout=httpx2.Timeout(None, connect=min(CONNECTING, self.timeout)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self.concurrency),
            transport=self.transport,
        )
        with AtWork(client) as at_work:
            yield at_work

    async def _models(self, client: httpx2.AsyncClient) -> tuple[str, ...]:
        try:
            value = await self._call(client, "GET", "/models", None, refused_is_final=True)
        except EndpointError as error:
            if isinstance(error.__cause__, Refusal) and error.__cause__.status in (404, 405, 501):
                return ()
            raise
        listed = value.get("data", value.get("models"))
        rows = listed if isinstance(listed, list) else []
        return tuple(str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row)

    async def _complete(self, client: httpx2.AsyncClient, request: Request) -> Reply:
        length = self._length
        try:
            body = request.body(self.model, length)
            return reply_of(await self._call(client, "POST", "/chat/completions", body))
        except EndpointError as error:
            cause = error.__cause__
            if not isinstance(cause, Refusal):
                raise
            if cause.status == 404:
                raise await self._unknown(client, cause) from cause
            if cause.code in FILTERED:  # what an answer that the filter caught would bring
                return Reply("", "content_filter")
            if cause.status not in (400, 422):
                raise
            if length == LENGTHS[0] and LENGTHS[1] in cause.words:
                self._length = LENGTHS[1]  # the same limit by the name that this server knows
            elif request.seed is not None and _SEED.search(cause.words):
                request = replace(request, seed=None)  # without it, the answers only vary more
            else:
                raise
            return await self._complete(client, request)

    async def _unknown(self, client: httpx2.AsyncClient, refusal: Refusal) -> EndpointError:
        """The error for a 404: the nearest model, where the server lists its own."""
        try:
            models = await self._models(client)
        except EndpointError:
            models = ()
        hint = suggest(self.model, models) if models and self.model not in models else ""
        return self._error(refusal, "/chat/completions", 1, hint)

    def _error(self, refusal: Refusal, path: str, attempts: int, hint: str = "") -> EndpointError:
        about = [f"model {self.model}"] if self.model else []
        about += [f"asked {attempts} times"] if attempts > 1 else []
        place = f"{self.address.base}{path}" + (f" ({', '.join(about)})" if about else "")
        key = Key(self.key_variable, self.key_option, sent=bool(self._key()))
        return as_error(refusal, place, key, hint=hint)

    async def _call(
        self,
        client: httpx2.AsyncClient,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        refused_is_final: bool = False,
    ) -> dict[str, Any]:
        """One call until it is answered, with growing waits; a server that loads its model is waited for."""
        attempt, loading = 0, 0.0
        while True:
            try:
                return await self._attempt(client, method, path, body)
            except Refusal as refusal:
                if refusal.loading and loading < LOADING_WAIT:
                    pause = (refusal.after or LOADING_PAUSE) * random.uniform(1.0, 1.25)
                    loading += pause
                    await self.wait(pause)
                    continue
                attempt += 1
                unreachable = refused_is_final and isinstance(refusal.__cause__, httpx2.ConnectError)
                if not refusal.passing or attempt > self.retries or unreachable:
                    hint = "start the server, or check host and port" if unreachable else ""
                    raise self._error(refusal, path, attempt, hint) from refusal
                pause = refusal.after or min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT)
                # Spread, so that requests refused together do not come back together.
                await self.wait(pause * random.uniform(1.0, 1.25))

    async def _attempt(
        self, client: httpx2.AsyncClient, method: str, path: str, body: dict[str, Any] | None
    ) -> dict[str, Any]:
        key = self._key()
        content = _json(body)
        if self.admit is not None and content is not None:
            await self.admit(content)
        try:
            async with asyncio.timeout(self.timeout):
                async with client.stream(method, self.address.call(path), content=content) as response:
                    content = await _whole(response)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise Refusal(0, f"nothing came within {self.timeout:g} seconds", passing=True) from error
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
            raise Refusal(0, trimmed(str(error), key), passing=False) from error
        except httpx2.RequestError as error:
            words = trimmed(str(error) or type(error).__name__, key)
            raise Refusal(0, words, passing=True) from error
        if response.status_code != 200:
            raise refused(response, content, key)
        text = content.decode("utf-8", "replace")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refusal(200, trimmed(f"it is no JSON: {text!r}", key), passing=True) from error
        if not isinstance(value, dict) or (path != "/models" and not is_reply(value)):
            inside = refused_inside(value, key) if isinstance(value, dict) else None
            raise inside or Refusal(200, trimmed(f"it has no choices: {text!r}", key), passing=True)
        return value


def _finished(done: queue.SimpleQueue[tuple[int, Future[Reply]]], number: int, ended: Future[Reply]) -> None:
    done.put((number, ended))


async def _whole(response: httpx2.Response) -> bytes:
    """The body of a reply, unpacked, as long as it is not larger than any answer is."""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > LARGEST:
            raise Refusal(0, f"its reply is larger than {LARGEST:,} bytes", passing=False)
    return bytes(content)


def _authorised(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _json(body: dict[str, Any] | None) -> bytes | None:
    # In ASCII, for half a surrogate in an answer has no UTF-8.
    return None if body is None else json.dumps(body).encode()
