"""The pictures of local_pope.yaml, and its questions out of a world's: python local_pope.py WORLD"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def picture(doc: dict[str, Any]) -> list[Any]:
    """What lmms-eval shows with a question: the picture that its row names."""
    from PIL import Image

    with Image.open(doc["image"]) as image:
        return [image.convert("RGB")]


def main(world: Path) -> None:
    """Write ``questions.json``: the yes-no questions of a world."""
    rows = [json.loads(line) for line in (world / "test_questions.jsonl").read_text("utf-8").splitlines()]
    asked = [row for row in rows if row["type"] == "existence"]
    questions = [
        {
            "question_id": number,
            "image": str((world / row["image"]).absolute()),
            "question": row["text"].split("\n")[0],
            "answer": row["answer"],
        }
        for number, row in enumerate(asked)
    ]
    (HERE / "questions.json").write_text(json.dumps(questions, indent=1), "utf-8")
    print(f"{len(questions)} questions in {HERE / 'questions.json'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
