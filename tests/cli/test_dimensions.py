"""`pumice world benchmarks` and `pumice eval --dimensions`: two commands for all that is embedded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

Pumice = Any


@pytest.fixture(scope="module")
def data(pumice: Pumice, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded") / "data"
    only = "pope,gqa,retrieval,reasoning,domain,instructions"
    result = pumice("world", "benchmarks", folder, "--n", "12", "--only", only)
    assert result.code == 0, result.both
    assert f"pumice eval tiny --tasks all --dimensions all --data {folder}" in result.out
    return folder


def test_one_command_runs_all_that_is_there(pumice: Pumice, data: Path, tmp_path: Path) -> None:
    words = ["eval", "tiny", "--tasks", "all", "--dimensions", "all", "--data", data, "--out", tmp_path]
    result = pumice(*words)
    assert result.code == 0, result.both
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    names = ["gqa", "pope", "retrieval", "instructions", "reasoning", "domain", "fusion"]
    assert list(results["tasks"]) == names
    for name in names:
        assert results["tasks"][name]["state"] == "scored"
        assert name in result.out
    tower = results["tasks"]["retrieval"]["result"]["scores"]["metrics"]["tower_t2i_top1"]
    assert tower > 80, "the text encoder of the shipped model's tower is found"
    assert "pope: word" in results["tasks"]["instructions"]["result"]["scores"]["groups"]
    assert "1.5-7B" not in result.out, "nothing was published of this world's questions"
    assert "Nothing published stands beside gqa, pope" in result.out
    assert result.both.count("Every answer is in") == result.both.count("The page:") == 1
    again = pumice(*words)
    assert again.code == 0
    kept = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert kept["tasks"]["fusion"] == results["tasks"]["fusion"]


def test_what_a_dimension_lacks_is_told_before_the_tasks_are_asked(
    pumice: Pumice, data: Path, tmp_path: Path
) -> None:
    words = ["eval", "tiny", "--tasks", "pope", "--data", data, "--out", tmp_path / "out"]
    result = pumice(*words, "--dimensions", "efficiency")
    assert result.code == 2
    assert "no record of its training" in result.err
    assert not (tmp_path / "out").exists(), "nothing was asked"


def test_a_run_tells_what_its_training_cost(pumice: Pumice, trained: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("run.json", "mixture.json", "stages", "eval", "model"):
        (other / name).symlink_to((trained.folder / name).resolve())
    record = json.loads((trained.folder / "run.json").read_text("utf-8"))
    record["stages"][-1]["frozen"]["vision"] *= 3
    (other / "run.json").unlink()
    (other / "run.json").write_text(json.dumps({**record, "name": "other"}), encoding="utf-8")
    words = ["eval", trained.folder, "--dimensions", "all", "--sizes", other, "--out", tmp_path / "out"]
    result = pumice(*words)
    assert result.code == 0, result.both
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["tasks"]
    assert list(results) == ["efficiency", "scaling"]
    assert results["efficiency"]["result"]["scores"]["metrics"]["hours"] > 0
    assert list(results["scaling"]["result"]["scores"]["metrics"]) == ["score", "per_doubling_of_parameters"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dimensions", "fussion"], "fusion"),
        (["--dimensions", "reasoning"], "--data"),
        (["--dimensions", "fusion", "--sizes", "x"], "--sizes is for the dimension scaling"),
        (["--dimensions", "fusion", "--text-side", "."], "no config.json"),
        (["--dimensions", "fusion", "--set", "pope.a=b"], "--set does nothing without --tasks"),
        (["--dimensions", "fusion", "--answers", "a.jsonl"], "a model of ours"),
        (["--tasks", "pope", "--sizes", "x"], "without --dimensions"),
        (["--dimensions", "fusion", "--questions", "q.jsonl"], "two things"),
        (["--dimensions", "fusion", "--data", "nowhere"], "no folder"),
        ([], "--dimensions"),
    ],
)
def test_what_cannot_be_done_is_told(
    pumice: Pumice, words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PUMICE_DATA", raising=False)
    result = pumice("eval", "tiny", *words)
    assert result.code in (1, 2)
    assert told in " ".join(result.both.split())
    assert not (tmp_path / "evals" / "tiny" / "fusion").exists()


@pytest.mark.parametrize(
    ("only", "said", "lacks"),
    [
        ("pope", "pumice eval tiny --tasks all --data {}", "--dimensions"),
        ("reasoning", "pumice eval tiny --dimensions all --data {}", "--tasks"),
        (
            "llava-bench,mm-vet",
            "pumice eval tiny --tasks all --data {} --judge URL --judge-model NAME",
            "--dimensions",
        ),
    ],
)
def test_what_is_written_is_followed_by_a_command_that_can_measure_it(
    pumice: Pumice, tmp_path: Path, only: str, said: str, lacks: str
) -> None:
    result = pumice("world", "benchmarks", tmp_path / "data", "--n", "2", "--only", only)
    assert result.code == 0, result.both
    commands = [line.strip() for line in result.out.splitlines() if line.strip().startswith("pumice eval")]
    assert commands == [said.format(tmp_path / "data")]
    assert lacks not in commands[0]
    assert ("of a judge, which must read llava-bench and mm-vet" in result.out) == ("judge" in said)


def test_a_server_has_no_dimensions(pumice: Pumice) -> None:
    result = pumice("eval", "http://localhost:1/v1", "--dimensions", "reasoning", "--tasks", "pope")
    assert result.code == 2
    assert "retrieval and fusion look into" in result.err
    assert "instructions, reasoning and domain ask it" in result.err
    assert "pumice eval http://localhost:1/v1 --tasks pope" in result.err
