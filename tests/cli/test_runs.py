"""Runs listed and compared: finished, under way, broken off and damaged ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pumice.cli import runs as verb
from pumice.processes import own_process
from pumice.report.runs import list_runs


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
    session = {**record["sessions"][0], "how": "running", "ended": None, "process": own_process()}
    halfway = {**record, "status": "running", "stages": record["stages"][:1], "sessions": [session]}
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
    assert sorted(listed) == ["first", "fourth", "second", "third"], "by folder: first is a copy"
    first = "first"
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


LINE = r"finished +instruct 3/3 +\d\.\d{4} +[\d.]+% \([\d.]+-[\d.]+%\) +\d{4}-\d\d-\d\d \d\d:\d\d$"


def test_a_run_is_one_line_whatever_the_width(
    pumice: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    done = pumice("runs", "--runs", folder)
    head, *lines = done.out.splitlines()
    assert head.split()[:4] == ["run", "recipe", "status", "stage"]
    assert sorted(line.split()[0] for line in lines) == ["first", "fourth", "second", "third"]
    (first,) = (line for line in lines if line.startswith("first"))
    assert re.search(LINE, first), first


def test_a_narrow_terminal_gets_whole_lines_of_less(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list_runs(folder)
    for width, lacking in ((200, set()), (80, {"recipe"}), (40, {"recipe", "started"})):
        monkeypatch.setattr(verb, "out", Console(width=width, force_terminal=True))
        head, *lines = verb._list(found).plain.splitlines()
        assert len(lines) == 4
        assert {name for name in ("recipe", "started") if name not in head} == lacking, width


def put(folder: Path, name: str, **changes: Any) -> None:
    """Change what the record of a run says of its last session's process."""
    path = folder / name / "run.json"
    record = json.loads(path.read_text("utf-8"))
    record["sessions"][-1]["process"] |= changes
    path.write_text(json.dumps(record), "utf-8")


def test_a_run_whose_process_is_gone_does_not_run(pumice: Any, folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    put(folder, "second", pid=child.pid, began=1)
    done = pumice("runs", "--runs", folder)
    (line,) = (line for line in done.out.splitlines() if line.startswith("second"))
    assert "died" in line
    assert "second: its process ended without a word, after " in done.err
    assert "--resume" in done.err
    assert "died" in pumice("runs", "compare", "first", "second", "--runs", folder).out


def test_a_run_elsewhere_runs_while_there_is_news_of_it(pumice: Any, folder: Path) -> None:
    put(folder, "second", host="far-away")
    assert status(pumice, folder) == "running"
    for path in (folder / "second").rglob("*"):
        if path.is_file():
            os.utime(path, (1_700_000_000, 1_700_000_000))
    assert status(pumice, folder) == "silent"
    told = pumice("runs", "--runs", folder).err
    assert f"no news since {datetime.fromtimestamp(1_700_000_000):%Y-%m-%d %H:%M}" in told
    assert "far-away" in told


def status(pumice: Any, folder: Path) -> str:
    listed = {run["name"]: run for run in json.loads(pumice("runs", "--runs", folder, "--json").out)}
    return str(listed["second"]["status"])


def test_losses_of_other_data_are_said_not_to_compare(pumice: Any, folder: Path) -> None:
    assert "do not compare" not in pumice("runs", "--runs", folder).err
    path = folder / "second/recipe.yaml"
    path.write_text(re.sub(r"template: \S+", "template: vicuna", path.read_text("utf-8")), "utf-8")
    assert "do not compare" in pumice("runs", "--runs", folder).err
    assert "do not compare" in pumice("runs", "compare", "first", "second", "--runs", folder).err
