"""What the sources of LLaVA-1.5's mixture share: how a conversation, a picture's name and a box are written.

Wording, order and rounding are those of published rows of the mixture, which say more than the paper: the
response-format prompt stands behind the first question of a conversation only, answers begin with a capital,
boxes are fractions of the picture padded to a square, with two decimals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumice.data.shuffle import coins, shuffled
from pumice.errors import DataError
from pumice.types import PLACEHOLDER, Message

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
CAPTION = "Provide a one-sentence caption for the provided image."
DESCRIBE = "Please provide a short description for this region: "
LOCATE = "Please provide the bounding box coordinate of the region this sentence describes: "

_OFFICIAL = "check that it is the official file"

Pair = tuple[str, str]
"""A question and its answer."""
CountTokens = Callable[[Sequence[Message]], int]
"""How many tokens a conversation has."""


@dataclass(slots=True)
class Context:
    """What a source is built with: its folder, chance, and what it left out and why.

    ``key`` begins the key of every draw, so that each source has a chance of its own.
    """

    folder: Path
    key: tuple[int, ...]
    count_tokens: CountTokens | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def file(self, name: str) -> Path:
        """One of the source's files."""
        return self.folder / name

    def chosen(self, count: int, most: int, *more: int) -> list[int]:
        """At most ``most`` of the numbers below ``count``, drawn at random, in order."""
        if count <= most:
            return list(range(count))
        return sorted(shuffled(count, (*self.key, *more))[:most].tolist())

    def order(self, count: int, *more: int) -> list[int]:
        """The numbers below ``count`` in random order."""
        return [int(number) for number in shuffled(count, (*self.key, *more))]

    def coins(self, count: int, *more: int) -> list[bool]:
        """``count`` tosses."""
        return coins(count, (*self.key, *more))


Build = Callable[[Context], Iterator[dict[str, Any]]]
"""Writes a source's rows."""


@dataclass(frozen=True, slots=True)
class MixSource:
    """One source of the mixture: its name, how many rows the published one has, its files, its reader."""

    name: str
    published: int
    files: tuple[str, ...]
    build: Build


def conversation(
    identity: str | int, image: str | None, pairs: Sequence[Pair], prompt: str | None = None
) -> dict[str, Any]:
    """A LLaVA row; the picture and ``prompt`` stand with the first question."""
    turns: list[dict[str, str]] = []
    for index, (question, answer) in enumerate(pairs):
        if index == 0:
            lead = "" if image is None else f"{PLACEHOLDER}\n"
            question = f"{lead}{question}" + ("" if prompt is None else f"\n{prompt}")
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    row: dict[str, Any] = {"id": identity}
    if image is not None:
        row["image"] = image
    return {**row, "conversations": turns}


def merged(
    context: Context, found: Iterable[tuple[Any, str, str]], keep_case: bool = False
) -> dict[Any, list[Pair]]:
    """Questions of one picture together, pictures in the order of their first question.

    Args:
        context: counts pairs that are left out because question or answer is empty.
        found: picture, question, answer.
        keep_case: leave answers as they are; else they begin with a capital and go on without.
    """
    groups: dict[Any, list[Pair]] = {}
    for picture, question, answer in found:
        question, answer = question.strip(), answer.strip()
        if not question or not answer:
            context.left_out["a question or answer is empty"] += 1
            continue
        groups.setdefault(picture, []).append((question, answer if keep_case else answer.capitalize()))
    return groups


def coco_id(image_id: int) -> str:
    """COCO's number as its files have it."""
    return f"{image_id:012d}"


def coco_image(image_id: int) -> str:
    """The picture in the mixture's image folder: COCO's training pictures of 2014 are among those of 2017."""
    return f"coco/train2017/{coco_id(image_id)}.jpg"


def box_text(x: float, y: float, width: float, height: float, size: tuple[float, float]) -> str | None:
    """A box in pixels as LLaVA writes it, or None where rounding leaves nothing of it.

    Corners are fractions of the picture once it is padded to a square, two decimals each, as in
    ``[0.0, 0.35, 0.45, 0.87]``: a wide picture's y begin and end inside 0 and 1.
    """
    side = max(size)
    if side <= 0:
        return None
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    corners = (x + left, y + top, x + width + left, y + height + top)
    x1, y1, x2, y2 = (min(max(round(corner / side, 2), 0.0), 1.0) for corner in corners)
    return f"[{x1}, {y1}, {x2}, {y2}]" if x1 < x2 and y1 < y2 else None


def region_pair(phrase: str, box: str, *, locate: bool) -> Pair:
    """Ask where a phrase is, or what is in a box."""
    bare = phrase.strip().rstrip(".").rstrip()
    if locate:
        return f"{LOCATE}{bare}.", box
    return f"{DESCRIBE}{box}.", f"{bare.capitalize()}."


def text_of(row: Any, key: str, where: str) -> str:
    """A text that an official file must hold."""
    value = _value(row, key, where)
    if not isinstance(value, str):
        raise _unexpected(key, "text", where)
    return value


def int_of(row: Any, key: str, where: str) -> int:
    """A whole number that an official file must hold."""
    value = _value(row, key, where)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unexpected(key, "a whole number", where)
    return value


def list_of(row: Any, key: str, where: str) -> list[Any]:
    """A list that an official file must hold."""
    value = _value(row, key, where)
    if not isinstance(value, list):
        raise _unexpected(key, "a list", where)
    return value


def _value(row: Any, key: str, where: str) -> Any:
    if not isinstance(row, dict):
        raise DataError("this is no object", where=where, remedy=_OFFICIAL)
    return row.get(key)


def _unexpected(key: str, kind: str, where: str) -> DataError:
    return DataError(f"the key {key!r} is not {kind}", where=where, remedy=_OFFICIAL)
