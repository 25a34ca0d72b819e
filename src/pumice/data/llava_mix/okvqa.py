"""OK-VQA: ten answers to a question, of which the commonest is taken (the first of equals)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import Context, MixSource, int_of, list_of, text_of
from pumice.data.llava_mix.vqav2 import vqa_rows
from pumice.data.rows import read_items

QUESTIONS = "OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "mscoco_train2014_annotations.json"


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """All questions of one picture as one conversation."""
    annotations = context.file(ANNOTATIONS)
    answers: dict[int, str] = {}
    for number, row in read_items(annotations, "annotations"):
        where = f"{annotations}, annotation {number}"
        given = Counter(text_of(answer, "answer", where) for answer in list_of(row, "answers", where))
        if given:
            answers[int_of(row, "question_id", where)] = given.most_common(1)[0][0]
    yield from vqa_rows(context, QUESTIONS, answers)


SOURCE = MixSource("okvqa", 8_998, (QUESTIONS, ANNOTATIONS), rows)
