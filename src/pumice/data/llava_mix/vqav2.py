"""VQAv2: the answer that most of the ten people gave, as the official file names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    return vqa_rows(
        context, QUESTIONS, ANNOTATIONS, lambda row, where: text_of(row, "multiple_choice_answer", where)
    )


def vqa_rows(
    context: Context, questions: str, annotations: str, answer_of: Callable[[Any, str], str]
) -> Iterator[dict[str, Any]]:
    """Conversations from files in VQA's layout.

    Args:
        context: the source's.
        questions: the file of questions.
        annotations: the file of answers, matched by ``question_id``.
        answer_of: one answer from an annotation; told its place, for errors.
    """
    answers: dict[int, str] = {}
    path = context.file(annotations)
    for number, row in read_items(path, "annotations"):
        where = f"{path}, annotation {number}"
        answers[int_of(row, "question_id", where)] = answer_of(row, where)

    def found() -> Iterator[tuple[int, str, str]]:
        path = context.file(questions)
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
