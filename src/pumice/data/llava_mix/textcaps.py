"""TextCaps: one caption of a picture with writing in it, and what a reader of writing saw there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import CAPTION, Context, MixSource, conversation, list_of, text_of
from pumice.data.rows import read_items

CAPTIONS = "TextCaps_0.1_train.json"
TOKENS = "TextVQA_Rosetta_OCR_v0.2_train.json"


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """A row a picture, with the first of its captions."""
    tokens_path, path = context.file(TOKENS), context.file(CAPTIONS)
    tokens: dict[str, str] = {}
    for number, row in read_items(tokens_path, "data"):
        where = f"{tokens_path}, entry {number}"
        tokens[text_of(row, "image_id", where)] = ", ".join(map(str, list_of(row, "ocr_tokens", where)))
    seen: set[str] = set()
    for number, row in read_items(path, "data"):
        where = f"{path}, entry {number}"
        image_id, caption = text_of(row, "image_id", where), text_of(row, "caption_str", where).strip()
        if image_id in seen:
            continue
        if not caption:
            context.left_out["a caption is empty"] += 1
            continue
        seen.add(image_id)
        question = f"{CAPTION}\nReference OCR token: {tokens.get(image_id, '')}"
        yield conversation(image_id, f"textvqa/train_images/{image_id}.jpg", [(question, caption)])


SOURCE = MixSource("textcaps", 21_953, (CAPTIONS, TOKENS), rows)
