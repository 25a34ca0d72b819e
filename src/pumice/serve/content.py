"""From a client's turns to a conversation: roles, texts, and where pictures stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pumice.serve.failure import Failure
from pumice.serve.limits import Limits
from pumice.types import Image, Message, Part, Role, Text

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
DETAILS = ("auto", "low", "high", "original")
CHAT = {"text": "text", "refusal": "text", "image_url": "image"}
"""What the types of a chat's parts hold; other calls have others. A ``refusal`` is an answer sent back."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a picture of a request is, and the member that holds it; ``bare``: it is base64 alone."""

    url: str
    param: str
    bare: bool = False


@dataclass
class Talk:
    """A conversation whose pictures are still sources.

    Attributes:
        messages: turns, those of one role in a row made one.
        sources: pictures by the index that messages use.
    """

    messages: tuple[Message, ...] = ()
    sources: list[Source] = field(default_factory=list)


def talk_of(
    turns: Sequence[tuple[str, Any]],
    limits: Limits,
    *,
    member: str = "messages",
    kinds: Mapping[str, str] = CHAT,
    before: str | None = None,
) -> Talk:
    """Read turns of (role, content), content as OpenAI has it: a string or a list of parts.

    Pictures stand before the words of their message, each on a line of its own, as LLaVA was trained. Where
    words stand between or after pictures on purpose the given order is kept: only pictures behind all words
    come forward.

    Args:
        turns: the conversation.
        limits: how many messages and pictures it may have.
        member: of the request that holds the turns.
        kinds: the types of parts that this call knows, and whether each is a ``text`` or an ``image``.
        before: words of the system that stand before all turns.

    Raises:
        Failure: 400, with the member that is wrong.
    """
    if len(turns) > limits.messages:
        raise Failure(
            400, f"there are {len(turns)} messages, and at most {limits.messages} are taken", param=member
        )
    talk = Talk()
    merged: list[tuple[Role, list[Part]]] = [] if before is None else [("system", [Text(before)])]
    for number, (name, content) in enumerate(turns):
        param = f"{member}[{number}]"
        role = ROLES.get(name)
        if role is None:
            raise Failure(
                400,
                f"the role {name[:40]!r} is not known here; there are {', '.join(ROLES)}",
                param=f"{param}.role",
                code="invalid_value",
            )
        parts = _parts(role, content, talk, f"{param}.content", limits, kinds)
        if merged and merged[-1][0] == role:
            merged[-1][1].extend([Text("\n"), *parts])
        elif role == "system" and merged:
            raise Failure(
                400, "a system message must stand before all others", param=param, code="invalid_value"
            )
        else:
            merged.append((role, parts))
    talk.messages = tuple(Message(role, tuple(parts)) for role, parts in merged)
    return talk


def _parts(
    role: Role, content: Any, talk: Talk, param: str, limits: Limits, kinds: Mapping[str, str]
) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list) or not content:
        raise Failure(400, "a message has no content", param=param, code="invalid_value")
    texts_and_images: list[str | int] = []
    for number, part in enumerate(content):
        one = _part(part, f"{param}[{number}]", kinds)
        if isinstance(one, str):
            texts_and_images.append(one)
            continue
        if role != "user":
            raise Failure(
                400, f"pictures belong into messages of the user, not of the {role}", param=one.param,
                code="invalid_value",
            )  # fmt: skip
        talk.sources.append(one)
        if len(talk.sources) > limits.images:
            raise Failure(
                400, f"a request may show {limits.images} pictures", param=one.param, code="too_many_images"
            )
        texts_and_images.append(len(talk.sources) - 1)
    return laid(texts_and_images)


def laid(pieces: Sequence[str | int]) -> list[Part]:
    """Texts and numbers of pictures as parts of a message; pictures behind all words come before them."""
    kinds = [isinstance(piece, int) for piece in pieces]
    if kinds == sorted(kinds):  # words first, then pictures
        pieces = [piece for piece in pieces if isinstance(piece, int)] + [
            piece for piece in pieces if isinstance(piece, str)
        ]
    parts: list[Part] = []
    for piece in pieces:
        if isinstance(piece, int):
            if parts and isinstance(parts[-1], Text) and not parts[-1].text.endswith("\n"):
                parts.append(Text("\n"))
            parts += [Image(piece), Text("\n")]
        else:
            if parts and isinstance(parts[-1], Text) and not parts[-1].text.endswith("\n"):
                parts.append(Text("\n"))
            parts.append(Text(piece))
    if len(parts) > 1 and isinstance(parts[-2], Image):
        parts.pop()  # a picture that ends a message ends no line
    return parts


def _part(part: Any, param: str, kinds: Mapping[str, str]) -> str | Source:
    """One part: its text, or its picture."""
    kind = part.get("type") if isinstance(part, dict) else None
    held = kinds.get(kind) if isinstance(kind, str) else None
    if held == "text":
        member = "refusal" if kind == "refusal" else "text"
        text = part.get(member)
        if not isinstance(text, str):
            raise Failure(400, "a text part has no text", param=f"{param}.{member}", code="invalid_value")
        return text
    if held != "image":
        said = repr(kind)[:60]
        raise Failure(
            400,
            f"a part of type {said} is not known here; there are {', '.join(map(repr, kinds))}",
            param=f"{param}.type",
            code="invalid_value",
        )
    address = part.get("image_url")
    _check_detail(part, param)
    if isinstance(address, dict):
        _check_detail(address, f"{param}.image_url")
        address = address.get("url")
    if not isinstance(address, str) or not address:
        raise Failure(400, "a picture has no address", param=f"{param}.image_url", code="invalid_value")
    return Source(address, f"{param}.image_url")


def _check_detail(of: Mapping[str, Any], param: str) -> None:
    """Chat has ``detail`` beside the address, responses beside the type."""
    detail = of.get("detail")
    if detail is not None and detail not in DETAILS:
        raise Failure(
            400, f"detail is one of {', '.join(DETAILS)}", param=f"{param}.detail", code="invalid_value"
        )
