"""OpenAI's calls: chat completions, completions, models."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from pumice.serve.backend import Ask, Piece, Settings, Stage, TokenScore
from pumice.serve.call import EVENTS, PING, Call, Reply, Streamed, Whole
from pumice.serve.content import talk_of
from pumice.serve.drawn import finite, scored, settings_of, shape_of
from pumice.serve.failure import Failure, failure_of, named
from pumice.serve.flow import Ended, Flow
from pumice.serve.models import Served
from pumice.serve.schema import ChatBody, CompletionBody, Sampled
from pumice.serve.service import Event, Service, read

_SCHEMA = "response_format.json_schema"


class OpenAI:
    """The routes; ``service`` is what they share with others."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def models(self, call: Call, body: bytes) -> Reply:
        """``GET /v1/models``."""
        served = self.service.models.all.values()
        return Whole({"object": "list", "data": [_model(one) for one in served]})

    async def model(self, call: Call, body: bytes) -> Reply:
        """``GET /v1/models/{id}``."""
        return Whole(_model(self.service.models.get(call.path_params["id"])))

    async def chat(self, call: Call, body: bytes) -> Reply:
        """``POST /v1/chat/completions``."""
        given = read(body, ChatBody)
        served = self.service.models.get(given.model)
        for name in ("tools", "functions", "chat_template"):
            if getattr(given, name):
                raise Failure(400, f"{name} are not known here", param=name, code="unsupported_value")
        if given.top_logprobs is not None and not given.logprobs:
            raise Failure(
                400, "top_logprobs needs logprobs: true", param="top_logprobs", code="invalid_value"
            )
        logprobs = (given.top_logprobs or 0) if given.logprobs else None
        limit = given.max_completion_tokens or given.max_tokens
        talk = talk_of([(turn.role, turn.content) for turn in given.messages], self.service.limits)
        images = await self.service.pictures(call, talk.sources)
        watch = bool(given.stream and given.stream_options and given.stream_options.include_stages)
        settings = self._settings(given, limit, logprobs)
        ask = Ask(talk.messages, None, images, settings, given.n or 1, watch)
        form = _Chat(call, served.name, logprobs is not None)
        with named(form.members):
            flow = await self.service.flow(call, served, [ask])
            return await self._reply(given, flow, form, call)

    async def complete(self, call: Call, body: bytes) -> Reply:
        """``POST /v1/completions``."""
        given = read(body, CompletionBody)
        served = self.service.models.get(given.model)
        if given.echo or given.suffix or given.best_of not in (None, given.n or 1):
            name = "echo" if given.echo else "suffix" if given.suffix else "best_of"
            raise Failure(400, f"{name} is not known here", param=name, code="unsupported_value")
        settings = self._settings(given, given.max_tokens, given.logprobs)
        asks = [Ask((), text, (), settings, given.n or 1) for text in _prompts(given.prompt)]
        form = _Completion(call, served.name, given.logprobs is not None)
        with named(form.members):
            flow = await self.service.flow(call, served, asks)
            return await self._reply(given, flow, form, call)

    def _settings(self, given: Sampled, limit: int | None, logprobs: int | None) -> Settings:
        shape = None
        if given.response_format is not None:
            schema = (given.response_format.json_schema or {}).get("schema")
            shape = shape_of(given.response_format.type, schema, _SCHEMA)
        return settings_of(given, self.service, limit=limit, logprobs=logprobs, shape=shape)

    async def _reply(self, given: Sampled, flow: Flow, form: _Form, call: Call) -> Reply:
        if not given.stream:
            return Whole(await _whole(flow, form))
        first, events = await self.service.begun(flow)
        usage = bool(given.stream_options and given.stream_options.include_usage)
        return Streamed(_stream(first, events, flow, form, usage, call), EVENTS)


class _Form(ABC):
    """How answers are written down: whole, and in chunks; ``members`` are those that the call names otherwise
    than what answers (``failure.named``)."""

    whole = chunk = prefix = ""
    members: ClassVar[Mapping[str, str]] = {"json_schema": _SCHEMA}

    def __init__(self, call: Call, model: str, logprobs: bool) -> None:
        self.head = {"id": f"{self.prefix}-{call.id}", "created": call.created, "model": model}
        self.logprobs = logprobs

    @abstractmethod
    def choice(self, index: int, text: str, scores: Sequence[TokenScore], finish: str) -> dict[str, Any]:
        """A whole answer."""

    def opening(self, index: int) -> dict[str, Any] | None:
        """The first chunk's choice, if there is one before any text."""
        return None

    @abstractmethod
    def piece(self, piece: Piece) -> dict[str, Any]:
        """A chunk's choice."""

    @abstractmethod
    def ending(self, ended: Ended) -> dict[str, Any]:
        """The choice of an answer's last chunk."""


