"""OpenAI's responses: the call that its newer clients make, over the same flow as chat completions."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from pumice.serve.backend import Ask, Piece, Settings, Stage, TokenScore
from pumice.serve.call import EVENTS, PING, Call, Reply, Streamed, Whole
from pumice.serve.content import Talk, talk_of
from pumice.serve.drawn import scored, settings_of, shape_of
from pumice.serve.failure import Failure, failure_of, named
from pumice.serve.flow import Ended, Flow
from pumice.serve.schema import ResponsesBody, TextFormat
from pumice.serve.service import Event, Service, read

PARTS = {"input_text": "text", "output_text": "text", "refusal": "text", "input_image": "image"}
"""What the parts of an input hold; ``output_text`` and ``refusal`` are of an answer that is sent back."""
LOGPROBS = "message.output_text.logprobs"
"""The word in ``include`` that asks for scores of tokens."""
_SCHEMA = "text.format.schema"
_MEMBERS = {
    "messages": "input",
    "json_schema": _SCHEMA,
    "response_format": "text.format",
    "logprobs": "include",
}
"""What this call names otherwise than what answers."""
_KEPT = "; no answer is kept here: send the conversation so far as input"
_UNKNOWN = {
    "tools": "tools are not known here",
    "previous_response_id": f"previous_response_id is not known here{_KEPT}",
    "conversation": f"conversation is not known here{_KEPT}",
    "prompt": "prompt is not known here: no prompts are kept; send input",
    "background": f"background is not known here{_KEPT}",
}
"""Members without which an answer would not be what was asked for."""
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by why its answer ended."""


