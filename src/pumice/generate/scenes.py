"""Reading scenes: what a text-only teacher is told of each picture, one record per line.

A record is ``{"id": str | int, "image": str, "captions": [str], "instances": [{"category": str, "bbox":
[x1, y1, x2, y2]}], "texts"?: [{"text": str, "bbox": [...]}], "regions"?: [{"phrase": str, "bbox": [...]}],
"mentions"?: [str], "width"?: int, "height"?: int}``, boxes as fractions of width and height (LLaVA 1.0's
generator wrote COCO's captions and boxes in this way), and the keys of ``data.rights`` (``license``,
``attribution``, ``url``, ``source``), which go into every row about the picture. Unknown keys are refused: a
misspelt ``texts`` would otherwise be data that no teacher ever sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pumice.data.checks import as_list, bad, check_keys, identity, image_name, read_box, words
from pumice.data.problems import Problems
from pumice.data.rights import RIGHTS_KEYS, read_rights
from pumice.data.rows import kind, read_objects
from pumice.errors import DataError
from pumice.generate.protocol import Instance, SceneText
from pumice.types import Origin

_KEYS = ("id", "image", "captions", "instances", "texts", "regions", "mentions", "width", "height")
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
    return read_each(Path(path), parse_scene, "scene", max_errors)


def read_each(
    path: Path, parse: Callable[[Mapping[str, Any], str], SceneText], noun: str, max_errors: int = 20
) -> list[SceneText]:
    """The scenes of a file of objects, each read by ``parse`` (a row, and where it stands).

    Args:
        path: the file.
        parse: reads one; DataError where it is not as its layout says.
        noun: what the file has one of in each row.
        max_errors: how many bad rows the error lists.

    Raises:
        DataError: as ``read_scenes``.
    """
    scenes: list[SceneText] = []
    rows_by_id: dict[str, int] = {}
    problems = Problems(max_errors)
    for row, record in read_objects(path, problems, what=f"{noun}s file"):
        where = str(Origin(str(path), row))
        try:
            scene = parse(record, where)
            first = rows_by_id.setdefault(scene.id, row)
            if first != row:
                raise bad(
                    f"id {scene.id!r} was already used in row {first}", where, f"give each {noun} its own id"
                )
            scenes.append(scene)
        except DataError as error:
            problems.add(error)
    problems.raise_if_any(f"{path} has rows that cannot be used")
    return scenes


def parse_scene(record: Mapping[str, Any], where: str) -> SceneText:
    """One record as a ``SceneText``.

    Args:
        record: a parsed row (see the top of this module).
        where: what an error names as the place.

    Returns:
        The scene; an instance may also say ``"crowd": true``.

    Raises:
        DataError: the first thing that is not as the layout says.
    """
    check_keys(record, (*_KEYS, *RIGHTS_KEYS), where, required=_REQUIRED)
    captions = as_list(record["captions"], "captions", where)
    return SceneText(
        id=str(identity(record["id"], "id", where)),
        image=image_name(record["image"], where),
        captions=tuple(words(caption, f"caption {index}", where) for index, caption in enumerate(captions)),
        instances=_boxes(record, "instances", "category", where),
        texts=_boxes(record, "texts", "text", where) if "texts" in record else (),
        regions=_boxes(record, "regions", "phrase", where) if "regions" in record else (),
        mentions=_sentences(record, "mentions", where) if "mentions" in record else (),
        size=_size(record, where),
        rights=read_rights(record, where),
    )


def _sentences(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    listed = as_list(record[key], key, where)
    return tuple(words(one, f"{key}[{index}]", where) for index, one in enumerate(listed))


def _size(record: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    if "width" not in record and "height" not in record:
        return None
    width, height = (record.get(key) for key in ("width", "height"))
    if type(width) is not int or type(height) is not int or min(width, height) < 1:
        raise bad(f"width and height are {width!r} and {height!r}", where, "write both in pixels")
    return width, height


def _boxes(record: Mapping[str, Any], key: str, label: str, where: str) -> tuple[Instance, ...]:
    out = []
    for index, item in enumerate(as_list(record[key], key, where)):
        name = f"{key}[{index}]"
        if not isinstance(item, dict):
            raise bad(f"{name} is {kind(item)}", where, f'write {{"{label}": ..., "bbox": [x1, y1, x2, y2]}}')
        keys = (label, "bbox")
        check_keys(item, (*keys, "crowd"), where, required=keys, of=name)
        text = words(item[label], f"the {label} of {name}", where)
        crowd = item.get("crowd", False)
        if not isinstance(crowd, bool):
            raise bad(f"the crowd of {name} is {kind(crowd)}", where, "write true or false")
        out.append(Instance(text, read_box(item["bbox"], name, where), crowd))
    return tuple(out)
