"""The door: every call passes here before any route sees it, and leaves its line in the log."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumice.serve.call import Call, Whole, failed
from pumice.serve.failure import Failure
from pumice.serve.keys import Keys, Rates
from pumice.serve.page import is_page
from pumice.serve.service import Service

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names of this machine to itself."""
OPEN = "/health"
"""The one path that asks for no key, beside the chat page's files (``page``)."""
CALL = "pumice.call"
"""Where routes find the call in their scope."""
LEFT = 499
"""The log's status for a client that left before its answer."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
logger = logging.getLogger("pumice.serve")


@dataclass(frozen=True, slots=True)
class Door:
    """Who is let in.

    Attributes:
        keys: without any, whoever reaches the server.
        hosts: names that a ``Host`` header may say; None lets any pass. A page of another site that has its
            name point to this machine still says its own name.
        origins: pages of other sites (``https://chat.example.org``) whose scripts may call.
    """

    keys: Keys = field(default_factory=lambda: Keys(()))
    hosts: Collection[str] | None = LOOPBACK
    origins: Collection[str] = ()


class Guard:
    """Wraps the routes.

    Args:
        app: the routes.
        service: counts calls and writes the log.
        door: who is let in.
    """

    def __init__(self, app: ASGIApp, service: Service, door: Door) -> None:
        self.app, self.service, self.door = app, service, door
        self.rates = Rates(service.limits.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a call pass, or say why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no sockets of the web here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        client = scope.get("client")
        caller = client[0] if client else "unknown"
        call = Call(path=scope["path"], caller=caller, accept=headers.get("accept", ""))
        scope[CALL] = call
        extra: list[tuple[bytes, bytes]] = [(b"x-request-id", call.id.encode())]

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                message = {**message, "headers": [*message["headers"], *extra, *_SAFE]}
            await send(message)

        self.service.open += 1
        try:
            allowed = self._origin(headers)
            if allowed is not None:
                extra += [(b"access-control-allow-origin", allowed.encode()), (b"vary", b"Origin")]
            preflight = self._pass(scope, headers, allowed, call)
            if preflight is not None:
                await preflight.send(noted)
                return
            await self.app(scope, receive, noted)
        except Failure as failure:
            call.log["error"] = failure.code or failure.status
            await failed(failure, call).send(noted)
        finally:
            self.service.open -= 1
            self._note(call, scope)

    def _pass(self, scope: Scope, headers: dict[str, str], allowed: str | None, call: Call) -> Whole | None:
        """Check all that can be checked before the body; the answer to a browser's question beforehand.

        Raises:
            Failure: the call is not let in.
        """
        self._host(headers)
        if scope["method"] == "OPTIONS" and allowed is not None:
            asked = (
                ("access-control-allow-methods", "GET, POST"),
                ("access-control-allow-headers", "Authorization, Content-Type"),
                ("access-control-max-age", "600"),
            )
            return Whole("", 204, "text/plain", asked)
        if scope["path"] == OPEN or is_page(scope, call.accept):
            return None
        if self.door.keys:
            name = self.door.keys.caller(headers.get("authorization"))
            if name is None:
                words = "give a valid API key: Authorization: Bearer KEY"
                raise Failure(401, words, code="invalid_api_key")
            call.caller = name
        if scope["method"] == "POST":
            if self.service.draining:
                raise Failure(503, "the server is stopping", code="draining", retry_after=10)
            wait = self.rates.wait(call.caller)
            if wait is not None:
                words = f"more than {self.service.limits.rate} calls a minute; wait {wait:.0f} s"
                raise Failure(429, words, code="rate_limit_exceeded", retry_after=wait)
            if self.service.open > self.service.limits.requests:
                raise Failure(429, "the server is full; try again", code="server_full", retry_after=2)
        return None

    def _host(self, headers: dict[str, str]) -> None:
        found = _HOST.fullmatch(headers.get("host", ""))
        if found is None:
            raise Failure(400, "a call must name its host", code="invalid_host")
        name = found[1].strip("[]").lower()
        if self.door.hosts is not None and name not in self.door.hosts:
            words = f"this server is not called {name!r}; start it with --allow-host {name} if it is"
            raise Failure(403, words, code="host_not_allowed")

    def _origin(self, headers: dict[str, str]) -> str | None:
        """The origin that other sites' rules are told of; None for calls that no page makes, or our own.

        Raises:
            Failure: 403, a page of another site.
        """
        origin = headers.get("origin")
        if origin is None:
            return None
        if origin in self.door.origins:
            return origin
        try:
            own = urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        except ValueError:
            own = False
        if own:
            return None
        raise Failure(
            403, "pages of other sites may not call this server; --allow-origin lets one in",
            code="origin_not_allowed",
        )  # fmt: skip

    def _note(self, call: Call, scope: Scope) -> None:
        seconds = time.monotonic() - call.started
        status = call.status or LEFT
        self.service.metrics.add("pumice_requests_total", route=call.route, status=str(status))
        self.service.metrics.time("pumice_request_seconds", seconds, route=call.route)
        if scope["path"] in (OPEN, "/metrics") and status in (200, 503):
            return  # asked every few seconds, and of no interest to anybody
        entry = {
            "id": call.id,
            "caller": call.caller,
            "route": call.route,
            "status": status,
            "ms": round(1000 * seconds),
        }
        self.service.log.write(entry | call.log)


_SAFE = [(b"x-content-type-options", b"nosniff")]


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by lower name; of several with one name, none counts where it would decide something."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        found[name] = value.decode("latin-1") if name not in found else "\0"
    return found
