"""The bodies of OpenAI's calls. Members that are not named are ignored, as OpenAI's clients expect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Body(BaseModel):
    """Shared by all bodies."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class StreamOptions(Body):
    """``stream_options``."""

    include_usage: bool | None = None
    include_stages: bool | None = None


class ResponseFormat(Body):
    """``response_format``; ``json_schema`` holds the schema one floor deeper, as OpenAI has it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class Sampled(Body):
    """How answers are drawn, in both of OpenAI's calls; null is the default everywhere."""

    model: str | None = Field(None, max_length=256)
    max_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Annotated[dict[str, float], Field(max_length=1024)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Turn(Body):
    """A message: its content is read by ``content``."""

    role: str
    content: str | list[Any] | None = None


class ChatBody(Sampled):
    """``POST /v1/chat/completions``."""

    messages: list[Turn] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    chat_template: Any = None


class RelevanceBody(Body):
    """``POST /v1/pumice/relevance``: a chat whose last message is the answer in question."""

    model: str | None = Field(None, max_length=256)
    messages: list[Turn] = Field(min_length=2)
    span: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None


class CompletionBody(Sampled):
    """``POST /v1/completions``."""

    prompt: str | Annotated[list[Any], Field(min_length=1)]
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None