class _Chat(_Form):
    whole, chunk, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def choice(self, index: int, text: str, scores: Sequence[TokenScore], finish: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": self._scores(scores), "finish_reason": finish}

    def opening(self, index: int) -> dict[str, Any]:
        return self._delta(index, {"role": "assistant", "content": ""})

    def piece(self, piece: Piece) -> dict[str, Any]:
        return self._delta(piece.index, {"content": piece.text}, self._scores(piece.scores))

    def ending(self, ended: Ended) -> dict[str, Any]:
        return self._delta(ended.index, {}) | {"finish_reason": ended.finish}

    def _delta(self, index: int, delta: Mapping[str, Any], logprobs: Any = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    def _scores(self, scores: Sequence[TokenScore]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        return {"content": scored(scores), "refusal": None}


class _Completion(_Form):
    whole, chunk, prefix = "text_completion", "text_completion", "cmpl"
    members: ClassVar[Mapping[str, str]] = {**_Form.members, "messages": "prompt"}

    def __init__(self, call: Call, model: str, logprobs: bool) -> None:
        super().__init__(call, model, logprobs)
        self._offsets: dict[int, int] = {}

    def choice(self, index: int, text: str, scores: Sequence[TokenScore], finish: str) -> dict[str, Any]:
        return self._text(index, text, scores) | {"finish_reason": finish}

    def piece(self, piece: Piece) -> dict[str, Any]:
        return self._text(piece.index, piece.text, piece.scores)

    def ending(self, ended: Ended) -> dict[str, Any]:
        return self._text(ended.index, "", ()) | {"finish_reason": ended.finish}

    def _text(self, index: int, text: str, scores: Sequence[TokenScore]) -> dict[str, Any]:
        logprobs = None
        if self.logprobs:
            offsets = []
            for score in scores:
                offsets.append(self._offsets.get(index, 0))
                self._offsets[index] = offsets[-1] + len(score.token)
            logprobs = {
                "tokens": [score.token for score in scores],
                "token_logprobs": [finite(score.logprob) for score in scores],
                "top_logprobs": [{token: finite(value) for token, value in score.top} for score in scores],
                "text_offset": offsets,
            }
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": None}


async def _whole(flow: Flow, form: _Form) -> dict[str, Any]:
    texts: dict[int, list[str]] = {}
    scores: dict[int, list[TokenScore]] = {}
    finishes: dict[int, str] = {}
    async for event in flow.events():
        if isinstance(event, Piece):
            texts.setdefault(event.index, []).append(event.text)
            scores.setdefault(event.index, []).extend(event.scores)
        else:
            finishes[event.index] = event.finish
    choices = [
        form.choice(index, "".join(texts.get(index, ())), scores.get(index, ()), finishes[index])
        for index in sorted(finishes)
    ]
    return {**form.head, "object": form.whole, "choices": choices, "usage": _usage(flow)}


async def _stream(
    first: Event,
    events: AsyncIterator[Event],
    flow: Flow,
    form: _Form,
    include_usage: bool,
    call: Call,
) -> AsyncIterator[str]:
    head = {**form.head, "object": form.chunk}
    opened: set[int] = set()

    def chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> str:
        whole = {**head, "choices": choices} | ({"usage": usage} if include_usage else {})
        return f"data: {json.dumps(whole, allow_nan=False)}\n\n"

    def written(event: Event) -> str:
        if event is None:
            return PING
        if isinstance(event, Stage):
            return f": stage {event.name}\n\n"
        lines = ""
        if event.index not in opened:
            opened.add(event.index)
            opening = form.opening(event.index)
            lines += "" if opening is None else chunk([opening])
        if isinstance(event, Ended):
            return lines + chunk([form.ending(event)])
        return lines + chunk([form.piece(event)])

    try:
        yield written(first)
        with named(form.members):
            async for event in events:
                yield written(event)
        if include_usage:
            yield chunk([], _usage(flow))
        yield "data: [DONE]\n\n"
    except Exception as error:
        failure = failure_of(error)
        call.log["error"] = failure.code or failure.status
        yield f"data: {json.dumps(failure.openai())}\n\n"


def _usage(flow: Flow) -> dict[str, Any]:
    return {
        "prompt_tokens": flow.prompt_tokens,
        "completion_tokens": flow.completion_tokens,
        "total_tokens": flow.prompt_tokens + flow.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": flow.cached_tokens},
    } | ({} if flow.timings is None else {"pumice": flow.timings})


def _model(served: Served) -> dict[str, Any]:
    facts = served.facts
    found = {"id": facts.name, "object": "model", "created": int(facts.modified), "owned_by": "pumice"}
    return found | ({} if facts.context is None else {"max_model_len": facts.context})


def _prompts(prompt: str | list[Any]) -> list[str]:
    """The texts of a completion; lists of token ids are refused: ids could spell what text cannot."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    texts = [one for one in prompts if isinstance(one, str) and one]
    if len(texts) != len(prompts):
        raise Failure(
            400, "a prompt is a text that is not empty, or a list of such; token ids are not taken",
            param="prompt", code="invalid_value",
        )  # fmt: skip
    return texts
