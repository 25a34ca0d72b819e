"""Folders of runs as training leaves them, with answers that are right as told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MACHINE = "x86_64, 2 CPU cores"


def make_run(
    folder: Path,
    right: Sequence[bool],
    *,
    parameters: int = 1_000_000,
    tokens: int = 10_000,
    seconds: float = 1800.0,
    machine: str = MACHINE,
    ranks: int = 1,
    status: str = "finished",
    digest: str = "q",
    measured: bool = True,
    way: Sequence[float] = (),
) -> Path:
    """A run of two stages; half of the steps, tokens and seconds are of each.

    Args:
        right: of each question, two to a picture.
        way: accuracies of questions on the way, at equal distances in the second stage.
    """
    stages = []
    for name in ("align", "instruct"):
        place = folder / "stages" / name
        place.mkdir(parents=True)
        rows: list[dict[str, Any]] = [
            {
                "kind": "train",
                "step": n + 1,
                "tokens": tokens // 20,
                "supervised": tokens // 200,
                "flops": 1e12,
            }
            for n in range(10)
        ]
        if name == "instruct":
            for number, value in enumerate(way):
                rows.insert((number + 1) * len(rows) // len(way), {"kind": "evaluation", "value": value})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (place / "metrics.jsonl").write_text(text + '{"kind": "tra', encoding="utf-8")  # a kill cut it short
        sizes = {
            "trainable": {"connector": parameters // 10},
            "frozen": {"rest": parameters - parameters // 10},
        }
        stages.append({"name": name, "seconds": seconds / 2, **sizes})
    record = {"name": folder.name, "status": status, "stages": stages, "machine": machine, "ranks": ranks}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "mixture.json").write_text("[]", encoding="utf-8")
    if measured:
        (folder / "eval").mkdir()
        scores = {
            "questions": len(right), "pictures": len(right) // 2, "digest": digest, "image_root": "",
            "variants": {"tuned": {}}, "floors": {}, "floor_overall": 0.25, "paired": {},
        }  # fmt: skip
        (folder / "eval" / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
        rows = [
            {"question_id": n, "image": f"{n // 2}.png", "correct": value} for n, value in enumerate(right)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "eval" / "predictions-tuned.jsonl").write_text(text, encoding="utf-8")
    return folder
