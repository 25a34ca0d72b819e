"""A server from its first socket to its last answer: loading while it listens, draining when told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from pumice.errors import UsageError
from pumice.serve.app import make_app
from pumice.serve.guard import LOOPBACK, Door
from pumice.serve.keys import Keys
from pumice.serve.service import Service

SWEEP_TICKS = 10
"""Idle models are looked for once a second: uvicorn ticks ten times in one."""
TELLING = 2.0
"""Seconds in which clients whose calls are ended can be told."""

logger = logging.getLogger("pumice.serve")


def is_loopback(host: str) -> bool:
    """Whether a server that listens at ``host`` is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def door_of(host: str, keys: Keys, hosts: tuple[str, ...], origins: tuple[str, ...]) -> Door:
    """Who is let in at an address.

    Args:
        host: what the server listens at.
        keys: its API keys.
        hosts: further names that clients may call it by.
        origins: pages of other sites that may call.

    Raises:
        UsageError: the address can be reached from elsewhere and there is no key, or an origin is none.
    """
    if not is_loopback(host) and not keys:
        raise UsageError(
            f"{host} can be reached from other machines, and there is no API key",
            where="--host",
            remedy="give --api-key-file FILE or set PUMICE_API_KEY; or listen at 127.0.0.1",
        )
    for origin in origins:
        if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
            raise UsageError(
                f"{origin!r} is no origin",
                where="--allow-origin",
                remedy="write https://HOST, without a path",
            )
    names = {name.strip("[]").lower() for name in hosts}
    # Off loopback the key keeps strange pages out, and only its owner knows all names of a machine.
    known = LOOPBACK | {host.lower()} | names if is_loopback(host) or names else None
    return Door(keys, known, frozenset(origins))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: the address is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends each piece at once. Without it, a piece waits until the client
    # has acknowledged the one before, which takes Linux up to 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen at {host} port {port} ({reason})",
            where="--host, --port",
            remedy="choose another --port; 0 takes a free one",
        ) from error
    return sock


class DrainingServer(uvicorn.Server):
    """A server that finishes what runs before it stops.

    The first SIGTERM or Ctrl-C lets no new request in and waits for those under way. The second, or
    ``drain_seconds``, ends them: their clients are told. A third, or ``TELLING`` seconds, waits for nothing.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        drain_seconds: float,
        waits: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(config)
        self.waits = waits
        self.service, self.drain_seconds = service, drain_seconds
        self.error: Exception | None = None
        self._deadline = 0.0
        self._ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self._ending:
            self.should_exit = self.force_exit = True
            return
        if self.service.draining:
            self._deadline = 0.0
            return
        self.service.draining = True
        self._deadline = time.monotonic() + self.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: whether to stop now."""
        if self.service.draining:
            late = time.monotonic() >= self._deadline
            # Not where the signal is handled: it may come amid another print.
            if self.waits is not None and self.service.open:
                self.waits(self.service.open)
            self.waits = None
            if late and not self._ending:
                self._ending, late = True, False
                self._deadline = time.monotonic() + TELLING
                self.service.end_all()
            if late or self.service.open == 0:
                self.should_exit = True
                self.force_exit = self.force_exit or late
        elif counter % SWEEP_TICKS == 0:
            await self.service.models.sweep()
        return await super().on_tick(counter)


def serve(
    service: Service,
    door: Door,
    sock: socket.socket,
    *,
    drain_seconds: float = 30.0,
    ready: Callable[[], None] | None = None,
    waits: Callable[[int], None] | None = None,
) -> None:
    """Serve until a signal; models are loaded while the server already answers ``/health``.

    Args:
        service: what is served.
        door: who is let in.
        sock: a listening socket; it is closed.
        drain_seconds: the longest wait for answers under way.
        ready: called once all models are loaded.
        waits: called at the first signal with the number of calls under way, where there are any.

    Raises:
        Exception: what loading a model at the start raised.
    """
    config = uvicorn.Config(
        make_app(service, door),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=64 << 10,
    )
    server = DrainingServer(config, service, drain_seconds, waits)
    asyncio.run(_serve(server, sock, ready))
    if server.error is not None:
        raise server.error


async def _serve(server: DrainingServer, sock: socket.socket, ready: Callable[[], None] | None) -> None:
    async def load() -> None:
        try:
            await server.service.models.start()
        except Exception as error:  # the process ends, and its user learns why
            server.error = error
            server.should_exit = True
        else:
            if ready is not None:
                ready()

    loading = asyncio.create_task(load())
    try:
        await server.serve([sock])
    finally:
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        await server.service.models.close()
        server.service.close()
