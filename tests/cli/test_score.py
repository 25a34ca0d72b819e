"""`pumice score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Pumice


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three POPE questions of two categories with answers, one of them wrong."""
    asked = [
        {"question_id": 1, "text": "Is there a dog?\nSay.", "category": "random"},
        {"question_id": 2, "text": "Is there a cat?\nSay.", "category": "random"},
        {"question_id": 3, "text": "Is there a car?\nSay.", "category": "popular"},
    ]
    labels = tmp_path / "coco"
    labels.mkdir()
    dog = {"question_id": 1, "text": "Is there a dog?", "label": "yes"}
    cat = {"question_id": 2, "text": "Is there a cat?", "label": "no"}
    lines(labels / "coco_pope_random.json", [dog, cat])
    lines(labels / "coco_pope_popular.json", [{"question_id": 1, "text": "Is there a car?", "label": "yes"}])
    answers = [{"question_id": id, "text": text} for id, text in ((1, "Yes"), (2, "Yes"), (3, "Yes"))]
    return {
        "answers": lines(tmp_path / "answers.jsonl", answers),
        "questions": lines(tmp_path / "questions.jsonl", asked),
        "labels": labels,
    }


def options(files: dict[str, Path]) -> list[str | Path]:
    return [word for name, path in files.items() for word in (f"--{name}", path)]


def test_the_tables(pumice: Pumice, files: dict[str, Path]) -> None:
    result = pumice("score", "pope", *options(files))
    assert result.code == 0, result.both
    assert "POPE, 3 questions" in result.out
    figures = {line.split()[0]: line.split()[1] for line in result.out.splitlines() if len(line.split()) > 2}
    assert figures["f1"] == "83.33"
    assert figures["random"] == "66.67"
    assert "means over the categories" in result.err


def test_json_is_one_object_and_nothing_else(pumice: Pumice, files: dict[str, Path]) -> None:
    result = pumice("score", "pope", *options(files), "--json")
    assert result.code == 0
    assert result.err == ""
    found = json.loads(result.out)
    assert found["f1"] == pytest.approx(250 / 3, abs=1e-5)
    assert found["n"] == 3
    assert found["groups"]["random"]["precision"] == 50
    assert found["interval"]["f1"][0] <= found["f1"] <= found["interval"]["f1"][1]
    assert {"accuracy", "precision", "recall", "yes_ratio"} <= set(found)


def test_details_of_every_question(pumice: Pumice, files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "details.jsonl"
    assert pumice("score", "pope", *options(files), "--details", target).code == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert rows[1] == {"question_id": "2", "parsed": "yes", "score": 0.0, "groups": ["random"]}


def test_a_truncated_file_is_an_error_with_its_line(pumice: Pumice, files: dict[str, Path]) -> None:
    text = files["answers"].read_text()
    files["answers"].write_text(text[:-5])
    result = pumice("score", "pope", *options(files))
    assert result.code == 1
    assert f"{files['answers']}, line 3" in result.err
    files["answers"].write_text("\n".join(text.splitlines()[:2]) + "\n")
    result = pumice("score", "pope", *options(files))
    assert result.code == 1
    assert "1 of 3 questions have no answer: 3" in result.err
    assert pumice("score", "pope", *options(files), "--missing", "wrong").code == 0


def test_a_submission_prints_no_scores(pumice: Pumice, files: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "upload.json"
    words = ["score", "vqav2", "--answers", files["answers"], "--questions", files["questions"]]
    result = pumice(*words, "--submission", target)
    assert result.code == 0, result.both
    assert "3 answers for VQAv2" in result.out
    assert json.loads(target.read_text())[0] == {"question_id": 1, "answer": "yes"}
    refused = pumice(*words, "--submission", target, "--json")
    assert refused.code == 2
    assert "a submission has none" in refused.err


def test_what_cannot_be_carried_out(pumice: Pumice, files: dict[str, Path]) -> None:
    assert "did you mean 'pope'" in pumice("score", "popes").err
    result = pumice("score", "pope", "--answers", files["answers"])
    assert (result.code, "--labels" in result.err) == (2, True)
    assert pumice("score", "pope", "--missing", "ignore").code == 2


def test_a_task_of_ones_own(pumice: Pumice, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text("question,answer,kind\nWhat?,red,accuracy\nWhich?,blue,other\n")
    own = tmp_path / "parts.yaml"
    own.write_text("questions: q.csv\nscorer: exact\ntitle: Parts\ncolumns: {image: null, group: kind}\n")
    answers = lines(tmp_path / "answers.jsonl", [{"question_id": 1, "text": "Red."}])
    command: list[str | Path] = ["score", own, "--answers", answers]
    result = pumice(*command)
    assert result.code == 1
    assert "no answer" in result.err
    found = json.loads(pumice(*command, "--missing", "wrong", "--json").out)
    assert (found["accuracy"], found["n"]) == (50, 2)
    shown = pumice(*command, "--missing", "skip")
    assert "Parts, 1 question" in shown.out
    assert "100.00" in shown.out.split("By group")[0], "a group's name takes no figure away"
    useless = pumice(*command, "--labels", answers)
    assert useless.code != 0
    assert "--labels does nothing" in useless.err
    assert "no such task file" in pumice("score", tmp_path / "part.yaml", "--answers", answers).err
