"""`pumice eval --tasks`: from the official files of a task to its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.evaluate.results import read_predictions, read_results
from pumice.evaluate.tasks import benchmark_of

from ..evaluate.stand_in import StandIn, fails
from .conftest import Pumice
from .official_pope import write_pope


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with POPE's official files."""
    write_pope(tmp_path / "data" / "pope")
    return tmp_path / "data"


def test_a_model_is_asked_once_and_its_figures_stand_beside_what_needs_no_sight(
    pumice: Pumice, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["eval", "tiny", "--tasks", "pope", "--data", data, "--blind", "--max-new-tokens", "4"]
    result = pumice(*words)
    assert result.code == 0, result.both
    place = tmp_path / "evals" / "tiny"
    state = read_results(place)["tasks"]["pope"]
    assert state["result"] is not None
    assert state["result"]["settings"]["max_new_tokens"] == 4
    assert "66.67" in result.out, "always yes"
    assert "85.9" not in result.out, "eight questions are not POPE"
    assert "Nothing published stands beside pope" in result.out
    rows = list(read_predictions(place / "pope"))
    assert [row["images"] for row in rows[::2]] == [[f"val2014/{number}.jpg"] for number in range(4)]
    assert all(row["score"] is not None for row in rows)
    before = (place / "pope" / "answers.jsonl").read_bytes()
    again = pumice(*words)
    assert again.code == 0
    assert "8 answered before" in again.out
    assert (place / "pope" / "answers.jsonl").read_bytes() == before
    other = pumice(*words, "--max-new-tokens", "5")
    assert other.code == 1
    assert "max_new_tokens is 4, now 5" in other.err


def test_a_task_that_is_missing_is_told_first_and_takes_no_other_with_it(
    pumice: Pumice, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["eval", "tiny", "--data", data, "--out", out, "--max-new-tokens", "2"]
    result = pumice(*words, "--tasks", "mme, pope")
    assert result.code == 1
    assert "MME_Benchmark_release_version" in result.err
    states = {name: one["state"] for name, one in read_results(out)["tasks"].items()}
    assert states == {"mme": "failed", "pope": "scored"}
    found = pumice(*words, "--tasks", "all")
    assert found.code == 0, found.both
    assert "mme" not in found.out


def test_what_cannot_be_read_is_told_once_and_is_all(pumice: Pumice, data: Path, tmp_path: Path) -> None:
    (data / "pope" / "coco_pope_random.json").write_text('{"question_id": 1, "im')
    result = pumice("eval", "tiny", "--data", data, "--out", tmp_path / "out", "--tasks", "pope")
    assert result.code == 1
    assert result.both.count("error:") == 1
    assert "coco_pope_random.json" in result.err
    assert "page" not in result.out


def test_a_part_is_drawn_with_whole_pictures_into_a_folder_of_its_own(
    pumice: Pumice, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUMICE_DATA", str(data))
    words = ["eval", "tiny", "--tasks", "pope", "--max-new-tokens", "2"]
    result = pumice(*words, "--limit", "4")
    assert result.code == 0, result.both
    assert "4 of 8 questions, drawn by chance" in result.out
    pictures = [row["images"][0] for row in read_predictions(tmp_path / "evals/tiny/limit-4/pope")]
    assert len(pictures) == 4
    assert len(set(pictures)) == 2


def test_a_server_is_asked(pumice: Pumice, data: Path, tmp_path: Path) -> None:
    def says(body: dict[str, Any]) -> Any:
        return "Yes" if "red" in body["messages"][0]["content"][-1]["text"] else "No"

    with StandIn(says, models=("judge-1",)) as server:
        words = ["eval", "--tasks", "pope", "--data", data]
        result = pumice(*words, f"{server.url}/v1", "--out", tmp_path / "a", "--concurrency", "2")
        assert result.code == 0, result.both
        named = pumice(*words, "judge-1", "--endpoint", server.url, "--out", tmp_path / "a")
        assert named.code == 0, named.both
        assert len(server.bodies) == 8, "it is the same model: nothing is asked twice"
        wrong = pumice(*words, server.url, "--model", "judge-2", "--out", tmp_path / "a")
    assert wrong.code == 1
    assert "another model" in wrong.err
    assert read_results(tmp_path / "a")["model"] == {"kind": "endpoint", "name": "judge-1", "digest": ""}


def test_a_server_that_fails_in_the_middle_leaves_what_it_said(
    pumice: Pumice, data: Path, tmp_path: Path
) -> None:
    count = 0

    def tires(body: dict[str, Any]) -> Any:
        nonlocal count
        count += 1
        return "Yes" if count <= 3 else fails(401, "the key is no more")

    words = ["eval", "judge-1", "--tasks", "pope", "--data", data, "--out", tmp_path, "--concurrency", "1"]
    with StandIn(tires) as server:
        first = pumice(*words, "--endpoint", server.url)
        assert first.code == 1
        assert "unfinished" in first.out
        count = -100
        assert pumice(*words, "--endpoint", server.url).code == 0
        assert len(server.bodies) == 4 + 5


def test_a_file_of_answers_is_scored_with_chance_beside(pumice: Pumice, data: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    loaded = benchmark_of("pope").load(data / "pope", {})
    rows = [{"question_id": sample.row["question_id"], "text": sample.truth} for sample in loaded.samples]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["eval", "somebody", "--tasks", "pope", "--data", data, "--out", tmp_path / "filed"]
    result = pumice(*words, "--answers", answers)
    assert result.code == 0, result.both
    state = read_results(tmp_path / "filed")["tasks"]["pope"]
    assert state["result"] is not None
    assert state["result"]["scores"]["metrics"]["f1"] == 100
    assert state["result"]["seconds"] is None
    assert state["result"]["settings"] == {"answers": "answers.jsonl"}
    assert (tmp_path / "filed" / "index.html").is_file()


def test_a_judge_reads_what_no_rule_can(pumice: Pumice, data: Path, tmp_path: Path) -> None:
    place = data / "mm-vet"
    (place / "images").mkdir(parents=True)
    rows = {}
    for number in range(3):
        name = f"{number}.jpg"
        (place / "images" / name).write_bytes((data / "pope" / "val2014" / name).read_bytes())
        rows[f"v1_{number}"] = {
            "imagename": name, "question": "Which colour?", "answer": "red", "capability": ["rec"],
        }  # fmt: skip
    (place / "mm-vet.json").write_text(json.dumps(rows), encoding="utf-8")
    out = tmp_path / "out"
    words = ["eval", "tiny", "--tasks", "mm-vet", "--data", data, "--out", out, "--max-new-tokens", "4"]
    waiting = pumice(*words)
    assert waiting.code == 1
    assert "--judge URL" in waiting.out
    with StandIn(lambda body: "0.5") as server:
        judging = ["--judge", server.url, "--judge-model", "judge-1", "--concurrency", "2", "--timeout", "60"]
        result = pumice(*words, *judging)
        assert result.code == 0, result.both
        assert len(server.bodies) == 3
        assert pumice(*words, *judging).code == 0
        assert len(server.bodies) == 3, "what was judged is not judged again"
    state = read_results(out)["tasks"]["mm-vet"]["result"]
    assert state is not None
    assert state["scores"]["metrics"]["total"] == 50
    assert state["judge"] is not None
    assert state["judge"]["model"] == "judge-1"
    assert state["baselines"]["chance"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "what the model is asked"),
        (["--tasks", "pope", "--questions", "q.jsonl"], "two things"),
        (["--tasks", "pop"], "did you mean 'pope'"),
        (["--tasks", ","], "no task is named"),
        (["--tasks", "pope", "--variants", "blind"], "--variants does nothing"),
        (["--tasks", "pope", "--set", "pope"], "TASK.OPTION=VALUE"),
        (["--tasks", "pope", "--set", "mme.x=y"], "'mme', which is not asked"),
        (["--tasks", "pope", "--set", "pope.x=y"], "no option 'x'"),
        (["--tasks", "pope", "--concurrency", "3"], "--concurrency is of a server"),
        (["--tasks", "pope", "--answers", "a", "--batch-size", "3"], "--batch-size does nothing"),
        (["--tasks", "pope,mme", "--answers", "a"], "the answers to one task"),
        (["--tasks", "pope", "--missing", "skip"], "--missing is of a file of answers"),
        (["--tasks", "pope", "--answers", "a", "--missing", "wrong", "--limit", "2"], "under --limit"),
        (["--tasks", "pope", "--answers", "a", "--allow-bad", "2"], "--allow-bad is of pictures"),
        (
            ["--tasks", "pope", "--endpoint", "http://localhost:1", "--template", "v1"],
            "--template does nothing",
        ),
        (["--tasks", "pope", "--judge", "http://localhost:1"], "no task of the list"),
        (["--tasks", "mm-vet", "--judge", "http://localhost:1"], "the judge's model is missing"),
        (["--tasks", "mm-vet", "--judge-model", "x"], "the judge's address is missing"),
        (["--questions", "q.jsonl", "--blind"], "--blind does nothing with --questions"),
    ],
)
def test_words_that_cannot_be_carried_out(pumice: Pumice, data: Path, words: list[str], said: str) -> None:
    result = pumice("eval", "tiny", "--data", data, *words)
    assert result.code == 2, result.both
    assert said in result.err


def test_where_the_data_lie_must_be_said(pumice: Pumice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUMICE_DATA", raising=False)
    result = pumice("eval", "tiny", "--tasks", "pope")
    assert result.code == 2
    assert "PUMICE_DATA" in result.err


def test_the_list_says_what_is_there(pumice: Pumice, data: Path) -> None:
    result = pumice("eval", "--list", "--data", data)
    assert result.code == 0
    there = {
        line.split()[0]: line.split()[1]
        for line in result.out.splitlines()
        if " no " in line or " yes " in line
    }
    assert there["pope"] == "yes"
    assert there["mme"] == "no"
    assert "textvqa.ocr=yes|no" in result.out
