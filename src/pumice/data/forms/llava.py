"""LLaVA's row, and ShareGPT's, which is its older cousin: both write turns with ``from`` and ``value``.

LLaVA: ``{"id"?, "image"?: str | [str], "conversations": [{"from": "human" | "gpt" | "system", "value":
str}], "regions"?, "rejected"?}``. In a row with one picture ``<image>`` moves to the front of its turn.
``video`` in place of ``image`` names videos, as LLaVA-NeXT-Video and LLaVA-Video-178K write them; ``<image>``
or ``<video>`` stands for each.

ShareGPT: the turns may be called ``items``, a turn's keys ``role`` and ``content``, its speakers as in
``messages``; pictures stand in ``images`` (or ``image``), videos in ``videos`` (or ``video``), and keep
their places; ``system`` may stand beside the turns.

In both ``rejected`` is a worse answer than the last one, as text; only stages that compare answers read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pumice.data.checks import bad, check_keys, image_name
from pumice.data.draft import (
    METADATA,
    Clip,
    Draft,
    Shown,
    read_regions,
    read_rejected,
    row_id,
    write_regions,
)
from pumice.data.rights import read_rights, write_rights
from pumice.data.rows import kind
from pumice.data.turns import Style, Turn, place_images, read_turns, write_text
from pumice.types import PLACEHOLDER, Sample, Video

STYLE = Style(("from",), ("value",), {"human": "user", "gpt": "assistant", "system": "system"})
LOOSE = Style(
    ("from", "role"),
    ("value", "content"),
    {**STYLE.roles, "user": "user", "assistant": "assistant", "chatgpt": "assistant"},
)
KEYS = ("id", "image", "video", "conversations", "regions", "rejected")
LOOSE_KEYS = (
    "id",
    "conversations",
    "items",
    "system",
    "images",
    "image",
    "videos",
    "video",
    "regions",
    "rejected",
)


def parse(row: dict[str, Any], number: int, where: str, given: int | None = None) -> Draft:
    """A LLaVA row.

    Args:
        row: the object.
        number: stands in for a missing id.
        where: the place that errors name.
        given: how many pictures the row's container holds for it, where it holds pictures; ``image`` then
            only names them, if it is there.

    Raises:
        DataError: the first thing that is wrong with it.
    """
    check_keys(row, (*KEYS, *METADATA), where)
    images, of = what_is_shown(row, "image", "video", given, where)
    values = read_turns(row.get("conversations"), "conversations", STYLE, where)
    messages = place_images(values, len(images), front=True, where=where, of=of)
    return Draft(
        row_id(row.get("id"), number, where),
        messages,
        images,
        read_regions(row.get("regions"), len(images), where),
        read_rejected(row.get("rejected"), messages, where),
        read_rights(row, where),
    )


def parse_sharegpt(row: dict[str, Any], number: int, where: str, given: int | None = None) -> Draft:
    """A ShareGPT row; arguments and errors as ``parse``."""
    check_keys(row, (*LOOSE_KEYS, *METADATA), where)
    key = one_of(row, "conversations", "items", where)
    values = read_turns(row.get(key), key, LOOSE, where)
    if row.get("system") is not None:
        values = [_system(row["system"], values, where), *values]
    pictures, videos = one_of(row, "images", "image", where), one_of(row, "videos", "video", where)
    images, of = what_is_shown(row, pictures, videos, given, where)
    messages = place_images(values, len(images), front=False, where=where, of=of)
    return Draft(
        row_id(row.get("id"), number, where),
        messages,
        images,
        read_regions(row.get("regions"), len(images), where),
        read_rejected(row.get("rejected"), messages, where),
        read_rights(row, where),
    )


def write(sample: Sample, names: Sequence[str]) -> dict[str, Any]:
    """A sample as a LLaVA row; ``names`` are those of its pictures.

    Raises:
        DataError: a text of it holds ``<image>``.
    """
    row: dict[str, Any] = {"id": sample.id}
    if names:
        row[_kind(sample)] = names[0] if len(names) == 1 else list(names)
    return _finish(row, sample)


def write_sharegpt(sample: Sample, names: Sequence[str]) -> dict[str, Any]:
    """A sample as a ShareGPT row; arguments and errors as ``write``."""
    row: dict[str, Any] = {"id": sample.id}
    if names:
        row[f"{_kind(sample)}s"] = list(names)
    return _finish(row, sample)


def _kind(sample: Sample) -> str:
    """What a sample shows: ``image`` or ``video``.

    Raises:
        DataError: both.
    """
    videos = sum(isinstance(picture, Video) for picture in sample.images)
    if 0 < videos < len(sample.images):
        raise bad(
            "the row shows pictures and videos, and this format has one kind a row",
            str(sample.origin),
            "write the format messages",
        )
    return "video" if videos else "image"


def _finish(row: dict[str, Any], sample: Sample) -> dict[str, Any]:
    where = str(sample.origin)
    videos = any(isinstance(picture, Video) for picture in sample.images)
    row["conversations"] = [
        {"from": STYLE.name(message.role), "value": write_text(message, index, where, videos=videos)}
        for index, message in enumerate(sample.messages)
    ]
    if sample.regions:
        row["regions"] = write_regions(sample.regions)
    if sample.rejected is not None:
        row["rejected"] = sample.rejected
    return row | write_rights(sample.rights)


def what_is_shown(
    row: dict[str, Any], pictures: str, videos: str, given: int | None, where: str
) -> tuple[tuple[Shown, ...], str]:
    """What a row shows, by its keys for pictures and for videos, and which of the two it is."""
    value, clips = row.get(pictures), row.get(videos)
    if clips is None:
        if value is None:
            return () if given is None else (None,) * given, "image"
        entries = value if isinstance(value, list) else [value]
        return tuple([image_name(entry, where) for entry in entries]), "image"
    if value is not None:
        raise bad(
            f"the row has both {pictures} and {videos}",
            where,
            "keep one of them; a row of the format messages may show both",
        )
    if given is not None:
        raise bad("videos do not lie in containers", where, "write the format llava or messages as JSON")
    entries = clips if isinstance(clips, list) else [clips]
    return tuple([Clip(image_name(entry, where, "video")) for entry in entries]), "video"


def one_of(row: dict[str, Any], first: str, second: str, where: str) -> str:
    """Which of two keys with one meaning the row has; the first where it has neither."""
    if first in row and second in row:
        raise bad(f"the row has both {first} and {second}", where, f"keep {first}")
    return second if second in row else first


def _system(value: object, values: Sequence[Turn], where: str) -> Turn:
    if not isinstance(value, str) or not value.strip() or PLACEHOLDER in value:
        shown = kind(value) if not isinstance(value, str) else repr(value)
        raise bad(f"system is {shown}", where, "write the system prompt as text, or drop the key")
    if values[0][0] == "system":
        raise bad("the row has a system prompt and a system turn", where, "keep one of them")
    return "system", value
