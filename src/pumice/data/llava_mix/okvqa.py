"""OK-VQA: ten answers to a question, of which the commonest is taken (the first of equals)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import Context, MixSource, list_of, text_of
from pumice.data.llava_mix.vqav2 import vqa_rows

QUESTIONS = "OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "mscoco_train2014_annotations.json"


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """All questions of one picture as one conversation."""
    return vqa_rows(context, QUESTIONS, ANNOTATIONS, _commonest)


def _commonest(row: Any, where: str) -> str:
    given = Counter(text_of(answer, "answer", where) for answer in list_of(row, "answers", where))
    return given.most_common(1)[0][0] if given else ""  # an empty one is left out, and counted


SOURCE = MixSource("okvqa", 8_998, (QUESTIONS, ANNOTATIONS), rows)
