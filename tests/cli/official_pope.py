"""POPE's official files about plain pictures, for tests of the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image

COLOURS = ("red", "blue", "green", "yellow")


def write_pope(place: Path) -> None:
    """One category, two questions to each of four pictures: the first is yes, the second no."""
    (place / "val2014").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number, colour in enumerate(COLOURS):
        PIL.Image.new("RGB", (64, 48), colour).save(place / "val2014" / f"{number}.jpg")
        for asked, label in ((colour, "yes"), (COLOURS[(number + 1) % 4], "no")):
            text = f"Is there a {asked} thing in the image?"
            row = {"question_id": len(rows) + 1, "image": f"{number}.jpg", "text": text, "label": label}
            rows.append(row)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "coco_pope_random.json").write_text(lines, encoding="utf-8")
