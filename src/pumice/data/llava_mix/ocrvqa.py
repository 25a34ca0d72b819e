"""OCR-VQA: questions about book covers, 80,000 books of the training split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import SHORT, Context, MixSource, conversation, int_of, list_of, merged
from pumice.data.rows import read_items

FILE = "dataset.json"
TRAIN = 1
"""The number of the training split."""
BOOKS = 80_000


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """The questions of a book as one conversation; answers keep their case, titles and names as they are."""
    path = context.file(FILE)
    books: list[dict[str, Any]] = []
    for identity, row in read_items(path, ""):
        where = f"{path}, book {identity}"
        if int_of(row, "split", where) != TRAIN:
            continue
        questions, answers = list_of(row, "questions", where), list_of(row, "answers", where)
        triples = [(identity, str(q), str(a)) for q, a in zip(questions, answers, strict=False)]
        if len(questions) != len(answers):
            context.left_out["a book has more questions than answers, or fewer"] += 1
            continue
        for pairs in merged(context, triples, keep_case=True).values():
            books.append(conversation(identity, f"ocr_vqa/images/{identity}.jpg", pairs, SHORT))
    if len(books) > BOOKS:
        context.left_out["not drawn"] += len(books) - BOOKS
    yield from (books[number] for number in context.chosen(len(books), BOOKS))


SOURCE = MixSource("ocrvqa", 80_000, (FILE,), rows)
