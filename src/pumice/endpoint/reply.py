"""What a server answers, out of the JSON of OpenAI's API and of those who write it in their own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        text: the answer, as it was sent; empty where the model gave none.
        finish_reason: ``stop``, ``length`` (it was cut off) and so on; empty where the server is silent.
        usage: tokens by name.
        model: what the server calls the model, which may be more exact than what it was asked for.
    """

    text: str
    finish_reason: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    model: str = ""


def is_reply(value: dict[str, Any]) -> bool:
    """Whether the JSON of a server holds an answer."""
    choices = value.get("choices")
    return bool(
        isinstance(choices, list)
        and choices
        and isinstance(choices[0], dict)
        and isinstance(choices[0].get("message"), dict)
    )


def reply_of(value: dict[str, Any]) -> Reply:
    """The answer in a JSON that ``is_reply``."""
    choice = value["choices"][0]
    message = choice["message"]
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # parts, as some servers write them
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    counts = value.get("usage")
    usage = counts.items() if isinstance(counts, dict) else ()
    return Reply(
        str(content),
        str(choice.get("finish_reason") or ""),
        {name: number for name, number in usage if type(number) is int},
        str(value.get("model") or ""),
    )
