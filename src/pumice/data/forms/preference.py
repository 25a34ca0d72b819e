"""Rows that compare two answers to one question: the better one is ``chosen``, the other ``rejected``.

LLaVA-NeXT and LLaVA-Hound write ``{"id"?, "video" | "image"?: str | [str], "prompt": str, "chosen": str,
"rejected": str}``; beside these stand an ``answer`` of another kind and scores, which are not read.
RLAIF-V writes ``question`` in place of ``prompt``; RLHF-V has all three as JSON inside ``text``. A question
may hold ``<image>`` (or ``<video>``) once for each picture; where it holds none, the pictures come first,
each with a newline behind it.

TRL writes lists of messages: ``{"images"?: [...], "prompt": [message], "chosen": [message], "rejected":
[message]}``, or whole conversations in ``chosen`` and ``rejected`` that differ in their last answer alone.
Messages are those of the form messages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pumice.data.checks import bad, check_keys, words
from pumice.data.draft import METADATA, Draft, read_rejected, row_id
from pumice.data.forms.llava import one_of, what_is_shown
from pumice.data.forms.messages import parse as parse_messages
from pumice.data.forms.messages import write_content
from pumice.data.rights import read_rights, write_rights
from pumice.data.rows import kind
from pumice.data.turns import place_images
from pumice.types import PLACEHOLDER, VIDEO_PLACEHOLDER, Rights, Sample

ANSWERS = ("chosen", "rejected")
KEYS = ("id", "image", "images", "video", "videos", "prompt", "question", *ANSWERS)
NOTES = (
    "answer",
    "chosen_score",
    "rejected_score",
    "ds_name",
    "origin_dataset",
    "origin_split",
    "idx",
    "image_path",
)
"""Keys of the published sets that say where a row is from, or what else was answered; they change nothing."""

DATASET_KEYS = ("ds_name", "origin_dataset")
"""Of these the ones that name a data set."""


def compares(row: dict[str, Any]) -> bool:
    """Whether a row's keys are those of this form."""
    if row.keys() & {"messages", "conversations", "items"}:
        return False
    return bool(row.keys() & set(ANSWERS)) or _holds_pair(row.get("text"))


def parse(row: dict[str, Any], number: int, where: str, given: int | None = None) -> Draft:
    """A row of two answers.

    Args:
        row: the object.
        number: stands in for a missing id.
        where: the place that errors name.
        given: how many pictures the row's container holds for it, where it holds pictures.

    Raises:
        DataError: the first thing that is wrong with it.
    """
    row = _unfolded(row, where)
    check_keys(row, (*KEYS, *NOTES, *METADATA), where, required=ANSWERS)
    asked = one_of(row, "prompt", "question", where)
    if asked not in row and not isinstance(row["chosen"], list):
        raise bad("the key 'prompt' is missing", where, "write the question under prompt")
    if isinstance(row.get(asked), list) or asked not in row:
        return _of_messages(row, asked, number, where, given)
    pictures = one_of(row, "images", "image", where)
    images, of = what_is_shown(row, pictures, one_of(row, "videos", "video", where), given, where)
    if not images and given is None and row.get("image_path") is not None:
        images, of = what_is_shown(row, "image_path", "video", None, where)
    asks = _with_places(words(row[asked], asked, where), len(images), of)
    chosen, rejected = (_answer(row[key], key, where) for key in ANSWERS)
    said = place_images([("user", asks), ("assistant", chosen)], len(images), front=True, where=where, of=of)
    return Draft(
        row_id(row.get("id", row.get("idx")), number, where),
        said,
        images,
        rejected=read_rejected(rejected, said, where),
        rights=_rights(row, where),
    )


def write(sample: Sample, names: Sequence[str]) -> dict[str, Any]:
    """A sample as lists of messages, which can say all; ``names`` are those of its pictures.

    Raises:
        DataError: it has no rejected answer, or boxes.
    """
    where = str(sample.origin)
    if sample.rejected is None:
        raise bad("the row has no rejected answer", where, "write the format llava or messages")
    if sample.regions:
        raise bad("the row has boxes, and this format has none", where, "write the format messages")
    *prompt, answer = sample.messages
    return {
        "id": sample.id,
        "prompt": [
            {"role": message.role, "content": write_content(message, sample, names)} for message in prompt
        ],
        "chosen": [{"role": "assistant", "content": answer.text}],
        "rejected": [{"role": "assistant", "content": sample.rejected}],
        **write_rights(sample.rights),
    }


def _of_messages(row: dict[str, Any], asked: str, number: int, where: str, given: int | None) -> Draft:
    """A row of lists of messages: each answer is read as the end of a conversation of its own."""
    shown: dict[str, Any] = {key: row[key] for key in ("images", "image") if key in row}
    first, second = (
        parse_messages(
            {**shown, "messages": [*row.get(asked, ()), *_listed(row[key], key, where)]}, number, where, given
        )
        for key in ANSWERS
    )
    if first.messages[:-1] != second.messages[:-1] or first.images != second.images:
        raise bad(
            "chosen and rejected answer different conversations",
            where,
            "let them differ in the last answer alone",
        )
    return Draft(
        row_id(row.get("id", row.get("idx")), number, where),
        first.messages,
        first.images,
        rejected=read_rejected(second.messages[-1].text, first.messages, where),
        rights=_rights(row, where),
    )


def _listed(value: object, key: str, where: str) -> list[Any]:
    """An answer as a list of messages."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if not isinstance(value, list) or not value:
        shown = kind(value) if not isinstance(value, list) else "empty"
        raise bad(f"{key} is {shown}", where, f"write {key} as text, or as a list of messages")
    return value


def _answer(value: object, key: str, where: str) -> str:
    """An answer as text, which may stand in one message."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0].get("content")
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0].get("text")
    text = words(value, key, where)
    if PLACEHOLDER in text:
        raise bad(f"{key} holds {PLACEHOLDER}", where, "images belong to the question")
    return text


def _with_places(asked: str, images: int, of: str) -> str:
    """A question with a placeholder for each picture, before its words unless it says where they stand."""
    places = (PLACEHOLDER, VIDEO_PLACEHOLDER) if of == "video" else (PLACEHOLDER,)
    if any(place in asked for place in places):
        return asked
    return f"{PLACEHOLDER}\n" * images + asked


def _unfolded(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A row whose question and answers stand beside its other keys; RLHF-V folds them into ``text``."""
    text = row.get("text")
    if not _holds_pair(text):
        return row
    try:
        inner = json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise bad(f"text is not JSON ({error})", where, "write question, chosen and rejected") from error
    assert isinstance(inner, dict), "a text that begins with a brace is an object"
    check_keys(inner, ("question", *ANSWERS), where, required=("question", *ANSWERS), of="text")
    return {**{key: value for key, value in row.items() if key != "text"}, **inner}


def _holds_pair(text: object) -> bool:
    if isinstance(text, str):
        return text.lstrip().startswith("{") and '"rejected"' in text
    return isinstance(text, dict) and "rejected" in text


def _rights(row: dict[str, Any], where: str) -> Rights:
    """Whose the row is; RLHF-V and RLAIF-V name their data sets in keys of their own."""
    named = next((row[key] for key in DATASET_KEYS if isinstance(row.get(key), str) and row[key]), "")
    return read_rights(row, where).over(Rights(dataset=named))
