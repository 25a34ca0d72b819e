"""Small files of answers and truths."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]


@pytest.fixture
def lines(tmp_path: Path) -> Write:
    """Writes rows as JSONL and gives the path."""

    def write(name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def whole(tmp_path: Path) -> Write:
    """Writes one JSON value and gives the path."""

    def write(name: str, value: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def answers(lines: Write) -> Callable[[Mapping[Any, str]], Path]:
    """Writes answers by question id as LLaVA does."""

    def write(texts: Mapping[Any, str], name: str = "answers.jsonl") -> Path:
        return lines(name, ({"question_id": id, "text": text} for id, text in texts.items()))

    return write
