"""One request at a time, by ``infer.Generator``, behind the engine's contract; goes with the engine."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pumice.infer import Generator, Request
from pumice.infer.engine import Delta, EngineFull, EngineRequest, Event, Finished, Running, Usage
from pumice.serve.backend import Load, Unable

WAITING = 128


class OneByOne:
    """Answers requests in their order; abort works between tokens and while waiting."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._waiting: queue.SimpleQueue[tuple[EngineRequest, Any, Running, float] | None] = (
            queue.SimpleQueue()
        )
        self._count = 0
        self._busy = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="pumice-answer", daemon=True)
        self._thread.start()

    def submit(self, request: EngineRequest, sink: Callable[[Event], None]) -> Running:
        if self._waiting.qsize() >= WAITING:
            raise EngineFull("the queue is full")
        sampling = request.sampling
        for name, plain in (("logprobs", None), ("json_schema", None), ("logit_bias", ())):
            if getattr(sampling, name) != plain:
                raise Unable(f"{name} is not known yet", name)
        if request.prompt is not None:
            request = replace(request, messages=_plain(request.prompt), prompt=None)
        asked = Request(request.messages, request.images, sampling, sampling.max_new_tokens, sampling.stop)
        prepared = self.generator._prepare(asked)
        self._count += 1
        running = Running(self._count, request.n, prepared.prompt.length, lambda: None, sink)
        self._waiting.put((request, asked, running, time.monotonic()))
        return running

    def stats(self) -> Load:
        return Load(self._busy, self._waiting.qsize())

    def close(self, drain: bool) -> None:
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            request, asked, running, since = item
            self._busy = 1
            try:
                for index in range(request.n):
                    sampling = replace(asked.sampling, seed=(asked.sampling.seed + index) % 2**64)
                    self._one(replace(asked, sampling=sampling), running, index, since)
            finally:
                self._busy = 0

    def _one(self, asked: Request, running: Running, index: int, since: float) -> None:
        queued, first = time.monotonic() - since, 0.0
        reason: Any = "abort"
        answer = None
        try:
            answer = self.generator._prepare(asked)
            for _, piece in () if self._stop(running) else self.generator._run([answer]):
                first = first or time.monotonic() - since
                running.put(Delta(index, piece, (answer.ids[-1],)))
                if self._stop(running):
                    break
            else:
                reason = answer.finish or "abort"
        except Exception:
            reason = "error"
        made = len(answer.ids) if answer is not None else 0
        usage = Usage(running.prompt_tokens, 0, made, queued, 0.0, first, time.monotonic() - since)
        running.put(Finished(index, reason, usage))

    def _stop(self, running: Running) -> bool:
        return running.aborted or self._closed


def _plain(prompt: str) -> Any:
    from pumice.types import text_message

    return (text_message("user", prompt),)
