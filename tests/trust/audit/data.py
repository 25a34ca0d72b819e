"""Small data files with pictures, for audits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def row(id: str, *pairs: tuple[str, str], image: str | None = None) -> dict[str, Any]:
    """A row in LLaVA's form; its picture stands before the first question."""
    turns = []
    for number, (question, answer) in enumerate(pairs):
        mark = "<image>\n" if image is not None and not number else ""
        turns += [{"from": "human", "value": mark + question}, {"from": "gpt", "value": answer}]
    return {"id": id, **({"image": image} if image is not None else {}), "conversations": turns}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A JSON list, or JSONL by its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def noise(path: Path, seed: int, size: tuple[int, int] = (80, 60)) -> Path:
    """A picture of smooth noise, like no other of another seed."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size, Image.Resampling.BICUBIC).save(path)
    return path
