"""Curves for TensorBoard and W&B. The libraries are stand-ins: they are large, and one of them calls home."""

from __future__ import annotations

import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from pumice.cli import logs


class Writer:
    """What of torch's SummaryWriter is used."""

    made: list[Writer]

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = Path(folder), purge_step, False
        self.rows: list[tuple[str, float, int]] = []
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((name, value, step))

    def close(self) -> None:
        self.closed = True


class Run:
    """What of a W&B run is used."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.metrics: list[tuple[str, str]] = []
        self.finished = False

    def define_metric(self, name: str, step_metric: str) -> None:
        self.metrics.append((name, step_metric))

    def log(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, dict[str, Any]]]:
    """Stand-ins for both; the runs of W&B that were begun, with their options."""
    Writer.made = []
    begun: list[tuple[Run, dict[str, Any]]] = []

    def init(**options: Any) -> Run:
        begun.append((Run(), options))
        return begun[-1][0]

    modules = {
        "tensorboard": types.ModuleType("tensorboard"),
        "torch.utils.tensorboard": types.SimpleNamespace(SummaryWriter=Writer),
        "wandb": types.SimpleNamespace(init=init),
    }
    monkeypatch.setattr(logs, "import_module", modules.__getitem__)
    monkeypatch.setattr(logs, "find_spec", lambda name: ModuleSpec(name, None))
    return begun


def test_both_get_the_numbers_of_the_metrics_file(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path, libraries: Any
) -> None:
    words = ["--data", world, "--runs", tmp_path, "--name", "run", "evaluation.every=2"]
    done = pumice(
        "train", recipe, *words, "evaluation.every_limit=6", "--log", "tensorboard", "--log", "wandb"
    )
    assert done.code == 0, done.both
    rows = [
        json.loads(line)
        for stage in ("align", "instruct")
        for line in (tmp_path / f"run/stages/{stage}/metrics.jsonl").read_text("utf-8").splitlines()
    ]
    assert {row["kind"] for row in rows} == {"train", "validation", "evaluation"}
    assert all(row["n"] == 6 for row in rows if row["kind"] == "evaluation")
    align, instruct = Writer.made
    assert [writer.folder for writer in Writer.made] == [
        tmp_path / "run/tensorboard" / s for s in ("align", "instruct")
    ]
    assert align.closed
    assert instruct.closed
    wanted = [(row["loss"], row["step"]) for row in rows if row["kind"] == "train"]
    told = [(v, s) for w in Writer.made for name, v, s in w.rows if name == "train/loss"]
    assert told == wanted
    names = {name for name, _, _ in instruct.rows}
    assert {
        "train/lr/language",
        "train/grad_norm",
        "train/memory",
        "validation/loss",
        "evaluation/value",
    } <= names
    ((run, options),) = libraries
    assert run.finished
    assert [row["align/train/loss"] for row in run.rows if "align/train/loss" in row] == [
        r["loss"] for r in rows[:2]
    ]
    assert ("align/*", "align/step") in run.metrics
    assert options["config"]["stages"][0]["name"] == "align"
    record = json.loads((tmp_path / "run/run.json").read_text("utf-8"))
    assert record["command"].endswith("--log tensorboard --log wandb")
    # A resume goes on with the same run of W&B.
    (tmp_path / "run/run.json").write_text(json.dumps({**record, "stages": record["stages"][:1]}), "utf-8")
    done = pumice(
        "train",
        recipe,
        *words,
        "evaluation.every_limit=6",
        "--resume",
        "--restart-stage",
        "--no-eval",
        "--log",
        "wandb",
    )
    assert done.code == 0, done.both
    assert libraries[1][1]["id"] == options["id"]


def test_a_library_that_is_not_there_is_told_before_anything(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    done = pumice("train", recipe, "--data", world, "--runs", tmp_path / "runs", "--log", "wandb")
    assert done.code != 0
    assert "pumice[wandb]" in done.err
    assert not (tmp_path / "runs").exists()


def test_nothing_is_imported_where_nothing_is_asked_for(trained: Any) -> None:
    assert trained.result.code == 0
    assert "wandb" not in sys.modules
    assert not (trained.folder / "tensorboard").exists()


def test_tensorboard_itself_reads_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start in (1, 3):  # the second one undoes step 3 and 4 of the first
        writer = logs.TensorBoard(tmp_path, None)  # type: ignore[arg-type]
        for step in range(start, 5):
            writer.write("align", {"train/loss": float(10 * start + step)}, step)
        writer.close()
    found = EventAccumulator(str(tmp_path / "tensorboard/align"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(1, 11), (2, 12), (3, 33), (4, 34)]


def test_figures_of_tasks_asked_on_the_way_are_curves() -> None:
    found = {"figure": "f1", "value": 81.2, "low": 75.0, "high": 86.1, "n": 200}
    row = {"kind": "evaluation", "stage": "instruct", "step": 40, "tasks": {"pope": found}}
    assert dict(logs._numbers(row, "evaluation")) == {
        "evaluation/tasks/pope/value": 81.2,
        "evaluation/tasks/pope/low": 75.0,
        "evaluation/tasks/pope/high": 86.1,
        "evaluation/tasks/pope/n": 200.0,
    }