class Responses:
    """The route; ``service`` is what it shares with others."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def create(self, call: Call, body: bytes) -> Reply:
        """``POST /v1/responses``."""
        given = read(body, ResponsesBody)
        served = self.service.models.get(given.model)
        _check(given)
        talk = self._talk(given)
        images = await self.service.pictures(call, talk.sources)
        settings = self._settings(given)
        response = _Response(call, served.name, given, settings)
        with named(_MEMBERS):
            flow = await self.service.flow(call, served, [Ask(talk.messages, None, images, settings)])
            if not given.stream:
                return Whole(await _whole(flow, response))
            first, events = await self.service.begun(flow)
        return Streamed(_stream(first, events, flow, response, call), EVENTS)

    def _talk(self, given: ResponsesBody) -> Talk:
        if isinstance(given.input, str):
            turns: list[tuple[str, Any]] = [("user", given.input)]
        else:
            for number, item in enumerate(given.input):
                if item.type not in (None, "message") or item.role is None:
                    words = f"an item of type {str(item.type)[:40]!r} is not known here; there is 'message'"
                    if item.type in (None, "message"):
                        words = "a message has no role"
                    raise Failure(400, words, param=f"input[{number}]", code="invalid_value")
            turns = [(item.role or "", item.content) for item in given.input]
        return talk_of(turns, self.service.limits, member="input", kinds=PARTS, before=given.instructions)

    def _settings(self, given: ResponsesBody) -> Settings:
        told = LOGPROBS in (given.include or ())
        if given.top_logprobs and not told:
            raise Failure(
                400, f"top_logprobs needs include: [{LOGPROBS!r}]", param="top_logprobs", code="invalid_value"
            )
        form = _format(given)
        shape = None if form is None else shape_of(form.type, form.schema_, _SCHEMA)
        logprobs = (given.top_logprobs or 0) if told else None
        return settings_of(given, self.service, limit=given.max_output_tokens, logprobs=logprobs, shape=shape)


class _Response:
    """A response as it is told: under way, done, cut, failed."""

    def __init__(self, call: Call, model: str, given: ResponsesBody, settings: Settings) -> None:
        self._call = call
        form = _format(given)
        self._head = {
            "id": f"resp_{call.id}",
            "object": "response",
            "created_at": call.created,
            "model": model,
            "background": False,
            "instructions": given.instructions,
            "max_output_tokens": given.max_output_tokens,
            "metadata": given.metadata or {},
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": settings.temperature,
            "text": {
                "format": {"type": "text"} if form is None else form.model_dump(exclude_none=True),
            },
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": settings.logprobs or 0,
            "top_p": settings.top_p,
            "truncation": "disabled",
        }

    @property
    def item_id(self) -> str:
        """Of the one message that a response puts out."""
        return f"msg_{self._call.id}"

    def part(self, text: str, scores: list[TokenScore]) -> dict[str, Any]:
        """The message's one part."""
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": scored(scores)}

    def item(self, status: str, *parts: dict[str, Any]) -> dict[str, Any]:
        """The message."""
        return {
            "id": self.item_id, "type": "message", "role": "assistant", "status": status,
            "content": list(parts),
        }  # fmt: skip

    def open(self) -> dict[str, Any]:
        """Before the answer."""
        return self._told("in_progress")

    def ended(self, finish: str, item: dict[str, Any], flow: Flow) -> dict[str, Any]:
        """With the answer."""
        reason = _CUT.get(finish)
        return self._told(
            status_of(finish),
            completed_at=None if reason else int(time.time()),
            incomplete_details={"reason": reason} if reason else None,
            output=[item],
            usage=_usage(flow),
        )

    def failed(self, failure: Failure) -> dict[str, Any]:
        """Where an answer broke off after its beginning was sent."""
        code = "invalid_prompt" if failure.status < 500 else "server_error"
        return self._told("failed", error={"code": code, "message": failure.words})

    def _told(self, status: str, **more: Any) -> dict[str, Any]:
        empty: dict[str, Any] = {
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        return {**self._head, "status": status, **empty, **more}


def status_of(finish: str) -> str:
    """OpenAI's word for a response whose answer ended so."""
    return "incomplete" if finish in _CUT else "completed"


async def _whole(flow: Flow, response: _Response) -> dict[str, Any]:
    texts: list[str] = []
    scores: list[TokenScore] = []
    async for event in flow.events():
        if isinstance(event, Ended):
            item = response.item(status_of(event.finish), response.part("".join(texts), scores))
            return response.ended(event.finish, item, flow)
        texts.append(event.text)
        scores.extend(event.scores)
    raise AssertionError("a flow ends with an end")


async def _stream(
    first: Event, events: AsyncIterator[Event], flow: Flow, response: _Response, call: Call
) -> AsyncIterator[str]:
    writer = _Writer(response, flow)
    try:
        yield writer.opening() + writer.written(first)
        async for event in events:
            yield writer.written(event)
    except Exception as error:
        failure = failure_of(error)
        call.log["error"] = failure.code or failure.status
        yield writer.event("response.failed", response=response.failed(failure))


class _Writer:
    """The events of one response, numbered."""

    def __init__(self, response: _Response, flow: Flow) -> None:
        self._response, self._flow = response, flow
        self._number = 0
        self._opened = False
        self._texts: list[str] = []
        self._scores: list[TokenScore] = []

    def event(self, kind: str, **members: Any) -> str:
        """The next event."""
        whole = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(whole, allow_nan=False)}\n\n"

    def opening(self) -> str:
        """What stands before the answer."""
        response = self._response.open()
        return self.event("response.created", response=response) + self.event(
            "response.in_progress", response=response
        )

    def written(self, event: Event) -> str:
        """What a flow's event becomes."""
        if event is None or isinstance(event, Stage):
            return PING
        lines = "" if self._opened else self._open()
        self._opened = True
        return lines + (self._delta(event) if isinstance(event, Piece) else self._end(event))

    def _open(self) -> str:
        item = self._response.item("in_progress")
        return self.event("response.output_item.added", output_index=0, item=item) + self.event(
            "response.content_part.added", **self._place(), part=self._response.part("", [])
        )

    def _delta(self, piece: Piece) -> str:
        self._texts.append(piece.text)
        self._scores.extend(piece.scores)
        return self.event(
            "response.output_text.delta", **self._place(), delta=piece.text, logprobs=scored(piece.scores)
        )

    def _end(self, ended: Ended) -> str:
        text, status = "".join(self._texts), status_of(ended.finish)
        part = self._response.part(text, self._scores)
        item = self._response.item(status, part)
        return (
            self.event("response.output_text.done", **self._place(), text=text, logprobs=part["logprobs"])
            + self.event("response.content_part.done", **self._place(), part=part)
            + self.event("response.output_item.done", output_index=0, item=item)
            + self.event(f"response.{status}", response=self._response.ended(ended.finish, item, self._flow))
        )

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._response.item_id, "output_index": 0, "content_index": 0}


def _check(given: ResponsesBody) -> None:
    for name, words in _UNKNOWN.items():
        if getattr(given, name):
            raise Failure(400, words, param=name, code="unsupported_value")
    if given.tool_choice not in (None, "none", "auto"):
        raise Failure(400, _UNKNOWN["tools"], param="tool_choice", code="unsupported_value")


def _format(given: ResponsesBody) -> TextFormat | None:
    return None if given.text is None else given.text.format


def _usage(flow: Flow) -> dict[str, Any]:
    return {
        "input_tokens": flow.prompt_tokens,
        "input_tokens_details": {"cached_tokens": flow.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": flow.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": flow.prompt_tokens + flow.completion_tokens,
    }
