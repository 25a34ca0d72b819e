"""LLaVA-Instruct-150K: conversations, descriptions and reasoning, written by a text-only model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pumice.data.llava_mix.base import Context, MixSource, text_of
from pumice.data.problems import Problems
from pumice.data.rows import read_objects

FILE = "llava_instruct_150k.json"


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """Its rows as they are; their pictures are COCO's."""
    path = context.file(FILE)
    problems = Problems()
    for number, row in read_objects(path, problems):
        image = text_of(row, "image", f"{path}, row {number}")
        yield {
            "id": row.get("id"),
            "image": f"coco/train2017/{image}",
            "conversations": row.get("conversations"),
        }
    problems.raise_if_any(f"{path} has rows that cannot be used")


SOURCE = MixSource("instruct", 157_712, (FILE,), rows)
