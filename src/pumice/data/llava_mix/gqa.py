"""GQA: the balanced training questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import SHORT, Context, MixSource, conversation, merged, text_of
from pumice.data.rows import read_items

FILE = "train_balanced_questions.json"


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """All questions of one picture as one conversation."""
    path = context.file(FILE)

    def found() -> Iterator[tuple[str, str, str]]:
        for identity, row in read_items(path, ""):
            where = f"{path}, question {identity}"
            yield (
                text_of(row, "imageId", where),
                text_of(row, "question", where),
                text_of(row, "answer", where),
            )

    for image_id, pairs in merged(context, found()).items():
        # Numbers are numbers in the published rows; some pictures of GQA have names.
        identity = int(image_id) if image_id.isdecimal() else image_id
        yield conversation(identity, f"gqa/images/{image_id}.jpg", pairs, SHORT)


SOURCE = MixSource("gqa", 72_140, (FILE,), rows)
