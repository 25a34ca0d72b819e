"""What goes wrong in the middle of a run: told in full, and nothing is lost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.errors import Interrupted, RunError
from pumice.train import stage as stages
from pumice.train.checkpoint import list_states
from pumice.train.faults import StepWords, Taken, check_step, out_of_memory

from .test_run import same_run


@pytest.mark.parametrize("file", ["state.safetensors", "state.json"])
def test_a_damaged_newest_state_gives_way_to_the_one_before(
    toy: Any, parts: Any, data: Path, tmp_path: Path, file: str
) -> None:
    recipe = toy.make_recipe(data, toy.align(), toy.instruct(keep=2))
    toy.run(recipe, tmp_path / "whole", parts)
    # Stopped when step 4 is saved and before step 6; its states are those of steps 2 and 4.
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3 + 5

    with pytest.raises(Interrupted, match="after step 4"):
        toy.run(recipe, tmp_path / "run", parts, stop=stop)
    states = list_states(tmp_path / "run/stages/instruct/state")
    assert [state.step for state in states] == [2, 4]
    broken = states[-1].folder / file
    broken.write_bytes(broken.read_bytes()[:-40])
    watch = toy.Watch()
    toy.run(recipe, tmp_path / "run", parts, watch, resume=True)
    assert watch.damaged == [2]
    assert [row["step"] for row in watch.rows] == [3, 4, 5, 6]
    same_run(toy, tmp_path / "run", tmp_path / "whole")


def test_resuming_with_another_recipe_shows_what_differs(
    toy: Any, parts: Any, data: Path, whole: Any
) -> None:
    other = toy.make_recipe(
        data, toy.align(), toy.instruct(lr={"connector": 0.02, "language": 0.003}), seed=4
    )
    with pytest.raises(RunError, match="another recipe") as caught:
        toy.run(other, whole.folder, parts, resume=True)
    said = str(caught.value).splitlines()
    assert said[1:3] == ["    seed: 3 -> 4", "    stages.instruct.lr.connector: 0.01 -> 0.02"]
    many = toy.make_recipe(data, toy.align(name="a"), toy.instruct(name="b"))
    with pytest.raises(RunError, match=r"and \d+ more"):
        toy.run(many, whole.folder, parts, resume=True)


def test_a_recipe_of_before_a_key_existed_is_the_same_recipe(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    recipe = toy.make_recipe(data, toy.align(steps=1))
    toy.run(recipe, tmp_path / "run", parts)
    written = tmp_path / "run" / "recipe.yaml"
    lines = written.read_text("utf-8").splitlines(keepends=True)
    written.write_text("".join(line for line in lines if "stop_norm" not in line), "utf-8")
    toy.run(recipe, tmp_path / "run", parts, resume=True)


def really_too_much() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def on_a_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words.")


@pytest.mark.parametrize("fill", [really_too_much, on_a_device])
def test_memory_that_runs_out_names_the_batch_and_what_to_change(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: Any
) -> None:
    stage = toy.instruct(rows_per_step=4, row_length=96, accumulation=2)
    recipe = toy.make_recipe(data, stage)
    losses, calls = stages.stage_losses, 0

    def full(*given: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2 * 3:  # the second part of the third step
            fill()
        return losses(*given, **options)

    monkeypatch.setattr(stages, "stage_losses", full)
    with pytest.raises(RunError, match="memory ran out at step 3 of stage 'instruct'") as caught:
        toy.run(recipe, tmp_path / "run", parts)
    rows = json.loads((tmp_path / "run/stages/instruct/plan.json").read_text("utf-8"))["steps"][2]
    assert caught.value.where is not None
    assert caught.value.where.startswith(f"{len(rows)} rows in 2 parts, the longest of ")
    assert caught.value.remedy is not None
    for change in ("accumulation=4", "activation_checkpointing=true", "row_length below 96", "lora={}"):
        assert f"stages.instruct.{change}" in caught.value.remedy
    # What is proposed is a recipe.
    toy.make_recipe(data, toy.instruct(**{**stage, "accumulation": 4, "lora": {}}))
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"] == "failed"
    monkeypatch.undo()
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    toy.run(recipe, tmp_path / "other", parts)
    assert toy.metrics(tmp_path / "run", "instruct") == toy.metrics(tmp_path / "other", "instruct")


def test_changes_that_were_made_are_not_proposed(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "stage_losses", lambda *given, **options: on_a_device())
    stage = toy.instruct(rows_per_step=2, accumulation=2, activation_checkpointing=True, lora={"rank": 2})
    with pytest.raises(RunError) as caught:
        toy.run(toy.make_recipe(data, {**stage, "validation": None}), tmp_path / "run", parts)
    assert caught.value.remedy is not None
    for change in ("accumulation", "activation_checkpointing", "lora"):
        assert change not in caught.value.remedy
    assert "row_length below 160" in caught.value.remedy


def test_other_errors_are_not_taken_for_memory() -> None:
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    assert not out_of_memory(ValueError("out of memory"))
    assert out_of_memory(MemoryError())


def test_a_gradient_that_explodes_stops_the_run_with_its_samples(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    calm = toy.make_recipe(data, toy.instruct(validation=None, stop_norm=1e6))
    toy.run(calm, tmp_path / "calm", parts)
    norms = [row["grad_norm"] for row in toy.metrics(tmp_path / "calm", "instruct")]
    # The first step whose norm is above all before it; there the run must end, and not before.
    limit = max(norms[:1]) * 1.0001
    first = next((i for i, norm in enumerate(norms) if norm > limit), None)
    if first is None:
        limit, first = norms[0] * 0.5, 0
    recipe = toy.make_recipe(data, toy.instruct(validation=None, stop_norm=limit))
    with pytest.raises(
        RunError, match=rf"above stop_norm .* at step {first + 1} of stage 'instruct'"
    ) as caught:
        toy.run(recipe, tmp_path / "run", parts)
    plan = json.loads((tmp_path / "run/stages/instruct/plan.json").read_text("utf-8"))
    indices = {index for row in plan["steps"][first] for index in row}
    assert caught.value.where is not None
    named = {f"{data / 'instruct.json'}, row {i}" for i in indices}
    assert {line.strip() for line in caught.value.where.splitlines() if line} == named


def test_a_rate_that_is_far_too_high_is_told_before_the_samples(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the losses and norms of the steps before, and paths as one would type them here."""
    monkeypatch.chdir(data)
    rates = {"connector": 1e-3, "language": 1e5}
    recipe = toy.make_recipe(data, toy.instruct(validation=None, steps=30, lr=rates, clip_norm=None))
    with pytest.raises(RunError, match="at step") as caught:
        toy.run(recipe, tmp_path / "run", parts)
    error = caught.value
    assert "\n    step 1: loss " in error.what
    assert ", norm " in error.what
    assert error.remedy is not None
    assert error.remedy.startswith("lr.language is up to ")
    assert error.remedy.index("learning rate") < error.remedy.index("samples")
    assert error.where is not None
    assert "instruct.json, row " in error.where
    assert str(data) not in error.where


def taken(*norms: float) -> list[Taken]:
    return [Taken(step, 2.0, norm, {"language": 1e-4}) for step, norm in enumerate(norms, start=1)]


class OneSample:
    """A training whose steps have one sample each."""

    class terms:
        name, stop_norm = "instruct", None

    @staticmethod
    def in_words(step: int) -> StepWords:
        return StepWords([f"talk.json, row {step}"], "one row", "less")


@pytest.mark.parametrize(
    ("norms", "first"),
    [((1.0, 1.2, 0.9), "look at these samples"), ((1.0, 30.0, 900.0), "the norm grew from 1 to 900")],
)
def test_the_likelier_cause_comes_first(norms: tuple[float, ...], first: str) -> None:
    training: Any = OneSample
    with pytest.raises(RunError) as caught:
        check_step(math.nan, 1.0, training, 3, {"language": 1e-4}, taken(*norms))
    assert str(caught.value.remedy).startswith(first)
    assert caught.value.where == "talk.json, row 3"
