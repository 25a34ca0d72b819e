"""Real servers on 127.0.0.1, each with a scripted backend."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import pytest
import uvicorn

from pumice.serve.app import make_app
from pumice.serve.facts import Facts
from pumice.serve.guard import Door
from pumice.serve.limits import Limits
from pumice.serve.log import RequestLog
from pumice.serve.models import Models
from pumice.serve.run import DrainingServer, _serve, bind
from pumice.serve.service import Service

from .scripted import Scripted

KEY = "a-key-of-some-length-0001"


def facts(name: str) -> Facts:
    """Of a model that is nowhere."""
    config = {"model_type": "llava", "text_config": {"max_position_embeddings": 2048}}
    return Facts(name, Path("/nowhere") / name, 1e9, 6_000_000, "ab" * 32, 3_400_000, "F16", config)


def png(width: int = 8, height: int = 6, color: Any = (200, 30, 30), kind: str = "PNG", **more: Any) -> bytes:
    """A picture's file."""
    stream = io.BytesIO()
    PIL.Image.new("RGB", (width, height), color).save(stream, kind, **more)
    return stream.getvalue()


def data_url(data: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(data).decode()


def shown(url: Any, text: str = "What is it?") -> list[dict[str, Any]]:
    """A user's message with a picture."""
    return [
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]}
    ]


@dataclass
class Live:
    """A server that runs in a thread."""

    url: str
    backends: dict[str, Scripted]
    service: Service
    server: DrainingServer
    thread: threading.Thread
    client: httpx2.Client
    log: Path

    @property
    def backend(self) -> Scripted:
        return next(iter(self.backends.values()))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def chat(self, text: Any = "Hello", **more: Any) -> httpx2.Response:
        """A chat call: a text, or messages."""
        messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
        return self.client.post("/v1/chat/completions", json={"model": "one", "messages": messages, **more})

    def stop(self) -> None:
        for backend in self.backends.values():
            backend.release()
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds; the test fails if it never does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.005)


Make = Callable[..., Live]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts servers; all are stopped at the end."""
    lives: list[Live] = []

    def start(
        *names: str,
        door: Door | None = None,
        limits: dict[str, Any] | None = None,
        load: Callable[[Facts], Any] | None = None,
        idle_seconds: float = 0,
        at_start: bool = True,
        log_content: bool = False,
        drain_seconds: float = 20,
        wait: bool = True,
        clock: Callable[[], float] | None = None,
        **more: Any,
    ) -> Live:
        backends: dict[str, Scripted] = {name: Scripted() for name in names or ("one",)}
        ready = threading.Event()
        more_models = {} if clock is None else {"clock": clock}
        models = Models(
            {name: facts(name) for name in backends},
            load or (lambda fact: backends[fact.name]),
            idle_seconds=idle_seconds,
            at_start=at_start,
            **more_models,
        )
        log = tmp_path / f"log-{len(lives)}"
        service = Service(
            models, replace(Limits(), **(limits or {})), RequestLog(log, content=log_content), **more
        )
        sock = bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        config = uvicorn.Config(
            make_app(service, door or Door()), log_config=None, access_log=False, lifespan="off", ws="none"
        )
        server = DrainingServer(config, service, drain_seconds)
        thread = threading.Thread(target=lambda: asyncio.run(_serve(server, sock, ready.set)), daemon=True)
        thread.start()
        live = Live(url, backends, service, server, thread, httpx2.Client(base_url=url, timeout=30), log)
        lives.append(live)
        if wait:
            assert ready.wait(20)
        return live

    yield start
    for live in lives:
        live.client.close()
        live.stop()


@pytest.fixture
def live(make: Make) -> Live:
    """One server with one model, ``one``."""
    return make()
