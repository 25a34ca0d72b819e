"""Ollama's calls, for programs that know no others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pumice
from pumice.serve.backend import Ask, Piece, Settings
from pumice.serve.call import Call, Reply, Streamed, Whole
from pumice.serve.content import Source, Talk, laid, talk_of
from pumice.serve.failure import Failure, failure_of
from pumice.serve.flow import Ended, Flow
from pumice.serve.models import Served
from pumice.serve.ollama_schema import OllamaBody, OllamaChat, OllamaGenerate, OllamaShow
from pumice.serve.page import page, wants_page
from pumice.serve.service import Service, elapsed_ns, read
from pumice.types import Message, Text

LINES = "application/x-ndjson"


class Ollama:
    """The routes; ``service`` is what they share with others."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def root(self, call: Call, body: bytes) -> Reply:
        """``GET /``: the chat page for browsers; else the words by which programs recognise a server."""
        if wants_page(call.accept):
            return page()
        return Whole("Ollama is running", content_type="text/plain; charset=utf-8")

    async def version(self, call: Call, body: bytes) -> Reply:
        """``GET /api/version``."""
        return Whole({"version": pumice.__version__})

    async def tags(self, call: Call, body: bytes) -> Reply:
        """``GET /api/tags``."""
        return Whole({"models": [_listed(one) for one in self.service.models.all.values()]})

    async def running(self, call: Call, body: bytes) -> Reply:
        """``GET /api/ps``: the models in memory."""
        served = self.service.models.all.values()
        return Whole({"models": [_listed(one) for one in served if one.state == "ready"]})

    async def show(self, call: Call, body: bytes) -> Reply:
        """``POST /api/show``."""
        given = read(body, OllamaShow)
        facts = self.service.models.get(given.model or given.name).facts
        info: dict[str, Any] = {
            "general.architecture": facts.family,
            "general.parameter_count": facts.parameters,
        }
        if facts.context is not None:
            info[f"{facts.family}.context_length"] = facts.context
        return Whole(
            {
                "modelfile": f"# {facts.name}, served by Pumice {pumice.__version__}",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": _details(self.service.models.get(facts.name)),
                "model_info": info,
                "capabilities": ["completion", "vision"],
                "modified_at": facts.when,
            }
        )

    async def chat(self, call: Call, body: bytes) -> Reply:
        """``POST /api/chat``."""
        given = read(body, OllamaChat)
        served = self._served(given)
        if given.tools:
            raise Failure(400, "tools are not known here", param="tools")
        if not given.messages:
            return await self._memory(call, served, given, {"message": {"role": "assistant", "content": ""}})
        turns = []
        for number, turn in enumerate(given.messages):
            parts: list[Any] = [{"type": "text", "text": turn.content}] if turn.content else []
            urls = [{"type": "image_url", "image_url": image} for image in turn.images or ()]
            turns.append((turn.role, [*urls, *parts] or turn.content))
            _check_images(turn.images, f"messages[{number}].images")
        talk = _bare(talk_of(turns, self.service.limits))
        images = await self.service.pictures(call, talk.sources)
        flow = await self.service.flow(
            call, served, [Ask(talk.messages, None, images, self._settings(given))]
        )
        return await self._reply(
            call, given, served, flow, lambda text: {"message": {"role": "assistant", "content": text}}
        )

    async def generate(self, call: Call, body: bytes) -> Reply:
        """``POST /api/generate``: one question, or with ``raw`` a text to go on with."""
        given = read(body, OllamaGenerate)
        served = self._served(given)
        for name in ("suffix", "context"):
            if getattr(given, name):
                raise Failure(400, f"{name} is not known here", param=name)
        if not given.prompt and not given.images:
            return await self._memory(call, served, given, {"response": ""})
        _check_images(given.images, "images")
        settings = self._settings(given)
        if given.raw:
            if given.images:
                raise Failure(400, "pictures need a template: leave raw away", param="images")
            ask = Ask((), given.prompt, (), settings)
        else:
            sources = [Source(image, f"images[{k}]", bare=True) for k, image in enumerate(given.images or ())]
            if len(sources) > self.service.limits.images:
                raise Failure(
                    400, f"a request may show {self.service.limits.images} pictures", param="images"
                )
            images = await self.service.pictures(call, sources)
            pieces: list[str | int] = [*range(len(images)), *([given.prompt] if given.prompt else [])]
            question = Message("user", tuple(laid(pieces)))
            opening = () if given.system is None else (Message("system", (Text(given.system),)),)
            ask = Ask((*opening, question), None, images, settings)
        flow = await self.service.flow(call, served, [ask])
        return await self._reply(call, given, served, flow, lambda text: {"response": text})

    def _served(self, given: OllamaBody) -> Served:
        if given.template:
            raise Failure(400, "a client cannot bring a template", param="template")
        if given.think:
            raise Failure(400, "no model here thinks aloud", param="think")
        return self.service.models.get(given.model)

    def _settings(self, given: OllamaBody) -> Settings:
        options = given.options
        stop = [options.stop] if isinstance(options.stop, str) else options.stop or []
        wanted = options.num_predict
        endless = wanted is not None and wanted < 0
        limit = self.service.limits.new_tokens if endless else wanted or None
        shape: Mapping[str, Any] | None = None
        if given.format:
            json_ = given.format == "json"
            shape = {"type": "json_object"} if json_ else {"type": "json_schema", "schema": given.format}
        return Settings(
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            seed=self.service.seed(options.seed),
            max_new_tokens=self.service.new_tokens(limit),
            repetition_penalty=options.repeat_penalty,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            stop=tuple(stop),
            shape=shape,
        )

    async def _memory(self, call: Call, served: Served, given: OllamaBody, empty: dict[str, Any]) -> Reply:
        """A call without words: the model is loaded, or let go where ``keep_alive`` is 0."""
        models = self.service.models
        if given.keep_alive in (0, "0", "0s", "0m"):
            await models.unload(served)
            reason = "unload"
        else:
            async with models.use(served):
                reason = "load"
        return Whole(_head(served) | empty | {"done": True, "done_reason": reason})

    async def _reply(
        self,
        call: Call,
        given: OllamaBody,
        served: Served,
        flow: Flow,
        member: Callable[[str], dict[str, Any]],
    ) -> Reply:
        if not given.stream:
            texts: list[str] = []
            async for event in flow.events():
                if isinstance(event, Piece):
                    texts.append(event.text)
                else:
                    return Whole(_head(served) | member("".join(texts)) | _end(call, flow, event))
            raise AssertionError("a flow ends with an end")
        events = flow.events()
        try:
            first = await anext(events)
        except Exception as error:
            raise failure_of(error) from error
        return Streamed(_stream(first, events, call, served, flow, member), LINES)


