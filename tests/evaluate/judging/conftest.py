"""Small benches in the official layouts, and servers that judge."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

CATEGORIES = ("conv", "detail", "complex")
RULE = {"role": "Assistant", "prompt": "Rate both. First a line of two scores."}


def lines(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Three questions of LLaVA-Bench with LLaVA's rules; the answers are beside, in ``answers.jsonl``."""
    folder = tmp_path / "llava-bench"
    folder.mkdir()
    lines(
        folder / "questions.jsonl",
        [
            {"question_id": n, "image": f"00{n}.jpg", "category": kind, "text": f"Question {n}?"}
            for n, kind in enumerate(CATEGORIES)
        ],
    )
    lines(
        folder / "context.jsonl",
        [
            {"id": f"00{n}", "image": f"00{n}.jpg", "caption": f"Seen {n}." if n else ["Seen 0.", "More."]}
            for n in range(3)
        ],
    )
    lines(
        folder / "answers_gpt4.jsonl",
        [{"question_id": n, "text": f"Reference {n}.", "answer_id": f"ref{n}"} for n in range(3)],
    )
    rules = {f"llava_bench_{kind}": RULE for kind in CATEGORIES}
    (folder / "rule.json").write_text(json.dumps(rules))
    lines(
        folder / "answers.jsonl",
        [{"question_id": n, "prompt": "?", "text": f"Ours {n}.", "answer_id": f"our{n}"} for n in range(3)],
    )
    return folder


@pytest.fixture
def vet(tmp_path: Path) -> Path:
    """Three questions of MM-Vet with a prompt; the answers are beside, in ``answers.json``."""
    folder = tmp_path / "mm-vet"
    folder.mkdir()
    questions = {
        f"v1_{n}": {
            "imagename": f"v1_{n}.png",
            "question": f"Q{n}?",
            "answer": "a<AND>b",
            "capability": ["ocr"],
        }
        for n in range(3)
    }
    (folder / "mm-vet.json").write_text(json.dumps(questions))
    (folder / "prompt.txt").write_text("Compare.\n\nQuestion | Ground truth | Prediction | Correctness\n")
    (folder / "answers.json").write_text(json.dumps({f"v1_{n}": f"Ours {n}." for n in range(3)}, indent=1))
    return folder
