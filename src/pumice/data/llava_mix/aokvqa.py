"""A-OKVQA: multiple choice, each conversation once for each place that the right letter can take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import (
    LETTER,
    Context,
    MixSource,
    Pair,
    coco_id,
    coco_image,
    conversation,
    int_of,
    list_of,
    text_of,
)
from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import DataError

FILE = "aokvqa_v1p0_train.json"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Item = tuple[str, list[str], int]
"""A question, its choices, the number of the right one."""


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """The questions of a picture as one conversation, as often as there are choices, these turned by one."""
    path = context.file(FILE)
    problems = Problems()
    pictures: dict[int, list[Item]] = {}
    for number, row in read_objects(path, problems):
        where = f"{path}, row {number}"
        choices = [str(choice) for choice in list_of(row, "choices", where)]
        right = int_of(row, "correct_choice_idx", where)
        if not 0 <= right < len(choices) <= len(LETTERS):
            raise DataError(
                f"choice {right} of {len(choices)} is no choice", where=where, remedy="check the file"
            )
        item = text_of(row, "question", where).strip(), choices, right
        pictures.setdefault(int_of(row, "image_id", where), []).append(item)
    problems.raise_if_any(f"{path} has rows that cannot be used")
    for image_id, items in pictures.items():
        for turn in range(max(len(choices) for _, choices, _ in items)):
            pairs = [_pair(question, choices, right, turn) for question, choices, right in items]
            yield conversation(coco_id(image_id), coco_image(image_id), pairs, LETTER)


def _pair(question: str, choices: list[str], right: int, turn: int) -> Pair:
    """The question with its choices, the first ``turn`` of them moved behind the others."""
    count = len(choices)
    listed = [choices[(place + turn) % count] for place in range(count)]
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, listed, strict=False)]
    return "\n".join([question, *lines]), LETTERS[(right - turn) % count]


SOURCE = MixSource("aokvqa", 66_160, (FILE,), rows)
