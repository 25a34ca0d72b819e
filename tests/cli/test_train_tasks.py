"""`pumice train` with benchmark tasks: read first, asked on the way and at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.evaluate.results import read_results

from .conftest import Pumice
from .official_pope import write_pope


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    write_pope(folder / "pope")
    return folder


def words(recipe: Path, world: Path, runs: Path, data: Path, *more: str) -> list[str | Path]:
    asked = f"evaluation={{tasks: [pope], data: {data}, every: 2, every_limit: 4, limit: 6}}"
    return ["train", recipe, "--data", world, "--runs", runs, "--set", asked, *more]


def rows_of(run: Path, stage: str, kind: str) -> list[dict[str, Any]]:
    lines = (run / "stages" / stage / "metrics.jsonl").read_text("utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_a_task_is_the_check_on_the_way_and_the_measurement_at_the_end(
    pumice: Pumice, recipe: Path, world: Path, data: Path, trained: Any, tmp_path: Path
) -> None:
    result = pumice(*words(recipe, world, tmp_path, data))
    assert result.code == 0, result.both
    run = tmp_path / "short"
    (row,) = rows_of(run, "instruct", "evaluation")
    assert row["step"] == 2
    asked = row["tasks"]["pope"]
    assert (asked["figure"], asked["n"]) == ("f1", 4)
    assert asked["low"] <= asked["value"] <= asked["high"]
    assert f"pope f1 {asked['value']:.1f} of 4" in result.out
    found = read_results(run / "eval")["tasks"]["pope"]["result"]
    assert found is not None
    assert (found["asked"], found["total"]) == (6, 8)
    assert found["baselines"]["blind"] is not None
    assert "Tasks on the way" in (run / "report.html").read_text("utf-8")
    page = run / "eval" / "index.html"
    before = page.read_bytes()
    page.unlink()
    assert pumice("report", run).code == 0
    assert page.read_bytes() == before
    assert [row["loss"] for row in rows_of(run, "instruct", "train")] == [
        row["loss"] for row in rows_of(trained.folder, "instruct", "train")
    ], "asking changes nothing in training"
    listed = pumice("runs", "compare", run, trained.folder)
    assert "tasks on the way" in listed.out


@pytest.mark.parametrize(
    ("change", "said", "where"),
    [
        ("evaluation.tasks=[mme]", "MME_Benchmark_release_version", ""),
        ("evaluation.tasks=[pop]", "did you mean 'pope'", "evaluation.tasks"),
        ("evaluation.tasks=[mm-vet]", "", ""),
        ("evaluation.task_options=[pope.x=y]", "no option 'x'", "evaluation.task_options: pope.x=y"),
        ("evaluation.data=nowhere", "no folder", "evaluation.data"),
    ],
)
def test_nothing_trains_before_the_tasks_are_read(
    pumice: Pumice, recipe: Path, world: Path, data: Path, tmp_path: Path, change: str, said: str, where: str
) -> None:
    result = pumice(*words(recipe, world, tmp_path / "runs", data, "--set", change))
    assert result.code in (1, 2)
    assert said in result.err
    assert where in result.err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/run.json"))
