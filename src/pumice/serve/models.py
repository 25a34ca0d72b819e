"""The models of a server by name: loaded in their turn, let go when idle, counted while in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from pumice.errors import suggest
from pumice.serve.backend import Backend
from pumice.serve.facts import Facts
from pumice.serve.failure import Failure

LOADING_RETRY = 2.0
"""Seconds after which a client may ask again for a model that is being loaded."""

State = Literal["out", "loading", "ready", "failed"]
Load = Callable[[Facts], Backend]
T = TypeVar("T")


@dataclass
class Served:
    """One model of the server.

    Attributes:
        facts: what its folder says of it.
        state: out of memory, being loaded, ready, or failed at loading.
        backend: what answers, while it is ready.
        users: requests that hold it in memory.
        idle_since: when the last of them left, by the registry's clock.
        error: why it failed.
    """

    facts: Facts
    state: State = "out"
    backend: Backend | None = None
    users: int = 0
    idle_since: float = 0.0
    error: Exception | None = None

    @property
    def name(self) -> str:
        """By which it is asked for."""
        return self.facts.name


class Models:
    """The models of one server.

    Args:
        facts: of each, in the order in which they are loaded.
        load: makes a backend; runs in a thread, one at a time.
        idle_seconds: a model that nobody asked for this long is let go; 0 keeps all.
        at_start: load all when the server starts. Otherwise each is loaded when it is first asked for.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        facts: Mapping[str, Facts],
        load: Load,
        *,
        idle_seconds: float = 0.0,
        at_start: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.all = {name: Served(fact) for name, fact in facts.items()}
        self.idle_seconds, self.at_start = idle_seconds, at_start
        self._load, self._clock = load, clock
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="pumice-load")
        self._coming: dict[str, asyncio.Task[Backend]] = {}
        self.started = not at_start

    async def start(self) -> None:
        """Load all, one after another, if they are to be loaded at the start.

        Raises:
            Exception: what loading one raises.
        """
        if self.at_start:
            for served in self.all.values():
                await self._loaded(served)
        self.started = True

    def get(self, name: str | None) -> Served:
        """The model of a name, as clients write it (``name:latest`` is Ollama's way); without, the only one.

        Raises:
            Failure: 404, there is none.
        """
        if name is None and len(self.all) == 1:
            return next(iter(self.all.values()))
        found = self.all.get((name or "").removesuffix(":latest"))
        if found is None:
            words = "a request must name its model" if name is None else f"there is no model {name[:80]!r}"
            raise Failure(
                404, f"{words}; {suggest(name or '', self.all)}", param="model", code="model_not_found"
            )
        return found

    @asynccontextmanager
    async def use(self, served: Served) -> AsyncIterator[Backend]:
        """The backend of a model, which stays in memory as long; it is loaded if it is out.

        Raises:
            Failure: 503, it is being loaded for the first time, or could not be loaded.
        """
        if not self.started and served.state != "ready":
            raise Failure(
                503, f"the model {served.name!r} is being loaded; try again", code="model_loading",
                retry_after=LOADING_RETRY,
            )  # fmt: skip
        served.users += 1
        try:
            try:
                backend = await self._loaded(served)
            except Failure:
                raise
            except Exception as error:
                raise Failure(
                    503, f"the model {served.name!r} could not be loaded; the server's log says why",
                    code="model_failed", retry_after=60,
                ) from error  # fmt: skip
            yield backend
        finally:
            served.users -= 1
            served.idle_since = self._clock()

    async def unload(self, served: Served) -> bool:
        """Let a model go unless somebody uses it; whether it is out now."""
        if served.users or served.state == "loading":
            return False
        backend, served.backend = served.backend, None
        served.state = "out"
        if backend is not None:
            await self._in_loader(backend.close)
        return True

    async def sweep(self) -> None:
        """Let go of those that nobody asked for long enough."""
        if not self.idle_seconds:
            return
        now = self._clock()
        for served in self.all.values():
            if served.state == "ready" and now - served.idle_since >= self.idle_seconds:
                await self.unload(served)

    async def close(self) -> None:
        """Let all go, whoever uses them."""
        for served in self.all.values():
            backend, served.backend = served.backend, None
            served.state = "out"
            if backend is not None:
                await self._in_loader(backend.close)
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _loaded(self, served: Served) -> Backend:
        if served.backend is not None:
            return served.backend
        task = self._coming.get(served.name)
        if task is None:
            task = self._coming[served.name] = asyncio.create_task(self._bring(served))
            task.add_done_callback(lambda _: self._coming.pop(served.name, None))
        # Whoever asked first may leave; the others still wait for it.
        return await asyncio.shield(task)

    async def _bring(self, served: Served) -> Backend:
        served.state, served.error = "loading", None
        try:
            backend = await self._in_loader(lambda: self._load(served.facts))
        except BaseException as error:
            served.state = "failed"
            served.error = error if isinstance(error, Exception) else None
            raise
        served.backend, served.state, served.idle_since = backend, "ready", self._clock()
        return backend

    def _in_loader(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._loader, work)
