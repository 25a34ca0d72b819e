"""A small world, tiny random parts and a short recipe, for running verbs for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

RECIPE = """\
name: short
seed: 3
model:
  vision: {parts}/vision
  language: {parts}/language
  template: tiny
data:
  align:
    file: ${{data}}/align.json
    images: ${{data}}
  instruct:
    file: ${{data}}/short.json
    images: ${{data}}
  val:
    file: ${{data}}/short_val.json
    images: ${{data}}
stages:
  - name: align
    kind: align
    sources: [align]
    template: plain
    lr: {{connector: 1e-3}}
    steps: 2
    row_length: 768
    rows_per_step: 1
  - name: instruct
    kind: instruct
    sources: [instruct]
    lr: {{connector: 1e-3, language: 1e-3}}
    steps: 3
    row_length: 768
    rows_per_step: 1
    validation: {{source: val, limit: 4}}
evaluation:
  questions: ${{data}}/test_questions.jsonl
  images: ${{data}}
  limit: 24
  max_new_tokens: 4
"""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and what it said, both streams apart and together."""

    code: int
    out: str
    err: str

    @property
    def both(self) -> str:
        return self.out + self.err


Pumice = Callable[..., Result]


def run_pumice(*words: str | Path, stdin: str | None = None) -> Result:
    """Run a command in this process; an exception nobody expected fails the test with its traceback."""
    from pumice.cli import app

    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def pumice() -> Pumice:
    """Runs ``pumice`` with these words."""
    return run_pumice


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of twelve training pictures, made by the command; beside it its short conversations alone."""
    folder = tmp_path_factory.mktemp("data") / "world"
    words = ["--n", "18", "--validation", "2", "--test", "4", "--level", "easy", "--workers", "1"]
    result = run_pumice("world", "make", folder, *words)
    assert result.code == 0, result.both
    for source, short in (("instruct.json", "short.json"), ("val.json", "short_val.json")):
        rows = json.loads((folder / source).read_text("utf-8"))
        kept = [row for row in rows if sum(len(turn["value"]) for turn in row["conversations"]) < 400]
        (folder / short).write_text(json.dumps(kept), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def recipe(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of five steps on random parts."""
    folder = tmp_path_factory.mktemp("recipe")
    parts.make_vision(folder / "parts" / "vision")
    parts.make_language(folder / "parts" / "language", max_position_embeddings=4096)
    path = folder / "short.yaml"
    path.write_text(RECIPE.format(parts=folder / "parts"), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Trained:
    """A finished run and what the command said."""

    folder: Path
    result: Result


@pytest.fixture(scope="session")
def trained(recipe: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run from first check to page; read only."""
    runs = tmp_path_factory.mktemp("runs")
    result = run_pumice("train", recipe, "--data", world, "--runs", runs)
    assert result.code == 0, result.both
    return Trained(runs / "short", result)
