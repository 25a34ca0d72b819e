"""What a conversation must be before it can be rendered, and its pairs.

Messages are counted from 0, as they stand in the sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pumice.errors import DataError, TemplateError
from pumice.text.template import Template
from pumice.types import Image, Message, Part, Text


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer (None where the model is to write it)."""

    question: tuple[Part, ...]
    answer: str | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A checked conversation: the system prompt to write ("" for none) and at least one pair."""

    system: str
    pairs: tuple[Pair, ...]


def read_conversation(
    messages: Sequence[Message], template: Template, n_images: int, *, generation_prompt: bool
) -> Conversation:
    """Check the order of roles, the answers and the images, and pair questions with answers.

    Raises:
        DataError: the roles do not alternate from user to assistant after an optional system
            message, the last role is wrong, a message is empty, or the images do not match.
        TemplateError: the template has no place for what the conversation holds.
    """
    system, turns = template.system, list(messages)
    if template.strip:
        turns = [_stripped(message, template) for message in messages]
    if turns and turns[0].role == "system":
        system = turns[0].text
        turns = turns[1:]
    offset = len(messages) - len(turns)
    if offset and system.strip() and not template.takes_system:
        raise TemplateError(
            f"template {template.name!r} has no place for a system prompt",
            where=_at(0, "system"),
            remedy="put its words into the first question, or drop it",
        )
    if not turns:
        raise DataError("the conversation has no user message", remedy="give it a question")
    for index, message in enumerate(turns):
        _check_turn(message, index + offset, "user" if index % 2 == 0 else "assistant")
        if template.unwritable:
            _check_writable(message, index + offset, template)
    _check_end(turns[-1], len(messages) - 1, generation_prompt)
    _check_images(messages, n_images)
    if template.images_only:
        _check_images_only(turns, template, has_system=offset > 0, n_images=n_images)
    pairs = tuple(
        Pair(
            _question(turns[at], template),
            turns[at + 1].text if at + 1 < len(turns) else None,
        )
        for at in range(0, len(turns), 2)
    )
    return Conversation(system if system.strip() else "", pairs)


def split_shared(question: tuple[Part, ...]) -> tuple[tuple[Part, ...], str]:
    """What all questions about one picture share: the parts up to the last image, and the glue.

    The glue is the blank text between the last image and the question's words; it stands before
    every other question too. A question without images shares nothing.

    Raises:
        TemplateError: the question's words stand before its image.
    """
    last = max((at for at, part in enumerate(question) if isinstance(part, Image)), default=-1)
    shared, rest = question[: last + 1], question[last + 1 :]
    if not shared:
        return (), ""
    words = "".join(part.text for part in rest if isinstance(part, Text))
    if not words.strip() and any(part.text.strip() for part in shared if isinstance(part, Text)):
        raise TemplateError(
            "the first question stands before its image, so every branch would hold it",
            remedy="put the image before the question, or render without branch_turns",
        )
    return shared, words[: len(words) - len(words.lstrip())] if words.strip() else words


def _stripped(message: Message, template: Template) -> Message:
    """The message without the blanks at its ends, where the template strips its role."""
    if message.role not in template.strip:
        return message
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, Text) and parts and isinstance(parts[-1], Text):
            parts[-1] = Text(parts[-1].text + part.text)
        else:
            parts.append(part)
    if parts and isinstance(parts[0], Text):
        parts[0] = Text(parts[0].text.lstrip())
    if parts and isinstance(parts[-1], Text):
        parts[-1] = Text(parts[-1].text.rstrip())
    return replace(message, parts=tuple(parts))


def _check_writable(message: Message, index: int, template: Template) -> None:
    if message.role != "assistant":
        return
    for string in template.unwritable:
        if string in message.text:
            raise TemplateError(
                f"the answer holds {string!r}, and the chat template that {template.name!r} was learned from "
                "rewrites such answers",
                where=_at(index, message.role),
                remedy="leave the reasoning out, or choose a template by its name",
            )


def _question(message: Message, template: Template) -> tuple[Part, ...]:
    if template.images_only:
        return tuple(part for part in message.parts if isinstance(part, Image))
    return message.parts


def _at(index: int, role: str) -> str:
    return f"message {index} ({role})"


def _check_turn(message: Message, index: int, role: str) -> None:
    where = _at(index, message.role)
    if message.role != role:
        raise DataError(
            f"the roles do not alternate: {message.role!r} stands where {role!r} must",
            where=where,
            remedy="after an optional system message, write user, assistant, user, assistant, ...",
        )
    if role == "assistant":
        if not message.text.strip():
            raise DataError("the answer is empty", where=where, remedy="write an answer or drop the pair")
    elif not message.text.strip() and not any(isinstance(part, Image) for part in message.parts):
        raise DataError("the question is empty", where=where, remedy="write a question or drop the pair")


def _check_end(last: Message, index: int, generation_prompt: bool) -> None:
    if generation_prompt and last.role != "user":
        raise DataError(
            "a generation prompt must end with a user message",
            where=_at(index, last.role),
            remedy="drop the last answer, or add the next question",
        )
    if not generation_prompt and last.role != "assistant":
        raise DataError(
            "the last question has no answer",
            where=_at(index, last.role),
            remedy="add its answer, or ask for a generation prompt",
        )


def _images(messages: Iterable[Message]) -> Iterable[tuple[int, Message, int]]:
    for at, message in enumerate(messages):
        for part in message.parts:
            if isinstance(part, Image):
                yield at, message, part.index


def _check_images(messages: Sequence[Message], n_images: int) -> None:
    used: dict[int, int] = {}
    for at, message, index in _images(messages):
        where = _at(at, message.role)
        if message.role != "user":
            raise DataError(
                f"image {index} stands in a message of the {message.role}",
                where=where,
                remedy="images belong to user messages",
            )
        if not 0 <= index < n_images:
            raise DataError(
                f"image {index} does not exist: the sample has {n_images} images, counted from 0",
                where=where,
                remedy="give the missing image, or take its placeholder out",
            )
        if index in used:
            raise DataError(
                f"image {index} is used twice, first in message {used[index]}",
                where=where,
                remedy="use each image once; list a picture twice to show it twice",
            )
        used[index] = at
    if len(used) < n_images:
        unused = next(index for index in range(n_images) if index not in used)
        raise DataError(
            f"the sample has {n_images} images and its messages use {len(used)}: image {unused} is unused",
            where=f"messages 0 to {len(messages) - 1}",
            remedy="put a placeholder for it into a user message, or take the image out",
        )


def _check_images_only(
    turns: Sequence[Message], template: Template, *, has_system: bool, n_images: int
) -> None:
    remedy = "choose a conversation template, such as 'v1' or 'tiny'"
    if has_system:
        raise TemplateError(
            f"template {template.name!r} has no system prompt", where=_at(0, "system"), remedy=remedy
        )
    if len(turns) > 2:
        raise TemplateError(
            f"template {template.name!r} takes one pair and this conversation has {(len(turns) + 1) // 2}",
            where=_at(2, turns[2].role),
            remedy=remedy,
        )
    if n_images == 0:
        raise TemplateError(
            f"template {template.name!r} takes captions of images and this conversation has no image",
            where=_at(0, turns[0].role),
            remedy=remedy,
        )
