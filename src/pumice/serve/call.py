"""One call: who makes it, what it has done so far, and what it will leave in the log."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from pumice.serve.failure import Failure
from pumice.serve.limits import Limits

EVENTS = "text/event-stream; charset=utf-8"
"""The type of a stream in OpenAI's calls."""
PING = ": the request is being worked on\n\n"
"""A comment in such a stream, which clients skip."""


@dataclass
class Call:
    """A call from its first byte to its last.

    Attributes:
        route: a fixed name for log and metrics.
        caller: the key's name, or the address where there are no keys.
        id: in the log, and part of the answer's id.
        started, created: when it came, by the clock that never goes back and by the calendar.
        path: as it was asked for.
        accept: the ``Accept`` header.
        path_params: what a route took out of it.
        stack: what must be given back when it ends, whichever way.
        log: further entries for the log.
        status: what was answered; 499 where the client left before.
    """

    route: str = "other"
    caller: str = ""
    path: str = ""
    accept: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    started: float = field(default_factory=time.monotonic)
    created: int = field(default_factory=lambda: int(time.time()))
    path_params: dict[str, str] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    log: dict[str, Any] = field(default_factory=dict)
    status: int = 0

    @property
    def is_ollama(self) -> bool:
        """Whether failures are told as Ollama tells them."""
        return self.path.startswith("/api/")


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is sent at once."""

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    async def send(self, send: Send) -> None:
        """Send it."""
        body = self.body
        if not isinstance(body, bytes):
            body = (body if isinstance(body, str) else json.dumps(body, allow_nan=False)).encode()
        headers = [("content-type", self.content_type), ("content-length", str(len(body))), *self.headers]
        await send(_start(self.status, headers))
        await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is sent in pieces, as they come."""

    pieces: AsyncIterator[str]
    content_type: str

    async def send(self, send: Send) -> None:
        """Send each as soon as it is there."""
        headers = [
            ("content-type", self.content_type),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        ]
        await send(_start(200, headers))
        async for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


Reply = Whole | Streamed
Handle = Callable[[Call, bytes], Awaitable[Reply]]


class Gone(Exception):
    """The client left."""


def failed(failure: Failure, call: Call) -> Whole:
    """A failure as the client's API tells it."""
    body = failure.ollama() if call.is_ollama else failure.openai()
    return Whole(body, failure.status, headers=tuple(failure.headers().items()))


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        Failure: 413, larger than the limit, by its announcement or in truth; 408, it took too long.
        Gone: the client left before its end.
    """
    too_large = Failure(413, f"a request's body may have {limits.body_bytes:,} bytes", code="body_too_large")
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > limits.body_bytes):
            raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                body += message.get("body", b"")
                if len(body) > limits.body_bytes:
                    raise too_large
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise Failure(408, "the request's body took too long to come") from error


def parse(body: bytes) -> dict[str, Any]:
    """A body as a JSON object.

    Raises:
        Failure: 400, it is none.
    """
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise Failure(400, "the request's body is no valid JSON", code="invalid_json") from error
    if not isinstance(value, dict):
        raise Failure(400, "the request's body is no JSON object", code="invalid_json")
    return value


async def raced(work: Awaitable[None], receive: Receive) -> None:
    """Do some work, unless the client leaves first: then the work is cancelled.

    Raises:
        Gone: the client left.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        task.result()
    finally:
        for one in (task, watcher):
            one.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(status: int, headers: list[tuple[str, str]]) -> Message:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
