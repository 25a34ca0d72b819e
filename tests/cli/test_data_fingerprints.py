"""`pumice data fingerprints`, and `pumice eval --training` that reads what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..evaluate.tasks.official import parquet, pictures, png
from .conftest import run_pumice


def training(folder: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "A"}]
    rows = [{"id": "1", "image": "photos/a.png", "conversations": turns}]
    (folder / "talk.json").write_text(json.dumps(rows))
    pictures(folder / "photos", {"a.png": 1})


def test_a_benchmark_is_held_against_training_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    training(tmp_path)
    done = run_pumice("data", "fingerprints", "talk.json", "--images", ".", "--out", "talk.npz")
    assert done.code == 0, done.both
    assert "talk.npz: 1 different pictures, 1 different questions of 1 rows" in done.both
    rows = [
        {"index": index, "question": "Which?", "image": {"bytes": png(shade), "path": "x.png"}, "answer": "A",
         "category": "math", "l2_category": "geometry"}
        for index, shade in ((0, 1), (1, 200))
    ]  # fmt: skip
    parquet(tmp_path / "data" / "mmstar" / "mmstar.parquet", rows)
    (tmp_path / "said.jsonl").write_text("".join(f'{{"question_id": {id}, "text": "A"}}\n' for id in (0, 1)))
    words = ["eval", "said", "--tasks", "mmstar", "--data", "data", "--answers", "said.jsonl", "--out", "out"]
    done = run_pumice(*words, "--training", "talk.npz")
    assert done.code == 0, done.both
    told = " ".join(done.both.split())
    assert "1 of 2 pictures, 0 more near; 2 of 2 questions, 1 of them with such a picture" in told, told
    found = json.loads((tmp_path / "out" / "mmstar" / "result.json").read_text())["overlap"]
    assert found["examples"] == ["0"]
    assert found["training"][0]["path"] == str(tmp_path / "talk.json")
    assert "overlap" not in json.loads(result_without(words, tmp_path))


def result_without(words: list[str], folder: Path) -> str:
    assert run_pumice(*words[:-1], "other").code == 0
    return (folder / "other" / "mmstar" / "result.json").read_text()


def test_what_cannot_be_done_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    training(tmp_path)
    done = run_pumice("data", "fingerprints", "talk.json", "--images", ".", "--out", "gone/talk.npz")
    assert done.code != 0
    assert "there is no folder gone" in done.both
    (tmp_path / "talk.npz").write_text("no index")
    (tmp_path / "data").mkdir()
    (tmp_path / "said.jsonl").write_text('{"question_id": 0, "text": "A"}\n')
    words = ["eval", "said", "--tasks", "mmstar", "--data", "data", "--answers", "said.jsonl"]
    done = run_pumice(*words, "--training", "talk.npz")
    assert done.code != 0
    assert "the file holds no fingerprints of training data" in done.both
    done = run_pumice("eval", "tiny", "--questions", "q.jsonl", "--training", "talk.npz")
    assert "--training does nothing with --questions" in done.both
