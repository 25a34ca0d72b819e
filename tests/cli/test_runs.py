"""Runs listed and compared: finished, under way, broken off and damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder(trained: Any, recipe: Path, world: Path, pumice: Any, tmp_path: Path) -> Path:
    """A finished run, one that goes on, one that failed early and one whose record is damaged."""
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copytree(trained.folder, runs / "first", symlinks=True)
    words = ["stages.instruct.lr.language=5e-4", "stages.instruct.validation.keep_best=true", "seed=9"]
    done = pumice("train", recipe, *words, "--data", world, "--runs", runs, "--name", "second", "--no-eval")
    assert done.code == 0, done.both
    record = json.loads((runs / "second/run.json").read_text("utf-8"))
    halfway = {**record, "status": "running", "stages": record["stages"][:1]}
    (runs / "second/run.json").write_text(json.dumps(halfway), "utf-8")
    metrics = runs / "second/stages/instruct/metrics.jsonl"
    lines = metrics.read_text("utf-8").splitlines(keepends=True)
    metrics.write_text("".join(lines[:3]) + lines[3][:9], "utf-8")  # a row that is being written
    (runs / "third").mkdir()
    (runs / "third/run.json").write_text(json.dumps({"name": "third", "status": "failed"}), "utf-8")
    (runs / "fourth").mkdir()
    (runs / "fourth/run.json").write_text("{", "utf-8")
    return runs


def test_all_runs_are_listed_with_what_they_have_reached(pumice: Any, folder: Path) -> None:
    done = pumice("runs", "--runs", folder)
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    for name, status in (("second", "running"), ("third", "failed"), ("fourth", "unreadable")):
        assert status in lines[name]
    listed = {run["name"]: run for run in json.loads(pumice("runs", "--runs", folder, "--json").out)}
    steps = {
        name: [(s["name"], s["step"], s["steps"]) for s in run["stages"]] for name, run in listed.items()
    }
    first = next(name for name in listed if name not in ("second", "third", "fourth"))
    assert steps[first] == [("align", 2, 2), ("instruct", 3, 3)]
    assert steps["second"] == [("align", 2, 2), ("instruct", 2, 3)]
    assert steps["third"] == steps["fourth"] == []
    assert "run.json" in listed["fourth"]["problem"]
    rows = [json.loads(line) for line in (folder / "first/stages/instruct/metrics.jsonl").open()]
    held_out = [row["loss"] for row in rows if row["kind"] == "validation"]
    assert listed[first]["stages"][-1]["validation"] == held_out[-1]
    assert set(listed[first]["scores"]["tuned"]) == {"value", "low", "high", "n"}


def test_two_runs_side_by_side(pumice: Any, folder: Path) -> None:
    done = pumice("runs", "compare", "first", folder / "second", "--runs", folder, "--json")
    assert done.code == 0, done.both
    found = json.loads(done.out)
    changed = {one["key"]: one["values"] for one in found["recipe"]}
    assert changed == {
        "seed": ["3", "9"],
        "stages.instruct.lr.language": ["0.001", "0.0005"],
        "stages.instruct.validation.keep_best": ["false", "true"],
    }
    one, other = found["runs"]
    assert one["scores"]
    assert other["scores"] is None
    assert other["stages"][1]["best_loss"] is not None
    said = pumice("runs", "compare", "first", "second", "--runs", folder).out
    assert "stages.instruct.lr.language" in said
    assert "instruct best validation loss" in said
    assert "tuned" in said
    assert "same" not in said
    assert "recipes are the same" in pumice("runs", "compare", "first", "first", "--runs", folder).out


def test_a_run_that_has_only_failed_can_be_compared(pumice: Any, folder: Path) -> None:
    done = pumice("runs", "compare", "first", "third", "--runs", folder)
    assert done.code == 0, done.both
    assert "failed" in done.out


def test_what_cannot_be_compared_is_said(pumice: Any, folder: Path) -> None:
    assert "did you mean 'second'" in pumice("runs", "compare", "first", "secnd", "--runs", folder).err
    assert pumice("runs", "compare", "first", "--runs", folder).code == 2
    assert "no runs" in pumice("runs", "--runs", folder / "nowhere").err
    assert json.loads(pumice("runs", "--runs", folder / "nowhere", "--json").out) == []
