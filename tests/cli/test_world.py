"""`pumice world`: making a world, and pretraining the parts."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest


def test_a_world_is_made_and_what_is_in_it_said(pumice: Any, world: Path) -> None:
    questions = (world / "test_questions.jsonl").read_text("utf-8").splitlines()
    again = pumice(
        "world", "make", world, "--n", "18", "--validation", "2", "--test", "4", "--level", "easy",
        "--workers", "1",
    )  # fmt: skip
    assert again.code == 0, again.both
    assert "12 train, 2 validation, 4 test pictures" in again.out
    assert f"{len(questions):,} rows" in again.out
    assert f"pumice train tiny --data {world}" in again.out
    assert json.loads((world / "world.json").read_text("utf-8"))["seed"] == 0


def test_a_world_is_not_made_over_something_else(pumice: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    result = pumice("world", "make", tmp_path, "--n", "20")
    assert result.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_level(pumice: Any, tmp_path: Path) -> None:
    result = pumice("world", "make", tmp_path / "w", "--level", "hard")
    assert result.code == 2
    assert "easy" in result.err


def test_pretraining_passes_what_was_asked_for(
    pumice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.world import pretrain

    calls: list[dict[str, Any]] = []

    def fake(out: Path, *, report: Any, **options: Any) -> dict[str, dict[str, float]]:
        report("pretraining", 5, 5, {"loss": 0.25})
        stop = options.pop("stop")
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)  # from the first step on, a signal waits for a step's end
        assert stop()
        calls.append({"out": out, **options})
        if len(calls) > 1:
            raise KeyboardInterrupt
        return {"lm-tiny": {"color": 0.9}}

    monkeypatch.setattr(pretrain, "pretrain", fake)
    words = ["world", "pretrain", tmp_path, "--part", "lm-tiny", "--workers", "3", "--documents", "7"]
    result = pumice(*words)
    assert result.code == 0, result.both
    want = {"parts": ("lm-tiny",), "workers": 3, "documents": 7, "pictures": 60000}
    assert calls == [{"out": tmp_path, **want}]
    assert "pretraining: 5 of 5  loss 0.25" in result.out
    assert f"--set model.language={tmp_path / 'lm-tiny'}" in result.out
    assert "model.vision" not in result.out
    stopped = pumice(*words)
    assert stopped.code == 130
    assert "run the same command again" in stopped.err
