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


class Drawn(Body):
    """How answers are drawn, in all of OpenAI's calls; null is the default everywhere."""

    model: str | None = Field(None, max_length=256)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Annotated[dict[str, float], Field(max_length=1024)] | None = None
    stream: bool | None = None


class Sampled(Drawn):
    """What completions and chat completions share beside it."""

    max_tokens: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1)
    response_format: ResponseFormat | None = None
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


class TextFormat(Body):
    """``text.format`` of a response; the schema stands beside its name."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, serialize_by_alias=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class TextConfig(Body):
    """``text`` of a response."""

    format: TextFormat | None = None


class Item(Body):
    """One item of a response's input: its content is read by ``content``."""

    type: str | None = None
    role: str | None = None
    content: str | list[Any] | None = None


class ResponsesBody(Drawn):
    """``POST /v1/responses``."""

    input: str | Annotated[list[Item], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextConfig | None = None
    include: Annotated[list[str], Field(max_length=16)] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None


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
