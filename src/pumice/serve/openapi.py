"""The server's calls as an OpenAPI page, made of the very schemas that read the bodies."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import pumice
from pumice.serve.ollama_schema import OllamaChat, OllamaGenerate, OllamaShow
from pumice.serve.schema import ChatBody, CompletionBody, RelevanceBody, ResponsesBody

BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/completions": CompletionBody,
    "/v1/responses": ResponsesBody,
    "/v1/pumice/relevance": RelevanceBody,
    "/api/show": OllamaShow,
    "/api/chat": OllamaChat,
    "/api/generate": OllamaGenerate,
}
"""What each call reads that has a body."""
READ = (
    "/",
    "/health",
    "/metrics",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/pumice",
    "/api/version",
    "/api/tags",
    "/api/ps",
)
"""Calls without one."""
FAILURES = ("400", "401", "403", "404", "408", "413", "422", "429", "500", "503")


def openapi_page() -> dict[str, Any]:
    """OpenAPI 3.1, as ``GET /openapi.json`` gives it."""
    _, schemas = models_json_schema(
        [(body, "validation") for body in BODIES.values()], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {path: {"get": _call(path)} for path in READ}
    for path, body in BODIES.items():
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}
        paths[path] = {"post": {**_call(path), "requestBody": {"required": True, "content": content}}}
    scheme = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pumice", "version": pumice.__version__},
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": {"key": scheme}},
        "security": [{}, {"key": []}],
    }


def _call(path: str) -> dict[str, Any]:
    answers = {"200": {"description": "The answer"}}
    answers |= {status: {"description": "docs/serving.md says when"} for status in FAILURES}
    if "{id}" not in path:
        return {"responses": answers}
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {"parameters": [name], "responses": answers}
