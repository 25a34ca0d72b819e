"""Pumice's own calls: what a server serves and allows, and what a model looked at."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pumice
from pumice.serve.backend import Ask, Heat, Looked, Looks, Settings
from pumice.serve.call import Call, Reply, Whole
from pumice.serve.content import talk_of
from pumice.serve.failure import Failure, failure_of
from pumice.serve.models import Served
from pumice.serve.schema import RelevanceBody
from pumice.serve.service import Service, read

WAITING = 8
"""Looks that may wait for their turn; more are told to come back."""
_NOTHING = Settings(temperature=0.0, top_p=1.0, seed=0, max_new_tokens=1)


class Own:
    """The routes; ``service`` is what they share with others.

    Looks are computed one at a time, in a thread of their own beside the engine's: answers under way share
    the processor with one of them and never wait for it.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="pumice-look")
        self._open = 0

    async def about(self, call: Call, body: bytes) -> Reply:
        """``GET /v1/pumice``: models, limits, and what the models know, for the chat page."""
        limits = self.service.limits
        return Whole(
            {
                "version": pumice.__version__,
                "models": [_about(served) for served in self.service.models.all.values()],
                "limits": {
                    "images": limits.images,
                    "image_bytes": limits.image_bytes,
                    "body_bytes": limits.body_bytes,
                    "pixels": limits.pixels,
                    "new_tokens": limits.new_tokens,
                    "default_new_tokens": limits.default_new_tokens,
                },
            }
        )

    async def relevance(self, call: Call, body: bytes) -> Reply:
        """``POST /v1/pumice/relevance``: where in its pictures an answer, or a part of it, came from."""
        given = read(body, RelevanceBody)
        served = self.service.models.get(given.model)
        *turns, last = given.messages
        if last.role != "assistant" or not isinstance(last.content, str):
            raise Failure(
                400, "the last message must be the assistant's answer, as text",
                param=f"messages[{len(turns)}]", code="invalid_value",
            )  # fmt: skip
        talk = talk_of([(turn.role, turn.content) for turn in turns], self.service.limits)
        if not talk.sources:
            raise Failure(400, "the conversation shows no picture", param="messages", code="invalid_value")
        call.log["model"] = served.name
        if self._open >= WAITING:
            raise Failure(
                429,
                "others wait to see what the model looked at; try again",
                code="queue_full",
                retry_after=5,
            )
        self._open += 1
        try:
            images = await self.service.pictures(call, talk.sources)
            backend = await call.stack.enter_async_context(self.service.models.use(served))
            looks = _looks(backend)
            if looks is None:
                raise Failure(400, f"the model {served.name!r} cannot tell", code="unsupported_value")
            span = None if given.span is None else (given.span[0], given.span[1])
            ask = Ask(talk.messages, None, images, _NOTHING)
            began = time.monotonic()
            looked = await self._look(call, looks, ask, last.content, span)
        except Exception as error:
            raise failure_of(error) from error
        finally:
            self._open -= 1
        call.log["prompt_tokens"] = looked.prompt_tokens
        return Whole(self._written(served.name, looked, time.monotonic() - began))

    async def _look(
        self, call: Call, backend: Looks, ask: Ask, answer: str, span: tuple[int, int] | None
    ) -> Looked:
        gone = threading.Event()
        self.service.ends_by(call, gone.set)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._looker, backend.look, ask, answer, span, gone.is_set)
        try:
            looked = await work
        except asyncio.CancelledError:
            gone.set()  # the client left: the thread ends at its next tensor
            raise
        if looked is None:
            raise Failure(503, "the server gave this request up", code="aborted", retry_after=5)
        return looked

    def _written(self, model: str, looked: Looked, seconds: float) -> dict[str, Any]:
        most = max((value for heat in looked.heats for row in heat.rows for value in row), default=0.0)
        # A filter would be of little use where probabilities of any text can be asked for.
        told = self.service.make_filter is None
        return {
            "object": "pumice.relevance",
            "model": model,
            "span": list(looked.span),
            "logprob": round(looked.logprob, 4) if told else None,
            "gain": round(looked.gain, 4) if told else None,
            "elsewhere": round(looked.elsewhere, 4),
            "images": [_heat(heat, most) for heat in looked.heats],
            "usage": {"prompt_tokens": looked.prompt_tokens, "answer_tokens": looked.answer_tokens},
            "seconds": round(seconds, 3),
        }


def _looks(backend: object) -> Looks | None:
    return backend if isinstance(backend, Looks) else None


def _about(served: Served) -> dict[str, Any]:
    backend, facts = served.backend, served.facts
    looks = _looks(backend)
    return {
        "id": facts.name,
        "state": served.state,
        "parameters": facts.parameters,
        "context": facts.context,
        # Of a model that is not in memory nobody knows yet.
        "system": None if backend is None else looks is not None and looks.takes_system,
        "relevance": None if backend is None else looks is not None,
    }


def _heat(heat: Heat, most: float) -> dict[str, Any]:
    """A map scaled so that 1 is the hottest place of all pictures."""
    rows = [[round(value / most, 3) if most > 0 else 0.0 for value in row] for row in heat.rows]
    return {"rows": len(rows), "columns": len(rows[0]), "share": round(heat.share, 4), "map": rows}
