"""Published figures: found again where the data lies, and a difference is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pumice.score import Inputs
from pumice.score.published import CASES, Case, Figure, main, verify


@pytest.mark.skipif(
    "PUMICE_REAL_DATA" not in os.environ, reason="PUMICE_REAL_DATA names no folder of published data"
)
def test_all_published_figures_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([os.environ["PUMICE_REAL_DATA"]]) == 0
    assert "19 of 19 figures are as published" in capsys.readouterr().out


def case(file: Path, published: str) -> Case:
    figure = Figure("overall", lambda result: result.metrics["overall"], published, "somebody")
    return Case("llava-bench", "A bench", lambda data: Inputs(reviews=(file,)), (figure,))


def test_a_difference_is_told_with_both_numbers(lines: Any, tmp_path: Path) -> None:
    file = lines("r.jsonl", [{"question_id": 0, "tuple": [9, 6]}])
    assert verify(tmp_path, [case(file, "66.7")]) == [("A bench: overall", "somebody", "66.7", "66.7", True)]
    assert verify(tmp_path, [case(file, "66.67")])[0][3:] == ("66.67", True)
    assert verify(tmp_path, [case(file, "66.6")])[0][2:] == ("66.6", "66.7", False)


def test_the_exit_code(lines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    file = lines("r.jsonl", [{"question_id": 0, "tuple": [9, 6]}])
    monkeypatch.setattr("pumice.score.published.verify", lambda data: verify(data, [case(file, "66.6")]))
    assert main([str(tmp_path)]) == 1
    assert "DIFFERS" in capsys.readouterr().out
    monkeypatch.setattr("pumice.score.published.verify", lambda data: verify(data, [case(file, "66.7")]))
    assert main([str(tmp_path)]) == 0
    assert main([]) == 2


def test_a_folder_without_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "there is no" in capsys.readouterr().err


def test_every_benchmark_with_published_answers_is_checked() -> None:
    assert {case.task for case in CASES} == {"scienceqa", "pope", "llava-bench", "mm-vet"}
