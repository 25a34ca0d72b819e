"""Runs whose averages take 8 bits: how near they come to AdamW's, what resumes, what moves between ranks."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load

from pumice.errors import Interrupted
from pumice.recipes.load import dump_recipe
from pumice.train import adamw

from .conftest import Launch

STEPS = 24


def stage(toy: Any, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = toy.instruct(steps=STEPS, checkpoint_every=4, **changes)
    return made


@pytest.fixture
def all_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix in 8 bits: the parts here are tiny."""
    monkeypatch.setattr(adamw, "SMALLEST", 1)


@pytest.mark.usefixtures("all_small")
def test_a_run_comes_as_far_as_with_adamw(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Losses within 2% of AdamW's at every step, and within 0.5% on average."""
    losses = []
    for optimizer in ("adamw", "adamw_8bit"):
        folder = tmp_path / optimizer
        toy.run(toy.make_recipe(data, stage(toy, optimizer=optimizer)), folder, parts)
        losses.append([row["loss"] for row in toy.metrics(folder, "instruct") if row["kind"] == "train"])
    plain, small = losses
    assert plain[-1] < plain[0] / 2
    apart = [abs(a - b) / a for a, b in zip(plain, small, strict=True)]
    assert apart[0] == 0
    assert 0 < max(apart) < 0.02
    assert sum(apart) / len(apart) < 0.005


@pytest.mark.usefixtures("all_small")
def test_stopped_and_resumed_is_bit_identical(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    recipe = toy.make_recipe(data, stage(toy, optimizer="adamw_8bit"))
    whole = toy.run(recipe, tmp_path / "whole", parts)
    calls = itertools.count()
    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "cut", parts, stop=lambda: next(calls) == 9)
    cut = toy.run(recipe, tmp_path / "cut", parts, resume=True)
    assert toy.weights(cut) == toy.weights(whole)
    assert toy.metrics(tmp_path / "cut", "instruct") == toy.metrics(tmp_path / "whole", "instruct")


@pytest.mark.slow
def test_a_state_moves_between_ranks_bit_by_bit(
    toy: Any, parts: Any, data: Path, launch: Launch, tmp_path: Path
) -> None:
    """Two ranks write it, one reads and writes it, two again: the same codes and scales each time."""
    recipe = tmp_path / "recipe.yaml"
    chosen = stage(toy, optimizer="adamw_8bit", rows_per_step=4)
    recipe.write_text(dump_recipe(toy.make_recipe(data, chosen)), "utf-8")
    run = {"recipe": str(recipe), "folder": str(tmp_path / "run"), "parts": str(parts.vision.parent)}
    state = tmp_path / "run/stages/instruct/state/step-000003"
    one, on = (
        {**run, "folder": str(tmp_path / "one")},
        {**run, "folder": str(tmp_path / "on"), "resume": True},
    )
    found = []
    for world, others in ((2, []), (1, [one]), (2, [on])):
        if others == [on]:
            shutil.copytree(run["folder"], on["folder"])
        launch(world, [{**run, "stop": 0 if found else 3, "resume": bool(found)}, *others])
        assert len(list(state.glob("*.safetensors"))) == world
        found.append(tensors(state))
    assert len([name for name in found[0] if name.endswith("exp_avg_root_scale")]) >= 2
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in other.items():
            assert torch.equal(value, found[0][name]), name
    ours, theirs = (
        [row["loss"] for row in toy.metrics(tmp_path / name, "instruct") if row["kind"] == "train"]
        for name in ("on", "one")
    )
    assert ours == pytest.approx(theirs, rel=5e-3)


def tensors(state: Path) -> dict[str, Tensor]:
    """All tensors of a state, whole."""
    reader = HuggingFaceStorageReader(str(state))
    stored: Any = reader.read_metadata().state_dict_metadata
    found = {name: torch.empty(facts.size, dtype=facts.properties.dtype) for name, facts in stored.items()}
    load(dict(found), storage_reader=reader, no_dist=True)
    return found
