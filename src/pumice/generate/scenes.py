"""Reading scenes: what a text-only teacher is told of each picture, one record per line.

A record is ``{"id": str | int, "image": str, "captions": [str], "instances": [{"category": str, "bbox":
[x1, y1, x2, y2]}], "texts"?: [{"text": str, "bbox": [...]}]}``, boxes as fractions of width and height
(LLaVA 1.0's generator wrote COCO's captions and boxes in this way). Unknown keys are refused: a
misspelt ``texts`` would otherwise be data that no teacher ever sees.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pumice.data.problems import Problems
from pumice.errors import DataError, suggest
from pumice.generate.protocol import Instance, SceneText
from pumice.types import Box, Origin

_KEYS = ("id", "image", "captions", "instances", "texts")
_REQUIRED = _KEYS[:4]


def read_scenes(path: Path, *, max_errors: int = 20) -> list[SceneText]:
    """Read a scenes file (JSONL); every row is checked.

    Args:
        path: the file.
        max_errors: how many bad rows the error lists; it always says how many there are.

    Raises:
        DataError: the file cannot be read, holds no rows, or has rows that are not as the layout says
            (file, row counted from 0, what is wrong); a single one refuses the file. An id used twice
            is wrong too: rows written about scenes are told apart by it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(
            f"the scenes file cannot be read ({error})",
            where=str(path),
            remedy="give a JSONL file in UTF-8",
        ) from error
    scenes: list[SceneText] = []
    rows_by_id: dict[str, int] = {}
    problems = Problems(max_errors)
    for row, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        where = str(Origin(str(path), row))
        try:
            scene = parse_scene(_object(line, where), where)
            first = rows_by_id.setdefault(scene.id, row)
            if first != row:
                raise _bad(
                    f"id {scene.id!r} was already used in row {first}", where, "give each scene its own id"
                )
            scenes.append(scene)
        except DataError as error:
            problems.add(error)
    problems.raise_if_any(f"{path} has rows that cannot be used")
    if not scenes:
        raise DataError(
            "the scenes file holds no rows", where=str(path), remedy="check that it is the right file"
        )
    return scenes


def parse_scene(record: Mapping[str, Any], where: str) -> SceneText:
    """One record as a ``SceneText``.

    Args:
        record: a parsed row (see the top of this module).
        where: what an error names as the place.

    Raises:
        DataError: the first thing that is not as the layout says.
    """
    for key in record:
        if key not in _KEYS:
            raise _bad(f"unknown key {key!r}", where, suggest(key, _KEYS))
    for key in _REQUIRED:
        if key not in record:
            raise _bad(f"the key {key!r} is missing", where, f"every row needs {', '.join(_REQUIRED)}")
    identity = record["id"]
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise _bad(f"id is {identity!r}", where, "use a string or a whole number")
    captions = _list(record, "captions", where)
    for index, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise _bad(
                f"caption {index} is {caption!r}", where, "write its words, or take it out of the list"
            )
    return SceneText(
        id=str(identity),
        image=_image(record["image"], where),
        captions=tuple(captions),
        instances=_boxes(record, "instances", "category", where),
        texts=_boxes(record, "texts", "text", where) if "texts" in record else (),
    )


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad(f"not JSON ({error})", where, "write one JSON object per line") from error
    if not isinstance(row, dict):
        raise _bad(
            f"the row is a JSON {type(row).__name__}, not an object", where, "write one JSON object per line"
        )
    return row


def _list(record: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = record[key]
    if not isinstance(value, list):
        raise _bad(
            f"{key} is {type(value).__name__}, not a list", where, f"make {key} a list, if need be empty"
        )
    return value


def _image(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _bad(f"image is {value!r}", where, "give the picture's path relative to the image folder")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts:
        raise _bad(f"image {value!r} leaves the image folder", where, "give a path inside the image folder")
    return value


def _boxes(record: Mapping[str, Any], key: str, words: str, where: str) -> tuple[Instance, ...]:
    out = []
    for index, item in enumerate(_list(record, key, where)):
        name = f"{key}[{index}]"
        if not isinstance(item, dict) or set(item) != {words, "bbox"}:
            found = (
                f"the keys {', '.join(map(repr, item))}" if isinstance(item, dict) else type(item).__name__
            )
            raise _bad(f"{name} is {found}", where, f'write {{"{words}": ..., "bbox": [x1, y1, x2, y2]}}')
        label = item[words]
        if not isinstance(label, str) or not label.strip():
            raise _bad(f"the {words} of {name} is {label!r}", where, f"write the {words} as words")
        out.append(Instance(label, _box(item["bbox"], name, where)))
    return tuple(out)


def _box(value: object, name: str, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4 or not all(_is_number(side) for side in value):
        raise _bad(f"the bbox of {name} is {value!r}, not four numbers", where, "write [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (float(side) for side in value)
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise _bad(
            f"the bbox of {name} is {value}",
            where,
            "write fractions of width and height, 0 to 1, with x1 < x2 and y1 < y2",
        )
    return (x1, y1, x2, y2)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _bad(what: str, where: str, remedy: str) -> DataError:
    return DataError(what, where=where, remedy=remedy)
