"""All routes of a server, behind its door."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from pumice.serve.call import Call, Gone, Handle, Reply, Whole, failed, raced, read_body
from pumice.serve.failure import Failure, failure_of
from pumice.serve.guard import CALL, Door, Guard
from pumice.serve.metrics import CONTENT_TYPE
from pumice.serve.ollama import Ollama
from pumice.serve.openai import OpenAI
from pumice.serve.openapi import openapi_page
from pumice.serve.own import Own
from pumice.serve.page import part
from pumice.serve.responses import Responses
from pumice.serve.service import Service

logger = logging.getLogger("pumice.serve")


class Endpoint:
    """One route: the body is read, then the answer is made unless its client leaves.

    Args:
        name: in log and metrics.
        handles: what answers, by method.
        service: its limits.
    """

    def __init__(self, name: str, handles: dict[str, Handle], service: Service) -> None:
        self.name, self.handles, self.service = name, handles, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, or tell how it failed."""
        call: Call = scope[CALL]
        call.route, call.path_params = self.name, scope.get("path_params", {})
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        handle = self.handles.get(method)
        if handle is None:
            raise Failure(405, f"{self.name} is called with {' or '.join(self.handles)}")
        try:
            body = await read_body(scope, receive, self.service.limits) if method == "POST" else b""
            await raced(self._answer(call, handle, body, send), receive)
        except Gone:
            call.log["left"] = True
        except Exception as error:
            failure = failure_of(error)
            call.log["error"] = failure.code or failure.status
            # Waiting is no fault, and neither is a server that stops.
            if failure.status >= 500 and failure.code not in ("model_loading", "aborted"):
                logger.error("call %s failed", call.id, exc_info=_cause(error))
            if call.status:  # half an answer is out: nothing can be added to it
                raise
            await failed(failure, call).send(send)

    async def _answer(self, call: Call, handle: Handle, body: bytes, send: Send) -> None:
        async with AsyncExitStack() as stack:
            call.stack = stack
            reply = await handle(call, body)
            await reply.send(send)


def make_app(service: Service, door: Door) -> ASGIApp:
    """The whole server as an ASGI application."""
    openai, responses, ollama, own = OpenAI(service), Responses(service), Ollama(service), Own(service)

    async def health(call: Call, body: bytes) -> Reply:
        standing = service.standing
        if standing == "ok":
            return Whole({"status": "ok"})
        return Whole({"status": standing}, 503, headers=(("Retry-After", "2"),))

    async def metrics(call: Call, body: bytes) -> Reply:
        return Whole(service.metrics.text(_gauges(service)), content_type=CONTENT_TYPE)

    async def openapi_json(call: Call, body: bytes) -> Reply:
        return Whole(openapi_page())

    table: dict[str, dict[str, Handle]] = {
        "/": {"GET": ollama.root},
        "/health": {"GET": health},
        "/metrics": {"GET": metrics},
        "/openapi.json": {"GET": openapi_json},
        "/v1/models": {"GET": openai.models},
        "/v1/models/{id:path}": {"GET": openai.model},
        "/v1/chat/completions": {"POST": openai.chat},
        "/v1/completions": {"POST": openai.complete},
        "/v1/responses": {"POST": responses.create},
        "/v1/pumice": {"GET": own.about},
        "/v1/pumice/relevance": {"POST": own.relevance},
        "/page/{name}": {"GET": part},
        "/api/version": {"GET": ollama.version},
        "/api/tags": {"GET": ollama.tags},
        "/api/ps": {"GET": ollama.running},
        "/api/show": {"POST": ollama.show},
        "/api/chat": {"POST": ollama.chat},
        "/api/generate": {"POST": ollama.generate},
    }
    routes = [Route(path, Endpoint(path, handles, service)) for path, handles in table.items()]
    return Guard(Router(routes, default=_nothing, redirect_slashes=False), service, door)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise Failure(
        404, "there is nothing at this address; docs/serving.md lists what there is", code="not_found"
    )


def _gauges(service: Service) -> dict[str, list[tuple[dict[str, str], float]]]:
    loads = {
        name: served.backend.load()
        for name, served in service.models.all.items()
        if served.backend is not None
    }
    told = {
        "pumice_requests_running": "running",
        "pumice_requests_waiting": "waiting",
        "pumice_tokens_reserved": "tokens_reserved",
        "pumice_tokens_held": "tokens_held",
        "pumice_tokens_kept": "tokens_kept",
        "pumice_picture_cache_bytes": "picture_cache_bytes",
    }
    return {
        **{
            gauge: [({"model": name}, getattr(load, member)) for name, load in loads.items()]
            for gauge, member in told.items()
        },
        "pumice_requests_open": [({}, service.open)],
        "pumice_model_loaded": [
            ({"model": name}, float(served.state == "ready")) for name, served in service.models.all.items()
        ],
    }


def _cause(error: Exception) -> BaseException:
    """What lies under a failure: its words are for the client, its cause for the log."""
    return error.__cause__ or error
