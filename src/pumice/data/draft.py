"""A row that has been understood, before its pictures are looked for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from pumice.data.checks import as_list, bad, check_keys, read_box, words
from pumice.data.rows import kind
from pumice.types import NO_RIGHTS, PLACEHOLDER, Message, Region, Rights

METADATA = (
    "attribution",
    "author",
    "authors",
    "category",
    "citation",
    "created",
    "creator",
    "credit",
    "data_source",
    "dataset",
    "domain",
    "height",
    "image_id",
    "lang",
    "language",
    "licence",
    "licence_url",
    "license",
    "license_name",
    "license_url",
    "meta",
    "metadata",
    "model",
    "question_id",
    "quality",
    "score",
    "source",
    "source_url",
    "split",
    "tags",
    "task",
    "type",
    "url",
    "width",
)
"""Keys that rows may have beside those of their format. They say where a row is from and whose it is
(``rights``), and change nothing a model sees; any other key is a mistake, and might be one in the name of a
key that matters."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture that is written into a row itself, as base64 text."""

    text: str
    where: str

    def data(self) -> bytes:
        """The picture's bytes.

        Raises:
            DataError: the text is no base64.
        """
        try:
            return base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise bad(
                f"the picture written into the row is no base64 ({error})",
                self.where,
                "write data:image/png;base64, and then the file in base64",
            ) from error


@dataclass(frozen=True, slots=True)
class Clip:
    """A video that a row names: a file, or a folder of frames, in the image folder."""

    name: str


Shown = str | Embedded | Clip | None
"""What a row shows: a picture's name in the image folder, its bytes, a video's name, or None for a picture
that the container holds."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a row says. ``rejected`` is a worse answer to the last question, where there is one; ``rights``
    say which data set it belongs to, whose it is, and under which licence."""

    id: str
    messages: tuple[Message, ...]
    images: tuple[Shown, ...]
    regions: tuple[Region, ...] = ()
    rejected: str | None = None
    rights: Rights = NO_RIGHTS


def row_id(value: object, number: int, where: str) -> str:
    """A row's id as text; its number where it has none."""
    if value is None:
        return str(number)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise bad(f"id is {kind(value)}", where, "make it a string or a whole number")
    return str(value)


def id_of(row: object) -> str | None:
    """The id of a row that could not be read, where it has one."""
    value = row.get("id") if isinstance(row, dict) else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def read_rejected(value: object, messages: Sequence[Message], where: str) -> str | None:
    """The key ``rejected``: a worse answer than the last one of the messages.

    Raises:
        DataError: it is no text, empty, shows a picture, or says the same as the answer.
    """
    if value is None:
        return None
    answer = words(value, "rejected", where)
    if PLACEHOLDER in answer:
        raise bad(f"rejected holds {PLACEHOLDER}", where, "images belong to the question")
    if answer.strip() == messages[-1].text.strip():
        raise bad(
            "chosen and rejected say the same, so there is nothing to prefer",
            where,
            "write a worse answer, or remove the row",
        )
    return answer


def read_regions(value: object, images: int, where: str) -> tuple[Region, ...]:
    """The key ``regions``: boxes of the row's pictures with the words for what is in them."""
    if value is None:
        return ()
    items = as_list(value, "regions", where)
    return tuple([_region(item, f"region {index}", images, where) for index, item in enumerate(items)])


def write_regions(regions: Sequence[Region]) -> list[dict[str, object]]:
    """The value of the key ``regions``."""
    rows: list[dict[str, object]] = []
    for region in regions:
        row: dict[str, object] = {"bbox": list(region.box), "phrase": region.phrase}
        if region.image:
            row["image"] = region.image
        rows.append(row)
    return rows


def _region(item: object, name: str, images: int, where: str) -> Region:
    if not isinstance(item, dict):
        raise bad(f"{name} is {kind(item)}, not an object", where, 'write {"bbox": ..., "phrase": ...}')
    check_keys(item, ("bbox", "phrase", "image"), where, required=("bbox", "phrase"), of=name)
    phrase, image = words(item["phrase"], f"the phrase of {name}", where), item.get("image", 0)
    if isinstance(image, bool) or not isinstance(image, int) or not 0 <= image < images:
        raise bad(f"{name} is of image {image!r}; the row has {images}", where, "count images from 0")
    return Region(read_box(item["bbox"], name, where), phrase, image)