async def _stream(
    first: Piece | Ended,
    events: AsyncIterator[Piece | Ended],
    call: Call,
    served: Served,
    flow: Flow,
    member: Callable[[str], dict[str, Any]],
) -> AsyncIterator[str]:
    def written(event: Piece | Ended) -> str:
        head = _head(served)
        if isinstance(event, Piece):
            return json.dumps(head | member(event.text) | {"done": False}) + "\n"
        return json.dumps(head | member("") | _end(call, flow, event)) + "\n"

    try:
        yield written(first)
        async for event in events:
            yield written(event)
    except Exception as error:
        failure = failure_of(error)
        call.log["error"] = failure.code or failure.status
        yield json.dumps(failure.ollama()) + "\n"


def _end(call: Call, flow: Flow, ended: Ended) -> dict[str, Any]:
    usage = ended.usage
    total = elapsed_ns(call.started)
    first = round(1e9 * usage.first_token_seconds)
    return {
        "done": True,
        "done_reason": ended.finish,
        "total_duration": total,
        "load_duration": 0,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": min(first, total),
        "eval_count": usage.completion_tokens,
        "eval_duration": max(0, total - first),
    }


def _head(served: Served) -> dict[str, Any]:
    return {"model": served.name, "created_at": datetime.now(UTC).isoformat()}


def _listed(served: Served) -> dict[str, Any]:
    facts = served.facts
    return {
        "name": facts.name,
        "model": facts.name,
        "modified_at": facts.when,
        "size": facts.size,
        "digest": facts.digest,
        "details": _details(served),
    }


def _details(served: Served) -> dict[str, Any]:
    facts = served.facts
    number = facts.parameters
    size = f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": facts.family,
        "families": [facts.family],
        "parameter_size": size,
        "quantization_level": facts.dtype,
    }


def _check_images(images: list[str] | None, param: str) -> None:
    if images is not None and any(not image for image in images):
        raise Failure(400, "a picture is empty", param=param)


def _bare(talk: Talk) -> Talk:
    """The same talk with pictures that are base64 alone."""
    talk.sources = [Source(source.url, source.param, bare=True) for source in talk.sources]
    return talk
