"""What is put to a model behind a server: a question with its pictures, and how it is to be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pumice.endpoint.attachment import Attachment

LENGTHS = ("max_tokens", "max_completion_tokens")
"""What servers call the longest answer: all of them the first, OpenAI's newer models the second alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is put to the model.

    Attributes:
        text: the words of the user's turn.
        pictures: they stand before the text, in this order.
        system: the system message; none where it is empty.
        max_tokens: the longest answer; None leaves it to the server.
        temperature: 0 takes the likeliest token; None leaves it to the server.
        seed: of the sampling, for servers that heed it.
        extra: further members of the call, ``{"top_p": 0.9}``.
        examples: earlier turns, of the user and the model, that show what is wanted.
    """

    text: str
    pictures: tuple[Attachment, ...] = ()
    system: str = ""
    max_tokens: int | None = None
    temperature: float | None = 0.0
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()

    def body(self, model: str, length: str = LENGTHS[0]) -> dict[str, Any]:
        """The JSON of the call."""
        content: Any = self.text
        if self.pictures:
            parts = [{"type": "image_url", "image_url": {"url": one.url()}} for one in self.pictures]
            content = [*parts, {"type": "text", "text": self.text}]
        turns = [{"role": "system", "content": self.system}] if self.system else []
        for asked, answered in self.examples:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        settings = {length: self.max_tokens, "temperature": self.temperature, "seed": self.seed}
        return {
            "model": model,
            "messages": [*turns, {"role": "user", "content": content}],
            **{name: value for name, value in settings.items() if value is not None},
            **self.extra,
        }
