"""VQAv2: the answer that most of the ten people gave, as the official file names it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import (
    SHORT,
    Context,
    MixSource,
    coco_id,
    coco_image,
    conversation,
    int_of,
    merged,
    text_of,
)
from pumice.data.rows import read_items

QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "v2_mscoco_train2014_annotations.json"


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """All questions of one picture as one conversation."""
    annotations = context.file(ANNOTATIONS)
    answers: dict[int, str] = {}
    for number, row in read_items(annotations, "annotations"):
        where = f"{annotations}, annotation {number}"
        answers[int_of(row, "question_id", where)] = text_of(row, "multiple_choice_answer", where)
    yield from vqa_rows(context, QUESTIONS, answers)


def vqa_rows(context: Context, questions: str, answers: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Conversations from a question file in VQA's layout; ``answers`` are by ``question_id``."""
    path = context.file(questions)

    def found() -> Iterator[tuple[int, str, str]]:
        for number, row in read_items(path, "questions"):
            where = f"{path}, question {number}"
            answer = answers.get(int_of(row, "question_id", where))
            if answer is None:
                context.left_out["a question has no annotation"] += 1
                continue
            yield int_of(row, "image_id", where), text_of(row, "question", where), answer

    for image_id, pairs in merged(context, found()).items():
        yield conversation(coco_id(image_id), coco_image(image_id), pairs, SHORT)


SOURCE = MixSource("vqav2", 82_783, (QUESTIONS, ANNOTATIONS), rows)
