"""Small folders in the layouts of the authors, and somebody who answers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.evaluate.samples import Loaded, Sample
from pumice.evaluate.tasks import benchmark_of, choices_of
from pumice.score import Result, score

Put = Callable[..., Path]
Ask = Callable[..., Loaded]


def pixel(shade: int = 0, form: str = "JPEG") -> bytes:
    """The bytes of a small picture."""
    held = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), (shade, 0, 0)).save(held, form)
    return held.getvalue()


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes a file below the task's folder: bytes and text as they are, rows as JSONL, the rest as JSON."""

    def write(name: str, value: Any = None, *, lines: bool = False) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if value is None:
            value = pixel()
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif isinstance(value, str):
            path.write_text(value, encoding="utf-8")
        elif lines:
            rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in value)
            path.write_text("".join(rows), encoding="utf-8")
        else:
            path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Loads a task from the folder that ``put`` wrote."""

    def load(task: str, **choices: str) -> Loaded:
        benchmark = benchmark_of(task)
        return benchmark.load(tmp_path / "data", choices_of(benchmark, choices))

    return load


def truth(sample: Sample) -> str:
    """What a perfect answerer says."""
    return sample.truth


def answered(loaded: Loaded, folder: Path, say: Callable[[Sample], str] = truth) -> Path:
    """The file of answers, last question first: concurrent answers come in any order."""
    path = folder / "answers.jsonl"
    rows = [{**sample.row, "text": say(sample)} for sample in reversed(loaded.samples)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def scored(loaded: Loaded, folder: Path, say: Callable[[Sample], str] = truth) -> Result:
    """The score of somebody's answers; every item is one of the samples."""
    result = score(loaded.task, loaded.inputs(answered(loaded, folder, say)))
    assert {item.id for item in result.items} <= {sample.id.split("#")[0] for sample in loaded.samples}
    return result
