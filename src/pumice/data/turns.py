"""The turns of a conversation as LLaVA and ShareGPT write them: a speaker and a text.

``<image>`` in a text stands for the row's next picture. Every format keeps the same rules: an optional
system turn first, then person and model in turn, the model last, no turn empty, pictures with the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pumice.data.checks import as_list, bad, check_keys
from pumice.data.rows import kind
from pumice.errors import suggest
from pumice.types import PLACEHOLDER, VIDEO_PLACEHOLDER, Image, Message, Part, Role, Text, text_message


@dataclass(frozen=True, slots=True)
class Style:
    """How a format writes a turn: its keys for speaker and text, and its names for who speaks.

    Of keys and names with one meaning the first is the one that is written.
    """

    speaker: tuple[str, ...]
    text: tuple[str, ...]
    roles: Mapping[str, Role]

    def name(self, role: Role) -> str:
        """What the format calls a role."""
        return next(name for name, known in self.roles.items() if known == role)


Turn = tuple[Role, str]

_SHAREGPT = ("user", "assistant", "chatgpt")
"""Speakers that the format sharegpt knows and llava does not."""


def read_turns(turns: object, key: str, style: Style, where: str) -> list[Turn]:
    """Who says what, in order; order and texts are checked."""
    items = as_list(turns, key, where)
    if not items:
        raise bad(
            f"{key} is empty",
            where,
            f"give at least one {style.name('user')} turn and one {style.name('assistant')} turn",
        )
    values = [_turn(item, index, style, where) for index, item in enumerate(items)]
    check_order([role for role, _ in values], style, where)
    return values


def place_images(
    values: Sequence[Turn], images: int, *, front: bool, where: str, of: str = "image"
) -> tuple[Message, ...]:
    """Turns as messages, each placeholder the next of the row's ``images`` pictures.

    Args:
        values: as ``read_turns`` gives them.
        images: how many pictures, or videos, the row has.
        front: move the only picture of a row to the front of its turn, a newline behind it, and strip
            the text around it (LLaVA's ``preprocess_multimodal``). Several pictures keep their places.
        where: the place that errors name.
        of: ``image``, or ``video`` where the row shows videos: there ``<video>`` is a placeholder, too.
    """
    if of == "video":
        values = [_as_images(role, value, index, where) for index, (role, value) in enumerate(values)]
    found = sum(value.count(PLACEHOLDER) for _, value in values)
    if found != images:
        raise bad(
            f"{found} {PLACEHOLDER} placeholder(s) for {images} {of}(s)",
            where,
            f"write {PLACEHOLDER} once in a turn of the person for each entry of {of}",
        )
    messages: list[Message] = []
    seen = 0
    for index, (role, value) in enumerate(values):
        here = value.count(PLACEHOLDER) if images else 0
        if not here and not value.strip():
            raise bad(f"turn {index} is empty", where, "write its text, or remove the row")
        messages.append(_message(role, value, seen, here, alone=front and images == 1))
        seen += here
    return tuple(messages)


def _as_images(role: Role, value: str, index: int, where: str) -> Turn:
    """A turn of a row with videos: ``<video>`` stands for one as ``<image>`` does."""
    if VIDEO_PLACEHOLDER in value and role != "user":
        raise bad(
            f"turn {index} holds {VIDEO_PLACEHOLDER}",
            where,
            "videos belong to the turns of the person who asks",
        )
    return role, value.replace(VIDEO_PLACEHOLDER, PLACEHOLDER)


def write_text(message: Message, index: int, where: str, *, videos: bool = False) -> str:
    """A message as one text with placeholders.

    Raises:
        DataError: its words hold ``<image>`` (or ``<video>``, in a row with videos), which would be read as
            a picture.
    """
    for word in (PLACEHOLDER, VIDEO_PLACEHOLDER) if videos else (PLACEHOLDER,):
        if any(isinstance(part, Text) and word in part.text for part in message.parts):
            raise bad(
                f"the text of turn {index} holds {word}, which means a picture in this format",
                where,
                "write the format messages, where text is text",
            )
    return "".join(part.text if isinstance(part, Text) else PLACEHOLDER for part in message.parts)


def check_order(roles: Sequence[Role], style: Style, where: str) -> None:
    """Person and model in turn, the model last; a system turn may come first."""
    body = roles[1:] if roles[0] == "system" else roles
    shift = len(roles) - len(body)
    person, model = style.name("user"), style.name("assistant")
    for index, role in enumerate(body):
        expected: Role = "assistant" if index % 2 else "user"
        if role != expected:
            raise bad(
                f"turn {index + shift} is from {style.name(role)} where {style.name(expected)} must speak",
                where,
                f"turns alternate {person}, {model}; a system turn may only come first",
            )
    if len(body) % 2 or not body:
        raise bad("the last turn is not an answer", where, f"end the conversation with a {model} turn")


def check_text(role: Role, index: int, *, empty: bool, pictured: bool, name: str, where: str) -> None:
    """An answer is not empty, and pictures stand with the person."""
    if role == "assistant" and empty:
        raise bad(f"the answer of turn {index} is empty", where, "write the answer, or remove the row")
    if role != "user" and pictured:
        raise bad(
            f"turn {index} is from {name} and holds {PLACEHOLDER}",
            where,
            "images belong to the turns of the person who asks",
        )


def _turn(turn: object, index: int, style: Style, where: str) -> Turn:
    if not isinstance(turn, dict):
        raise bad(
            f"turn {index} is {kind(turn)}, not an object",
            where,
            f'write {{"{style.speaker[0]}": ..., "{style.text[0]}": ...}}',
        )
    by, said = style.speaker[0], style.text[0]
    if style.speaker == ("from",) and ({"role", "content"} <= turn.keys() or turn.get(by) in _SHAREGPT):
        has = f"is from {turn[by]!r}" if by in turn else "has role and content"
        raise bad(
            f"turn {index} {has}, as the format sharegpt writes it",
            where,
            f"say --format sharegpt (in a recipe: data.NAME.format); or write {by} "
            f"({', '.join(style.roles)}) and {said}",
        )
    if turn.keys() != {by, said}:
        check_keys(turn, (*style.speaker, *style.text), where, of=f"turn {index}")
        by = next((key for key in style.speaker if key in turn), by)
        said = next((key for key in style.text if key in turn), said)
        if len(turn) > 2:
            raise bad(
                f"turn {index} has the keys {', '.join(turn)}", where, f"write {by} and {said} once each"
            )
    speaker, value = turn.get(by), turn.get(said)
    if not isinstance(speaker, str) or speaker not in style.roles:
        raise bad(f"turn {index} is from {speaker!r}", where, suggest(str(speaker), style.roles))
    if not isinstance(value, str):
        raise bad(f"the value of turn {index} is {kind(value)}, not a string", where, "write the turn's text")
    role = style.roles[speaker]
    if role != "user":
        check_text(
            role,
            index,
            empty=not value.strip(),
            pictured=PLACEHOLDER in value,
            name=speaker,
            where=where,
        )
    return role, value


def _message(role: Role, value: str, first: int, count: int, *, alone: bool) -> Message:
    """A turn with ``count`` placeholders, whose images are numbered from ``first``."""
    if not count:
        return Message(role, (Text(value),))
    if alone:
        rest = value.replace(PLACEHOLDER, "").strip()
        return text_message(role, rest, [first]) if rest else Message(role, (Image(first),))
    parts: list[Part] = []
    for index, piece in enumerate(value.split(PLACEHOLDER)):
        if index:
            parts.append(Image(first + index - 1))
        parts.append(Text(piece))
    return Message(role, canonical(parts))


def canonical(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The one way to divide what parts say: neighbouring texts are one, but a newline that follows a picture
    stands alone (``text_message`` writes it so), and no text is empty."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Text) and isinstance(last, Text):
            found[-1] = Text(last.text + part.text)
        elif not isinstance(part, Text) or part.text:
            found.append(part)
    divided: list[Part] = []
    for part in found:
        pictured = bool(divided) and isinstance(divided[-1], Image)
        if pictured and isinstance(part, Text) and part.text.startswith("\n") and len(part.text) > 1:
            divided += [Text("\n"), Text(part.text[1:])]
        else:
            divided.append(part)
    return tuple(divided)
