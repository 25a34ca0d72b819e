"""Reading LLaVA's own data files, every row checked before anything starts.

A row is ``{"id", "image"?: str | [str], "conversations": [{"from": "human" | "gpt" | "system",
"value": str}], "regions"?: [{"bbox": [x1, y1, x2, y2], "phrase": str, "image"?: int}]}``; a file is one
JSON list of rows or one row per line (JSONL). Keys beyond these are tolerated, ids may repeat or be
missing (the row number then stands in), everything else is checked: the first thing wrong with
each bad row is collected and all bad rows are reported together.

``<image>`` follows LLaVA (``preprocess_multimodal``): in a row with one image it moves to the front
of its turn and a newline follows; with several images each keeps its place.
"""

from __future__ import annotations

import gc
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pumice.data.problems import Problems
from pumice.errors import DataError, ImageError, suggest
from pumice.image.names import leaves_folder
from pumice.types import PLACEHOLDER, Image, Message, Origin, Part, Region, Role, Sample, Text, text_message

_ROLES: dict[str, Role] = {"system": "system", "human": "user", "gpt": "assistant"}


def read_samples(
    path: Path,
    image_root: Path | None,
    source: str | None = None,
    *,
    check_files: bool = True,
    max_errors: int = 20,
) -> list[Sample]:
    """Read a LLaVA JSON or JSONL file.

    Args:
        path: the data file.
        image_root: the folder that ``image`` entries are relative to; None for text-only data.
        source: the name of this data in a mixture; the file's stem unless given.
        check_files: whether each image file must exist.
        max_errors: how many bad rows the error lists; it always says how many there are.

    Returns:
        One sample per row, in the order of the file.

    Raises:
        DataError: the file cannot be parsed, holds no rows, or has rows that cannot be used. Of bad
            rows none is dropped: a single one refuses the file.
    """
    path = Path(path)
    reader = _Reader(str(path), image_root, source or path.stem, check_files)
    problems = Problems(max_errors)
    samples: list[Sample] = []
    with _collector_paused():
        for number, row in _rows(path, problems):
            try:
                samples.append(reader.sample(row, number))
            except DataError as error:
                problems.add(error)
    problems.raise_if_any(f"{path} has rows that cannot be used")
    if not samples:
        raise DataError("the file holds no rows", where=str(path), remedy="check that it is the right file")
    return samples


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Cyclic garbage collection off: it would walk the growing, acyclic list over and over (3x slower)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _rows(path: Path, problems: Problems) -> Iterator[tuple[int, Any]]:
    """Row number from 0 and parsed row; in JSONL the number is the line's, so that it can be found."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(
            f"the data file cannot be read ({error})",
            where=str(path),
            remedy="check the path; it must be UTF-8",
        ) from error
    if text.lstrip()[:1] == "[":
        yield from enumerate(_json_list(text, path))
        return
    for number, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            remedy = "a data file is one JSON list, or JSONL with one row per line"
            problems.add(
                DataError(f"not JSON ({error})", where=str(Origin(str(path), number)), remedy=remedy)
            )
            continue
        yield number, row


def _json_list(text: str, path: Path) -> list[Any]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the data file is not JSON ({error})", where=str(path), remedy="mend the file at that place"
        ) from error
    assert isinstance(rows, list)
    return rows


class _Reader:
    """Checks rows of one file; remembers which image files were seen to exist."""

    def __init__(self, file: str, image_root: Path | None, source: str, check_files: bool) -> None:
        self.file = file
        self.root = None if image_root is None else Path(image_root)
        self.source = source
        self.check_files = check_files
        self.known: dict[str, Path] = {}

    def sample(self, row: Any, number: int) -> Sample:
        origin = Origin(self.file, number)
        where = str(origin)
        if not isinstance(row, dict):
            raise _bad(f"the row is {_kind(row)}, not an object", where, "see the LLaVA data format")
        names = _image_names(row.get("image"), where)
        messages = _messages(row.get("conversations"), len(names), where)
        return Sample(
            id=_identity(row.get("id"), number, where),
            messages=messages,
            images=tuple([self._image(name, where) for name in names]),
            source=self.source,
            origin=origin,
            regions=_regions(row.get("regions"), len(names), where),
        )

    def _image(self, name: str, where: str) -> Path:
        known = self.known.get(name)
        if known is not None:
            return known
        if self.root is None:
            raise _bad(
                f"the row names image {name!r} but no image folder is given", where, "give the image folder"
            )
        if leaves_folder(name):
            raise _bad(
                f"image {name!r} leaves the image folder",
                where,
                f"give a path inside {self.root}, relative to it",
            )
        path = self.root / name
        if self.check_files and not os.path.isfile(path):
            raise ImageError(
                f"image file {path} does not exist",
                where=where,
                remedy=f"put it under the image folder {self.root}, or remove the row",
            )
        self.known[name] = path
        return path


def _bad(what: str, where: str, remedy: str) -> DataError:
    return DataError(what, where=where, remedy=remedy)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _identity(value: object, number: int, where: str) -> str:
    if value is None:
        return str(number)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad(f"id is {_kind(value)}", where, "make it a string or a whole number")
    return str(value)


def _image_names(value: object, where: str) -> list[str]:
    entries: list[object] = [] if value is None else value if isinstance(value, list) else [value]
    names: list[str] = []
    for name in entries:
        if not isinstance(name, str):
            raise _bad(f"image is {_kind(name)}", where, "make it a path, or a list of paths")
        if not name.strip():
            raise _bad("image is an empty path", where, "name the file, or drop the key from a text-only row")
        names.append(name)
    return names


def _messages(turns: object, images: int, where: str) -> tuple[Message, ...]:
    if not isinstance(turns, list) or not turns:
        what = "conversations is empty" if turns == [] else f"conversations is {_kind(turns)}, not a list"
        raise _bad(what, where, "give at least one human turn and one gpt turn")
    values: list[tuple[Role, str]] = []
    for index, turn in enumerate(turns):
        values.append(_turn(turn, index, where))
    _check_order([role for role, _ in values], where)
    placeholders = sum(value.count(PLACEHOLDER) for _, value in values)
    if placeholders != images:
        raise _bad(
            f"{placeholders} {PLACEHOLDER} placeholder(s) for {images} image(s)",
            where,
            f"write {PLACEHOLDER} once in a human turn for each entry of image",
        )
    messages: list[Message] = []
    seen = 0
    for index, (role, value) in enumerate(values):
        here = value.count(PLACEHOLDER) if images else 0
        if not here and not value.strip():
            raise _bad(f"turn {index} is empty", where, "write its text, or remove the row")
        messages.append(_message(role, value, seen, here, alone=images == 1))
        seen += here
    return tuple(messages)


def _turn(turn: object, index: int, where: str) -> tuple[Role, str]:
    if not isinstance(turn, dict):
        raise _bad(
            f"turn {index} is {_kind(turn)}, not an object", where, 'write {"from": ..., "value": ...}'
        )
    speaker, value = turn.get("from"), turn.get("value")
    if not isinstance(speaker, str) or speaker not in _ROLES:
        raise _bad(f"turn {index} is from {speaker!r}", where, suggest(str(speaker), _ROLES))
    if not isinstance(value, str):
        raise _bad(
            f"the value of turn {index} is {_kind(value)}, not a string", where, "write the turn's text"
        )
    role = _ROLES[speaker]
    if role == "assistant" and not value.strip():
        raise _bad(f"the answer of turn {index} is empty", where, "write the answer, or remove the row")
    if role != "user" and PLACEHOLDER in value:
        raise _bad(
            f"turn {index} is from {speaker} and holds {PLACEHOLDER}",
            where,
            f"images belong to human turns: move {PLACEHOLDER} there",
        )
    return role, value


def _check_order(roles: list[Role], where: str) -> None:
    body = roles[1:] if roles[0] == "system" else roles
    shift = len(roles) - len(body)
    for index, role in enumerate(body):
        expected = "assistant" if index % 2 else "user"
        if role != expected:
            names: dict[str, str] = {known: name for name, known in _ROLES.items()}
            raise _bad(
                f"turn {index + shift} is from {names[role]} where {names[expected]} must speak",
                where,
                "turns alternate human, gpt; a system turn may only come first",
            )
    if len(body) % 2 or not body:
        raise _bad("the last turn is not an answer", where, "end the conversation with a gpt turn")


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
        if piece:
            parts.append(Text(piece))
    return Message(role, tuple(parts))


def _regions(value: object, images: int, where: str) -> tuple[Region, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _bad(f"regions is {_kind(value)}, not a list", where, "make it a list of boxes")
    return tuple([_region(item, index, images, where) for index, item in enumerate(value)])


def _region(item: object, index: int, images: int, where: str) -> Region:
    name = f"region {index}"
    if not isinstance(item, dict):
        raise _bad(f"{name} is {_kind(item)}, not an object", where, 'write {"bbox": ..., "phrase": ...}')
    phrase, image, box = item.get("phrase"), item.get("image", 0), item.get("bbox")
    if not isinstance(phrase, str) or not phrase.strip():
        raise _bad(f"{name} has no phrase", where, "write the words for what is in the box")
    if isinstance(image, bool) or not isinstance(image, int) or not 0 <= image < images:
        raise _bad(f"{name} is of image {image!r}; the row has {images}", where, "count images from 0")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        raise _bad(f"the bbox of {name} is not four numbers", where, "write [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (float(side) for side in box)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise _bad(
            f"the bbox of {name} is {box}",
            where,
            "write fractions of width and height, 0 to 1, with x1 < x2 and y1 < y2",
        )
    return Region((x1, y1, x2, y2), phrase, image)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
