"""evaluate/chance.py: constant answers by the scorer's own rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.evaluate.chance import chance
from pumice.evaluate.samples import Sample
from pumice.score import Inputs, score

from .small_task import load, write_task


def test_popes_best_constant_answer_is_yes(tmp_path: Path) -> None:
    loaded = load(write_task(tmp_path), {})
    found = chance(loaded.samples, loaded.guesses, lambda file: score("pope", loaded.inputs(file)))
    assert found is not None
    assert found["how"] == 'always "Yes"'
    assert found["scores"]["metrics"]["f1"] == pytest.approx(200 / 3)
    assert found["scores"]["metrics"]["accuracy"] == 50
    low, high = found["scores"]["interval"]["accuracy"]
    assert low < 50 < high
    assert found["uniform"] is None, "F1 is no mean over questions"


def choices(folder: Path, options: list[int], truths: list[int]) -> tuple[list[Sample], Path]:
    """ScienceQA's files of questions with so many options and the right one."""
    path = folder / "problems.json"
    problems = {
        str(number): {"choices": ["x"] * count, "answer": truth, "image": None}
        for number, (count, truth) in enumerate(zip(options, truths, strict=True))
    }
    path.write_text(json.dumps(problems), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps({"test": list(problems)}), encoding="utf-8")
    samples = [Sample(n, "?", (), {"question_id": n, "prompt": "?"}, truth="AB"[0]) for n in problems]
    return samples, path


def test_letters_a_question_does_not_have_are_no_guesses(tmp_path: Path) -> None:
    samples, path = choices(tmp_path, [2, 2, 4, 5], [1, 1, 1, 0])
    found = chance(
        samples, ("A", "B", "C", "D", "E"), lambda file: score("scienceqa", Inputs(file, labels=path))
    )
    assert found is not None
    assert found["how"] == 'always "B"'
    assert found["scores"]["metrics"]["accuracy"] == 75
    assert found["uniform"] == pytest.approx(100 * (1 / 2 + 1 / 2 + 1 / 4 + 1 / 5) / 4)


def test_without_guesses_the_commonest_truths_serve(tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    truths = ["red", "blue", "red", "two"]
    rows = {
        str(n): {"answer": truth, "types": {"structural": "query", "semantic": "attr"}}
        for n, truth in enumerate(truths)
    }
    labels.write_text(json.dumps(rows), encoding="utf-8")
    samples = [Sample(n, "?", (), {"question_id": n}, truth=row["answer"]) for n, row in rows.items()]  # type: ignore[arg-type]
    found = chance(samples, (), lambda file: score("gqa", Inputs(file, labels=labels)))
    assert found is not None
    assert found["how"].startswith('always "red"')
    assert found["scores"]["metrics"]["accuracy"] == 50
    assert found["uniform"] is None


def test_nothing_to_guess_with() -> None:
    assert chance([Sample("1", "?", (), {})], (), lambda file: pytest.fail("nothing is scored")) is None
