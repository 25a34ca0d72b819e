"""The row that OpenAI's and Hugging Face's chat formats share: ``messages`` of roles and contents.

``{"id"?, "messages": [{"role": "system" | "user" | "assistant", "content": str | [part]}], "images"?: [str],
"regions"?, "rejected"?}``. A part is ``{"type": "text", "text"}``, ``{"type": "image"}`` with the name of a
file under ``image``, ``path`` or ``url``, or without one (then it is the next of the row's ``images``), or
``{"type": "image_url", "image_url": {"url"}}``, where a ``data:`` URL holds the picture itself. A video is
``{"type": "video"}`` with the name of a file or of a folder of frames under ``video``, ``path`` or ``url``.

Text is text here, ``<image>`` too. Where pictures stand before one text, as the chat templates of LLaVA put
them, a newline follows each, so that such a row means what LLaVA's means. In any other order parts stay
as they are. ``rejected`` is a worse answer than the last one, as text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pumice.data.checks import as_list, bad, check_keys, image_name
from pumice.data.draft import (
    METADATA,
    Clip,
    Draft,
    Embedded,
    Shown,
    read_regions,
    read_rejected,
    row_id,
    write_regions,
)
from pumice.data.rights import read_rights, write_rights
from pumice.data.rows import kind
from pumice.data.turns import Style, canonical, check_order, check_text
from pumice.errors import DataError, suggest
from pumice.types import Image, Message, Part, Role, Sample, Text, Video, text_message

STYLE = Style(("role",), ("content",), {"user": "user", "assistant": "assistant", "system": "system"})
KEYS = ("id", "messages", "images", "image", "regions", "rejected")
PARTS = {
    "text": ("type", "text"),
    "image": ("type", "image", "path", "url"),
    "image_url": ("type", "image_url"),
    "video": ("type", "video", "path", "url"),
}
"""The kinds of content, and the keys of each."""

_DATA = re.compile(r"data:image/[a-z.+-]+;base64,", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def parse(row: dict[str, Any], number: int, where: str, given: int | None = None) -> Draft:
    """A row of messages.

    Args:
        row: the object.
        number: stands in for a missing id.
        where: the place that errors name.
        given: how many pictures the row's container holds for it, where it holds pictures; what the row
            says of them then only names them.

    Raises:
        DataError: the first thing that is wrong with it.
    """
    check_keys(row, (*KEYS, *METADATA), where)
    items = as_list(row.get("messages"), "messages", where)
    if not items:
        raise bad("messages is empty", where, "give at least one user message and one assistant message")
    shown: list[Shown] = []
    messages = tuple([_message(item, index, shown, where) for index, item in enumerate(items)])
    check_order([message.role for message in messages], STYLE, where)
    images = _named(shown, _beside(row, where), given, where)
    return Draft(
        row_id(row.get("id"), number, where),
        messages,
        images,
        read_regions(row.get("regions"), len(images), where),
        read_rejected(row.get("rejected"), messages, where),
        read_rights(row, where),
    )


def write(sample: Sample, names: Sequence[str]) -> dict[str, Any]:
    """A sample as a row of messages; ``names`` are those of its pictures. Nothing is lost."""
    row: dict[str, Any] = {"id": sample.id}
    row["messages"] = [
        {"role": message.role, "content": write_content(message, sample, names)}
        for message in sample.messages
    ]
    if sample.regions:
        row["regions"] = write_regions(sample.regions)
    if sample.rejected is not None:
        row["rejected"] = sample.rejected
    return row | write_rights(sample.rights)


def write_content(message: Message, sample: Sample, names: Sequence[str]) -> str | list[dict[str, Any]]:
    """A message's text, or its parts where it shows pictures; ``names`` are those of the sample's."""
    if all(isinstance(part, Text) for part in message.parts):
        return message.text

    videos = {index for index, picture in enumerate(sample.images) if isinstance(picture, Video)}

    def shown(index: int) -> dict[str, Any]:
        form = "video" if index in videos else "image"
        return {"type": form, form: names[index]}

    indices = [part.index for part in message.parts if isinstance(part, Image)]
    images = [shown(index) for index in indices]
    last = message.parts[-1]
    if isinstance(last, Text) and message.parts == text_message(message.role, last.text, indices).parts:
        return [*images, {"type": "text", "text": last.text}]  # reads back with its newlines
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text):
            parts.append({"type": "text", "text": part.text})
        else:
            parts.append(shown(part.index))
    # An empty text before the first picture says: as they stand, without newlines.
    lone = all(part["type"] != "text" for part in parts)
    return parts if lone or parts[0]["type"] == "text" else [{"type": "text", "text": ""}, *parts]


def _message(item: object, index: int, shown: list[Shown], where: str) -> Message:
    """One message; the pictures it shows are put behind those in ``shown``."""
    if not isinstance(item, dict):
        raise bad(
            f"message {index} is {kind(item)}, not an object", where, 'write {"role": ..., "content": ...}'
        )
    check_keys(item, ("role", "content"), where, required=("role", "content"), of=f"message {index}")
    name, content = item["role"], item["content"]
    if not isinstance(name, str) or name not in STYLE.roles:
        raise bad(f"message {index} is from {name!r}", where, suggest(str(name), STYLE.roles))
    role = STYLE.roles[name]
    if isinstance(content, str):
        parts: list[Part] = [Text(content)]
    elif isinstance(content, list):
        parts = [_part(part, f"part {n} of message {index}", shown, where) for n, part in enumerate(content)]
    else:
        raise bad(
            f"the content of message {index} is {kind(content)}", where, "write text, or a list of parts"
        )
    empty = not any(isinstance(part, Text) and part.text.strip() for part in parts)
    pictured = any(isinstance(part, Image) for part in parts)
    check_text(role, index, empty=empty, pictured=pictured, name=name, where=where)
    if empty and not pictured:
        raise bad(f"message {index} is empty", where, "write its text, or remove the row")
    return Message(role, _arranged(role, parts))


def _arranged(role: Role, parts: Sequence[Part]) -> tuple[Part, ...]:
    images = [part.index for part in parts if isinstance(part, Image)]
    last = parts[-1]
    if images and len(images) == len(parts) - 1 and isinstance(last, Text):
        return canonical(text_message(role, last.text, images).parts)
    return canonical(parts)


def _part(part: object, name: str, shown: list[Shown], where: str) -> Part:
    if not isinstance(part, dict):
        raise bad(f"{name} is {kind(part)}, not an object", where, 'write {"type": "text", "text": ...}')
    form = part.get("type")
    if not isinstance(form, str) or form not in PARTS:
        raise bad(f"{name} has the type {form!r}", where, suggest(str(form), PARTS))
    check_keys(part, PARTS[form], where, of=name)
    if form == "text":
        if not isinstance(part.get("text"), str):
            raise bad(f"the text of {name} is {kind(part.get('text'))}", where, "write its text")
        return Text(part["text"])
    shown.append(_picture(part, form, name, where))
    return Image(len(shown) - 1)


def _picture(part: dict[str, Any], form: str, name: str, where: str) -> Shown:
    given = [part[key] for key in PARTS[form][1:] if part.get(key) is not None]
    if len(given) > 1:
        raise bad(f"{name} names several pictures", where, f"keep one of {form}, path and url")
    value = given[0] if given else None
    if form == "video":
        if value is None:
            raise bad(f"{name} names no video", where, 'write {"type": "video", "video": "walk.mp4"}')
        if isinstance(value, str) and _SCHEME.match(value):
            raise _remote(name, "videos", value, where)
        return Clip(image_name(value, where, "video"))
    if form == "image_url":
        if isinstance(value, dict):
            check_keys(value, ("url", "detail"), where, of=f"the image_url of {name}")
            value = value.get("url")
        if value is None:
            raise bad(f"{name} has no url", where, 'write {"image_url": {"url": "photo.jpg"}}')
    if value is None:
        return None
    if isinstance(value, str) and (data := _DATA.match(value)):
        return Embedded(value[data.end() :], where)
    if isinstance(value, str) and _SCHEME.match(value):
        raise _remote(name, "pictures", value, where)
    return image_name(value, where)


def _remote(name: str, things: str, value: str, where: str) -> DataError:
    return bad(
        f"{name} is at {value[:60]!r}, and {things} are not fetched",
        where,
        "download it, and name the file by its path in the image folder",
    )


def _beside(row: dict[str, Any], where: str) -> list[str] | None:
    """The names that stand in ``images``, beside the messages."""
    if "images" in row and "image" in row:
        raise bad("the row has both images and image", where, "keep images")
    value = row.get("images", row.get("image"))
    if value is None:
        return None
    return [image_name(name, where) for name in (value if isinstance(value, list) else [value])]


def _named(
    shown: Sequence[Shown], beside: list[str] | None, given: int | None, where: str
) -> tuple[Shown, ...]:
    """The pictures of the messages, those without a name taken from ``images``, in order."""
    bare = sum(image is None for image in shown)  # parts that name nothing, all of them pictures
    if beside is None or (given is not None and not bare):
        if bare and given is None:
            raise bad(
                f"{bare} image part(s) name no picture", where, "name the file in the part, or in images"
            )
        return tuple(shown)
    if len(beside) != bare:
        raise bad(
            f"{bare} image part(s) without a name for {len(beside)} image(s)",
            where,
            'write {"type": "image"} once for each entry of images',
        )
    rest = iter(beside)
    return tuple([next(rest) if image is None else image for image in shown])
