"""`pumice eval` and `pumice report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_a_run_is_measured_by_its_folder(
    pumice: Any, trained: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--questions", world / "test_questions.jsonl", "--limit", "24", "--max-new-tokens", "4"]
    result = pumice("eval", trained.folder, *words, "--seed", "3")
    assert result.code == 0, result.both
    place = tmp_path / "evals" / "short" / "test_questions"
    own = json.loads((trained.folder / "eval" / "scores.json").read_text("utf-8"))
    again = json.loads((place / "scores.json").read_text("utf-8"))
    assert list(again["variants"]) == ["tuned", "blind", "wrong-image"]
    for name, figures in again["variants"].items():
        assert figures == own["variants"][name], "the same model and questions, the same scores"


def test_chosen_variants_and_batches_change_no_answer(
    pumice: Any, trained: Any, world: Path, tmp_path: Path
) -> None:
    words = ["--questions", world / "test_questions.jsonl", "--limit", "24", "--max-new-tokens", "4"]
    words += ["--images", world, "--out", tmp_path, "--variants", "tuned", "--batch-size", "5"]
    result = pumice("eval", trained.folder / "model", *words)
    assert result.code == 0, result.both
    lines = [(f / "predictions-tuned.jsonl").read_text("utf-8") for f in (tmp_path, trained.folder / "eval")]
    assert lines[0] == lines[1]


def test_the_first_variant_is_the_one_that_is_measured(
    pumice: Any, trained: Any, world: Path, tmp_path: Path
) -> None:
    words = [
        "--questions",
        world / "test_questions.jsonl",
        "--limit",
        "24",
        "--max-new-tokens",
        "3",
        "--out",
        tmp_path,
    ]
    result = pumice("eval", trained.folder, *words, "--variants", "wrong-image, tuned")
    assert result.code == 0, result.both
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert list(scores["variants"]) == ["wrong-image", "tuned"]
    again = pumice("eval", trained.folder / "stages" / "align" / "model", *words, "--variants", "tuned")
    assert again.code == 1, "answers of another model are never mixed in"
    assert "of another model" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--variants", "tuned,blnd"], "'blind'"),
        (["--variants", ","], "no variant"),
        (["--images", "nowhere"], "nowhere"),
    ],
)
def test_refusals(pumice: Any, trained: Any, world: Path, words: list[str], said: str) -> None:
    result = pumice("eval", trained.folder, "--questions", world / "test_questions.jsonl", *words)
    assert result.code == 2
    assert said in result.err


def test_another_template_or_length_is_not_mixed_with_what_is_there(
    pumice: Any, trained: Any, world: Path, tmp_path: Path
) -> None:
    words = ["eval", trained.folder, "--questions", world / "test_questions.jsonl", "--limit", "4"]
    words += ["--variants", "tuned"]
    own, other = tmp_path / "own", tmp_path / "other"
    assert pumice(*words, "--max-new-tokens", "4", "--out", own).code == 0
    result = pumice(*words, "--max-new-tokens", "4", "--out", other, "--template", "plain")
    assert result.code == 0, result.both
    files = [folder / "predictions-tuned.jsonl" for folder in (own, other)]
    said = [[json.loads(line)["raw"] for line in file.open(encoding="utf-8")] for file in files]
    assert said[0] != said[1], "the template reaches the model"
    for changed, name in ((["--max-new-tokens", "5"], "max_new_tokens"), (["--template", "v1"], "template")):
        refused = pumice(*words, "--max-new-tokens", "4", "--out", own, *changed)
        assert refused.code == 1
        assert f"another {name}" in refused.err
    unknown = pumice(*words, "--out", own, "--template", "vicuna")
    assert unknown.code == 1
    assert "v1" in unknown.err, "the templates there are"


def test_a_model_that_is_not_there(pumice: Any, world: Path, tmp_path: Path) -> None:
    result = pumice("eval", tmp_path, "--questions", world / "test_questions.jsonl")
    assert result.code == 1
    assert "config.json" in result.err


def test_the_page_is_written_anew(pumice: Any, trained: Any) -> None:
    page = trained.folder / "report.html"
    before = page.read_bytes()
    page.write_text("spoilt", encoding="utf-8")
    result = pumice("report", trained.folder)
    assert result.code == 0
    assert page.read_bytes() == before
    assert str(page) in result.out


def test_no_page_for_no_run(pumice: Any, tmp_path: Path) -> None:
    result = pumice("report", tmp_path / "none")
    assert result.code == 2
    assert "no such run and no such evaluation" in result.err
    assert "evals/NAME" in result.err
    (tmp_path / "notes.txt").touch()
    result = pumice("report", tmp_path)
    assert result.code == 2
    assert "no run.json" in result.err
    assert "runs/NAME, which pumice train made" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
