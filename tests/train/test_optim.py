from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from pumice.errors import RunError
from pumice.model.build import build_model
from pumice.recipes.schema import Stage
from pumice.train.optim import build_optimizer, check_trainable, freeze, rate_factor, set_rates

from ..model.parts import make_language, make_vision


def stage(toy: Any, **changes: Any) -> Stage:
    return Stage.model_validate(toy.align(**changes))


def factors(toy: Any, steps: int, **changes: Any) -> list[float]:
    chosen = stage(toy, steps=steps, **changes)
    return [rate_factor(chosen, step, steps) for step in range(steps)]


def theirs(make: Any, steps: int, *numbers: int) -> list[float]:
    """The factors of a schedule of transformers, and what it would give after the last step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer, *numbers)
    found = []
    for _ in range(steps + 1):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_worked_examples(toy: Any) -> None:
    half = math.sqrt(0.5)
    assert factors(toy, 4, warmup=0.0) == pytest.approx([1, (1 + half) / 2, 0.5, (1 - half) / 2])
    assert factors(toy, 4, warmup=0.0, schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.25])
    assert factors(toy, 4, warmup=0.5, schedule="linear") == pytest.approx([0.5, 1, 1, 0.5])
    assert factors(toy, 4, warmup=0.5, schedule="constant") == pytest.approx([0.5, 1, 1, 1])
    # A tenth of 11 steps is 1.1, rounded up as transformers rounds warmup_ratio: 2.
    assert factors(toy, 11, warmup=0.1, schedule="constant") == pytest.approx([0.5] + [1] * 10)


@pytest.mark.parametrize("steps", [7, 100])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_against_transformers(toy: Any, schedule: str, steps: int) -> None:
    """Once warm, ours are theirs. While warming up ours are one step ahead: theirs takes its first step
    at a rate of 0, which does nothing; ours takes its last step of the warmup at the peak."""
    warm = math.ceil(0.03 * steps)
    mine = factors(toy, steps, schedule=schedule, warmup=0.03)
    make, numbers = {
        "cosine": (get_cosine_schedule_with_warmup, (warm, steps)),
        "linear": (get_linear_schedule_with_warmup, (warm, steps)),
        "constant": (get_constant_schedule_with_warmup, (warm,)),
    }[schedule]
    wanted = theirs(make, steps, *numbers)
    assert wanted[0] == 0
    assert mine[0] > 0
    assert mine[:warm] == pytest.approx(wanted[1 : warm + 1])
    assert mine[warm:] == pytest.approx(wanted[warm:steps])
    assert mine[warm - 1] == 1


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_stage_of_one_step_learns(toy: Any, schedule: str) -> None:
    """With transformers' schedules it would not: the only step is warmup, at a rate of 0."""
    assert factors(toy, 1, schedule=schedule, warmup=0.03) == [1.0]
    assert factors(toy, 1, schedule=schedule, warmup=0.0) == [1.0]


def test_groups_rates_and_decay(toy: Any, parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    chosen = Stage.model_validate(toy.instruct(weight_decay=0.1, betas=[0.9, 0.95]))
    optimizer = build_optimizer(model, chosen)
    groups = optimizer.param_groups
    assert {group["part"] for group in groups} == {"connector", "language"}
    for group in groups:
        assert group["betas"] == (0.9, 0.95)
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] == 0.1}
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for part in (model.connector, model.lm) for p in part.parameters()}
    assert sum(len(group["params"]) for group in groups) == len(held)
    assert set_rates(optimizer, 0.5) == {"connector": 0.005, "language": 0.0015}
    assert {group["lr"] for group in groups if group["part"] == "language"} == {0.0015}
    set_rates(optimizer, 1.0)
    assert set_rates(optimizer, 0.5) == {"connector": 0.005, "language": 0.0015}, "rates must not compound"


def test_freezing_is_undone_by_the_next_stage(toy: Any, parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    freeze(model, stage(toy))
    assert not model.lm.training
    assert model.connector.training
    counts = freeze(model, Stage.model_validate(toy.instruct()))
    assert model.lm.training
    assert all(p.requires_grad for p in model.lm.parameters())
    assert not any(p.requires_grad for p in model.tower.parameters())
    assert counts.trainable.keys() == {"connector", "language"}
    assert counts.frozen.keys() == {"vision"}


def test_a_part_without_parameters_cannot_train(toy: Any, tmp_path: Path) -> None:
    vision = make_vision(tmp_path / "vision", width=32)
    model, _, _ = build_model(vision, make_language(tmp_path / "lm"), connector="identity")
    with pytest.raises(RunError, match="connector has no parameters"):
        check_trainable(model, stage(toy))


@pytest.mark.parametrize(("layer", "read"), [(-2, 2), (-1, 3), (1, 1), (0, 0)])
def test_of_a_tower_what_is_not_read_stays_frozen(
    toy: Any, parts: Any, tmp_path: Path, layer: int, read: int
) -> None:
    """The tower has three layers: above the one that is read nothing trains, is counted or optimised."""
    model, _, _ = build_model(parts.vision, parts.language, template="tiny", select_layer=layer)
    chosen = stage(toy, trainable=["connector", "vision"], lr={"connector": 0.01, "vision": 0.01})
    counts = freeze(model, chosen)
    named = dict(model.tower.model.named_parameters())
    assert {found[1] for name in named if (found := re.search(r"layers\.(\d+)\.", name))} == {"0", "1", "2"}
    idle = [f"layers.{number}." for number in range(read, 3)] + ["post_layernorm"]
    wanted = {name for name in named if not any(part in name for part in idle)}
    assert {name for name, p in named.items() if p.requires_grad} == wanted
    trained = sum(named[name].numel() for name in wanted)
    assert counts.trainable["vision"] == trained
    assert counts.frozen["vision"] == sum(p.numel() for p in named.values()) - trained
    groups = build_optimizer(model, chosen).param_groups
    held = {id(p) for group in groups if group["part"] == "vision" for p in group["params"]}
    assert held == {id(named[name]) for name in wanted}
    # Each of them has a gradient.
    model.tower(torch.rand(2, 3, model.tower.image_size, model.tower.image_size)).square().sum().backward()
    assert {name for name, p in named.items() if p.grad is not None} == wanted
    # A stage that trains no tower freezes all of it, and one that does opens it again.
    assert freeze(model, stage(toy)).frozen["vision"] == sum(p.numel() for p in named.values())
    assert model.tower.frozen
    assert freeze(model, chosen) == counts
