"""What planting changes: a row as it becomes, and the truth about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from pumice.types import Image, Message, Sample, Text

Kind = Literal[
    "duplicates", "near-duplicates", "mismatches", "triggers", "phrases", "label-flips", "personal"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHORT = 3
"""Words of an answer that counts as short: it names something and tells nothing."""


@dataclass(frozen=True)
class Planted:
    """One fault.

    Attributes:
        kind: which.
        row: the number, in the data as it was, of the row that is changed, or that a new row was made of.
        sample: the row as it is written.
        names: what it calls its pictures.
        pictures: the bytes of those that are new, by name.
        added: whether it is a new row, beside the one it was made of.
        details: the truth, as JSON.
    """

    kind: Kind
    row: int
    sample: Sample
    names: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    added: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


def with_text(message: Message, text: str) -> Message:
    """A message with other words; its pictures stand where they stood, before or behind the words."""
    pictures = [part for part in message.parts if isinstance(part, Image)]
    if not pictures:
        return Message(message.role, (Text(text),))
    first = next(
        place for place, part in enumerate(message.parts) if isinstance(part, Text) and part.text.strip()
    )
    before = tuple(part for part in message.parts[:first] if isinstance(part, Image))
    after = tuple(part for part in message.parts[first:] if isinstance(part, Image))
    lead: tuple[Any, ...] = tuple(one for picture in before for one in (picture, Text("\n")))
    return Message(message.role, (*lead, Text(text), *after))


def words_of(message: Message) -> str:
    """What a message says, without the blanks around pictures."""
    return message.text.strip()


def with_message(sample: Sample, number: int, text: str) -> Sample:
    """A sample with other words in one message."""
    messages = list(sample.messages)
    messages[number] = with_text(messages[number], text)
    return replace(sample, messages=tuple(messages))


def answers(sample: Sample) -> list[int]:
    """The numbers of the messages that answer a question."""
    return [number for number, one in enumerate(sample.messages) if one.role == "assistant" and number]


def is_short(answer: str) -> bool:
    """Whether an answer names something and no more."""
    return 0 < len(answer.split()) <= SHORT


def shape_of(question: str) -> str:
    """What a question asks for, by its first three words."""
    return " ".join(question.lower().split()[:3])


def same_words(left: str, right: str) -> bool:
    """Whether two answers say the same but for case, blanks and a full stop."""
    return _plain(left) == _plain(right)


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def first_line(text: str) -> str:
    """A question without the response-format prompt that stands behind it on a line of its own."""
    return text.split("\n", 1)[0]


def replaced(sequence: Sequence[str], place: int, value: str) -> tuple[str, ...]:
    """The same strings but for one."""
    return (*sequence[:place], value, *sequence[place + 1 :])
