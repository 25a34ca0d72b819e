"""The bodies of Ollama's calls. Members that are not named are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pumice.serve.schema import Body, Stop


class Options(Body):
    """``options``: how an answer is drawn. Ollama's own defaults stand here."""

    temperature: float = Field(0.8, ge=0, le=100)
    top_p: float = Field(0.9, gt=0, le=1)
    top_k: int = Field(40, ge=0, lt=2**31)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    num_predict: int | None = Field(None, ge=-2)
    repeat_penalty: float = Field(1.1, ge=0.01, le=10)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None


class OllamaBody(Body):
    """Shared by both of Ollama's calls that answer."""

    model: str = Field(max_length=256)
    stream: bool = True
    options: Options = Field(default_factory=lambda: Options.model_validate({}))
    format: Literal["", "json"] | dict[str, Any] | None = None
    keep_alive: str | float | None = None
    template: str | None = None
    think: bool | str | None = None


class OllamaTurn(Body):
    """A message; pictures are base64 without any address around it."""

    role: str
    content: str = ""
    images: list[str] | None = None


class OllamaChat(OllamaBody):
    """``POST /api/chat``."""

    messages: list[OllamaTurn] = Field(default_factory=list)
    tools: list[Any] | None = None


class OllamaGenerate(OllamaBody):
    """``POST /api/generate``."""

    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    images: list[str] | None = None
    raw: bool = False
    context: list[int] | None = None


class OllamaShow(Body):
    """``POST /api/show``; ``name`` is what older clients send."""

    model: str | None = Field(None, max_length=256)
    name: str | None = Field(None, max_length=256)
