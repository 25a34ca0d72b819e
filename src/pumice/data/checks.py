"""Small questions that every reader of rows asks: keys, ids, picture names, boxes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pumice.data.rows import kind
from pumice.errors import DataError, suggest
from pumice.image.names import leaves_folder
from pumice.types import Box


def bad(what: str, where: str, remedy: str) -> DataError:
    """A row's error, in one line."""
    return DataError(what, where=where, remedy=remedy)


def check_keys(
    row: Mapping[str, Any],
    known: Collection[str],
    where: str,
    *,
    required: Iterable[str] = (),
    of: str = "",
) -> None:
    """Refuse a key that is not ``known``, naming the nearest, and the absence of a required one.

    Args:
        row: the object.
        known: the keys it may have.
        where: the place that errors name.
        required: keys it must have.
        of: what the object is, where it is not the row itself: ``turn 2``.
    """
    tail = f" of {of}" if of else ""
    for key in row:
        if key not in known:
            raise bad(f"unknown key {key!r}{tail}", where, suggest(str(key), known))
    for key in required:
        if key not in row:
            raise bad(f"the key {key!r}{tail} is missing", where, f"it needs {', '.join(required)}")


def identity(value: object, name: str, where: str) -> str | int:
    """An id: a string that is not empty, or a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        shown = kind(value) if value != "" else "empty"
        raise bad(f"{name} is {shown}", where, "make it a string or a whole number")
    return value


def words(value: object, name: str, where: str) -> str:
    """Text that is not blank."""
    if not isinstance(value, str):
        raise bad(f"{name} is {kind(value)}, not a string", where, f"write {name} as text")
    if not value.strip():
        raise bad(f"{name} is empty", where, f"write {name} as text")
    return value


def as_list(value: object, name: str, where: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise bad(f"{name} is {kind(value)}, not a list", where, f"make {name} a list")
    return value


def image_name(value: object, where: str, of: str = "image") -> str:
    """The name of a picture's (or a video's) file: text, inside the image folder and relative to it."""
    if not isinstance(value, str):
        raise bad(f"{of} is {kind(value)}", where, "make it a path, or a list of paths")
    if not value.strip():
        raise bad(f"{of} is an empty path", where, "name the file, or drop the key from a text-only row")
    if value.lower().startswith(("http://", "https://")):
        raise bad(
            f"{of} {value[:80]!r} is a web address",
            where,
            f"{of}s are not fetched from the web: download it, and name the file in the image folder",
        )
    if leaves_folder(value):
        raise bad(
            f"{of} {value!r} leaves the image folder",
            where,
            "give a path inside the image folder, relative to it",
        )
    return value


def read_box(value: object, name: str, where: str) -> Box:
    """A ``bbox``: four fractions of width and height, x1 < x2 and y1 < y2."""
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        raise bad(f"the bbox of {name} is not four numbers", where, "write [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (float(side) for side in value)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise bad(
            f"the bbox of {name} is {value}",
            where,
            "write fractions of width and height, 0 to 1, with x1 < x2 and y1 < y2",
        )
    return (x1, y1, x2, y2)


def is_number(value: object) -> bool:
    """A finite number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
