"""Visual Genome: ten described regions of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import (
    Context,
    MixSource,
    Pair,
    box_text,
    conversation,
    int_of,
    list_of,
    region_pair,
    text_of,
)
from pumice.data.problems import Problems
from pumice.data.rows import read_objects

REGIONS = "region_descriptions.json"
PICTURES = "image_data.json"
PER_PICTURE = 10
MOST_PICTURES = 86_417
"""The published mixture has so many of the 108,077 pictures, and nothing says which: they are drawn."""

Size = tuple[str, int, int]
"""A picture's name below ``vg``, without ending, and its width and height."""


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """Ten regions of a picture, drawn, as one conversation; a toss decides for each whether its phrase or its
    box is asked for."""
    path = context.file(REGIONS)
    sizes = _sizes(context)
    drawn = set(context.chosen(len(sizes), MOST_PICTURES))
    wanted = {image_id for number, image_id in enumerate(sizes) if number in drawn}
    if len(sizes) > MOST_PICTURES:
        context.left_out["not drawn"] += len(sizes) - MOST_PICTURES
    problems = Problems()
    for number, row in read_objects(path, problems):
        where = f"{path}, row {number}"
        image_id = int_of(row, "id" if "id" in row else "image_id", where)
        if image_id not in sizes:
            context.left_out["a picture is not in image_data.json"] += 1
        elif image_id in wanted:
            pairs = _pairs(context, list_of(row, "regions", where), sizes[image_id], image_id, where)
            if pairs:
                name = sizes[image_id][0]
                yield conversation(name, f"vg/{name}.jpg", pairs)
            else:
                context.left_out["a picture has no region that can be used"] += 1
    problems.raise_if_any(f"{path} has rows that cannot be used")


def _sizes(context: Context) -> dict[int, Size]:
    path = context.file(PICTURES)
    problems = Problems()
    sizes: dict[int, Size] = {}
    for number, row in read_objects(path, problems):
        where = f"{path}, row {number}"
        # .../VG_100K_2/1.jpg: the last two parts say in which of the two archives it is.
        folder, _, file = text_of(row, "url", where).rpartition("/")
        name = f"{folder.rpartition('/')[2]}/{file.rpartition('.')[0]}"
        image_id = int_of(row, "image_id", where)
        sizes[image_id] = name, int_of(row, "width", where), int_of(row, "height", where)
    problems.raise_if_any(f"{path} has rows that cannot be used")
    return sizes


def _pairs(
    context: Context, regions: list[dict[str, Any]], size: Size, image_id: int, where: str
) -> list[Pair]:
    found: list[tuple[str, str]] = []
    for region in regions:
        x, y, width, height = (int_of(region, key, where) for key in ("x", "y", "width", "height"))
        phrase = text_of(region, "phrase", where)
        box = box_text(x, y, width, height, size[1:])
        if box is not None and phrase.strip(" ."):
            found.append((phrase, box))
    order = context.order(len(found), image_id, 0)[:PER_PICTURE]
    tosses = context.coins(len(order), image_id, 1)
    return [region_pair(*found[number], locate=toss) for number, toss in zip(order, tosses, strict=True)]


SOURCE = MixSource("vg", 86_417, (REGIONS, PICTURES), rows)
