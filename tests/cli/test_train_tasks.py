"""`pumice train` with benchmark tasks: read first, asked on the way and at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.cli.logs import _numbers
from pumice.cli.measure_tasks import measure_tasks, open_tasks, tasks_asker
from pumice.errors import DataError
from pumice.evaluate.results import read_results
from pumice.model.save import load_model
from pumice.recipes.evaluation import Evaluation

from .conftest import Pumice
from .official_pope import write_pope


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    write_pope(folder / "pope")
    return folder


KEPT = "stages.instruct.validation.keep_best"


def words(recipe: Path, world: Path, runs: Path, data: Path, *more: str) -> list[str | Path]:
    asked = f"evaluation={{tasks: [pope], data: {data}, every: 2, every_limit: 4, limit: 6}}"
    return ["train", recipe, "--data", world, "--runs", runs, "--set", asked, *more]


def rows_of(run: Path, stage: str, kind: str) -> list[dict[str, Any]]:
    lines = (run / "stages" / stage / "metrics.jsonl").read_text("utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_a_task_is_the_check_on_the_way_and_the_measurement_at_the_end(
    pumice: Pumice, recipe: Path, world: Path, data: Path, trained: Any, tmp_path: Path
) -> None:
    kept = "stages.instruct.validation.keep_best=pope.accuracy"
    result = pumice(*words(recipe, world, tmp_path, data, kept))
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
    best = json.loads((run / "run.json").read_text("utf-8"))["best"]["instruct"]
    value = row["keep_best"]["pope.accuracy"]["value"]
    place = "stages/instruct/best"
    assert best == {"step": 2, "figure": "pope.accuracy", "value": value, "model": place}
    words_of_it = f"pope.accuracy {value:.2f} after step 2"
    assert f"best  {run / place}: {words_of_it}" in result.out
    assert f"best {words_of_it}, kept in {place}" in (run / "report.html").read_text("utf-8")
    assert f"pope.accuracy {value:.2f} at step 2" in pumice("runs", "--runs", tmp_path).out
    listed = pumice("runs", "compare", run, trained.folder)
    assert "tasks on the way" in listed.out
    assert "instruct best figure" in listed.out
    assert dict(_numbers(row, "evaluation"))["evaluation/keep_best/pope.accuracy/value"] == value


@pytest.mark.parametrize(
    ("change", "said", "where"),
    [
        ("evaluation.tasks=[mme]", "MME_Benchmark_release_version", ""),
        ("evaluation.tasks=[pop]", "did you mean 'pope'", "evaluation.tasks"),
        ("evaluation.tasks=[mm-vet]", "", ""),
        ("evaluation.task_options=[pope.x=y]", "no option 'x'", "evaluation.task_options: pope.x=y"),
        ("evaluation.data=nowhere", "no folder", "evaluation.data"),
        (f"{KEPT}=pope.f2", "did you mean 'f1'", "keep_best"),
        (f"{KEPT}=pope.yes_ratio", "says nothing of good or bad", "keep_best"),
        (f"{KEPT}=popr.f1", "did you mean 'pope'", "keep_best"),
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


def test_without_a_measurement_no_figure_chooses_the_best_model(
    pumice: Pumice, recipe: Path, world: Path, data: Path, tmp_path: Path
) -> None:
    result = pumice(*words(recipe, world, tmp_path / "runs", data, f"{KEPT}=pope.f1", "--no-eval"))
    assert "without --no-eval" in result.err
    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_as_many_broken_pictures_as_the_recipe_says_are_left_out(trained: Any, tmp_path: Path) -> None:
    write_pope(tmp_path / "pope")
    picture = tmp_path / "pope/val2014/2.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    plan = Evaluation(tasks=("pope",), data=str(tmp_path), every=1, every_limit=8, variants=("tuned",))
    with pytest.raises(DataError, match=r"evaluation\.allow_bad=N") as caught:
        open_tasks(plan, 0)
    assert "of pope" in str(caught.value)
    plan = plan.model_copy(update={"allow_bad": 2})
    tasks = open_tasks(plan, 0)
    assert (len(tasks[0].few), tasks[0].bad) == (6, 2)
    model = load_model(trained.folder / "model")
    row = tasks_asker(tasks)(model)["tasks"]["pope"]
    assert (row["n"], row["left_out"]) == (6, 2)
    results = measure_tasks(plan, tasks, trained.folder / "model", tmp_path / "eval", 0)
    found = results["tasks"]["pope"]["result"]
    assert found is not None
    assert (found["asked"], found["left_out"]) == (6, 2)
