"""Averages, and weights, that wait beside the device. The CPU plays the GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pumice.errors import RecipeError, RunError
from pumice.model.build import build_model
from pumice.recipes.load import dump_recipe
from pumice.recipes.schema import Stage
from pumice.train.machine import check_machine, machine_notes, offloads
from pumice.train.parallel import ALONE, Ranks

from .conftest import Launch

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


MODEL = "stages/instruct/model/model.safetensors"


class OnGpu(Ranks):
    """Ranks whose device would be a GPU."""

    device = GPU  # type: ignore[assignment]


def test_on_a_cpu_it_says_that_it_changes_nothing(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    stage = toy.instruct(steps=2, offload="all")
    watch = toy.Watch()
    toy.run(toy.make_recipe(data, stage), tmp_path / "run", parts, watch)
    (told,) = watch.stages
    assert told["notes"] == ["offload all changes nothing: a CPU computes in host memory"]
    assert machine_notes(Stage.model_validate(toy.instruct()), CPU) == []


def test_one_gpu_has_nothing_to_take_weights_apart_over(toy: Any, parts: Any, data: Path) -> None:
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    recipe = toy.make_recipe(data, toy.instruct(offload="all"))
    check_machine(recipe, model, ALONE if not torch.cuda.is_available() else Ranks(world=2))
    check_machine(recipe, model, OnGpu(world=2))
    with pytest.raises(RunError, match="this run has one") as caught:
        check_machine(recipe, model, OnGpu())
    assert "choose offload optimizer" in str(caught.value)
    stage = Stage.model_validate(toy.instruct(offload="optimizer"))
    assert (offloads(stage, GPU), offloads(stage, CPU)) == ("optimizer", "none")


def test_numbers_of_4_bits_are_not_taken_apart(toy: Any, data: Path) -> None:
    with pytest.raises(Exception, match="stay whole on each device") as caught:
        toy.make_recipe(data, toy.instruct(offload="all", lora={"quantize": "nf4"}))
    assert not isinstance(caught.value, RecipeError | AttributeError)


@pytest.mark.slow
def test_what_is_offloaded_changes_no_bit(
    toy: Any, parts: Any, data: Path, launch: Launch, tmp_path: Path
) -> None:
    """Two ranks, with a stop on the way: a state is saved from there and goes back there."""
    plain = toy.instruct(rows_per_step=4, accumulation=2)
    tower = {
        "trainable": ["connector", "language", "vision"],
        "lr": {"connector": 0.01, "language": 0.003, "vision": 0.001},
        "activation_checkpointing": True,
    }
    stages = {
        "none": plain,
        "optimizer": {**plain, "offload": "optimizer"},
        "all": {**plain, "offload": "all"},
        "none-8": {**plain, **tower, "optimizer": "adamw_8bit"},
        "optimizer-8": {**plain, **tower, "optimizer": "adamw_8bit", "offload": "optimizer"},
        "all-8": {**plain, **tower, "optimizer": "adamw_8bit", "offload": "all"},
    }
    runs = []
    for name, stage in stages.items():
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(dump_recipe(toy.make_recipe(data, stage)), "utf-8")
        run = {"recipe": str(recipe), "folder": str(tmp_path / name), "parts": str(parts.vision.parent)}
        run = {**run, "offload": True}
        runs += [{**run, "stop": 3}, {**run, "resume": True}] if name != "none" else [run]
    launch(2, runs)
    for other in ("optimizer", "all", "optimizer-8", "all-8"):
        first = "none-8" if other.endswith("8") else "none"
        mine, theirs = (toy.metrics(tmp_path / name, "instruct") for name in (other, first))
        assert mine == theirs, other
        weights = [load_file(tmp_path / name / MODEL) for name in (other, first)]
        assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
