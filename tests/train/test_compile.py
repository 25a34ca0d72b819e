"""Layers that are compiled compute what they compute uncompiled; runs stop and resume as others do."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from pumice.errors import CheckpointError, Interrupted
from pumice.model import Checkpoint, last_layer
from pumice.model.build import build_model
from pumice.model.compiling import check_compiler, compiled
from pumice.recipes.load import dump_recipe
from pumice.recipes.schema import Stage
from pumice.train.best import Asking
from pumice.train.losses import stage_losses
from pumice.train.machine import compiled_layers
from pumice.train.optim import checkpoint_activations
from pumice.train.parallel import ALONE

from .conftest import Launch

EVERYTHING = {
    "trainable": ["connector", "language", "vision"],
    "lr": {"connector": 0.01, "language": 0.003, "vision": 0.001},
}


def graphs() -> int:
    """How many pieces of code were compiled so far."""
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_checkpointing": True, "branch_turns": True},
        {"lora": {"rank": 4, "alpha": 8.0, "dropout": 0.1}},
        {"lora": {"rank": 4, "alpha": 8.0, "dora": True}, "activation_checkpointing": True},
        EVERYTHING,
    ],
    ids=["plain", "checkpointing", "lora", "dora", "tower"],
)
def test_a_compiled_run_has_the_same_losses(
    toy: Any,
    parts: Any,
    data: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, names = [], []
    if changes.get("lora", {}).get("dropout"):
        # Uncompiled, the last layer's network sees some places alone, and draws for these alone.
        monkeypatch.setattr(last_layer, "MOST", 0.0)
    for compile in (False, True):
        counters.clear()
        folder = tmp_path / str(compile)
        model = toy.run(toy.make_recipe(data, toy.instruct(compile=compile, **changes)), folder, parts)
        assert (graphs() > 0) == compile
        rows.append(toy.metrics(folder, "instruct"))
        names.append({path.relative_to(folder) for path in folder.rglob("*") if path.is_file()})
        names[-1] |= set(load_file(model / "model.safetensors"))
    plain, quick = rows
    assert names[0] == names[1]
    assert [row["kind"] for row in quick] == [row["kind"] for row in plain]
    assert [row["loss"] for row in quick] == pytest.approx([row["loss"] for row in plain], rel=1e-5)


@pytest.mark.slow
def test_stopped_and_resumed_is_bit_identical(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Stopped where the rest begins with another number of rows than the whole run did."""
    recipe = toy.make_recipe(data, toy.instruct(compile=True, optimizer="adamw_8bit"))
    whole = toy.run(recipe, tmp_path / "whole", parts)
    for after in (1, 3):
        calls = itertools.count()
        folder = tmp_path / f"cut-{after}"
        with pytest.raises(Interrupted):
            toy.run(recipe, folder, parts, stop=lambda calls=calls, after=after: next(calls) == after)
        cut = toy.run(recipe, folder, parts, resume=True)
        assert toy.weights(cut) == toy.weights(whole)
        assert toy.metrics(folder, "instruct") == toy.metrics(tmp_path / "whole", "instruct")


@pytest.mark.slow
def test_new_batches_need_no_new_code(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Once one row and several were met: other lengths, blocks and branches use the code that is there."""
    bench = toy.bench(data, parts, tmp_path, toy.instruct(row_length=200, branch_turns=True))
    counters.clear()
    shapes, seen = set(), []
    some: list[list[list[int]]] = [[[0], [1]], [[2]], [[0, 1], [2]], [[1, 2]], [[0], [1], [2]]]
    with compiled([bench.model.lm]):
        for rows in [*some, [[0, 1, 2]], [[8], [9, 1]], [[2, 3, 4], [5]], [[7]], [[3], [4], [5, 6], [7]]]:
            batch = bench.data.batch(rows)
            shapes.add(batch.input_ids.shape)
            torch.autograd.backward(stage_losses(bench.model, batch, bench.data, bench.context).text)
            seen.append(graphs())
    assert len(shapes) > 6
    # Before, between and behind the attention of a layer; for one row, and for several.
    assert seen[-1] == seen[1] <= 8
    assert all("disable" in reason for reason in counters["graph_break"])


@pytest.mark.slow
def test_what_is_computed_again_is_compiled(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.instruct(activation_checkpointing=True))
    checkpoint_activations(bench.model, bench.context.stage)
    layer = bench.model.lm.model.layers[0]
    before = layer.__dict__["forward"]
    with compiled([bench.model.lm]):
        assert layer.__dict__["forward"] is not before
        assert layer.__dict__["forward"].func is before.func
    assert layer.__dict__["forward"] is before


def test_only_what_gradients_meet_is_compiled(toy: Any, parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    layers = {name: model.get_submodule(name) for name in ("lm.model.layers.0", "lm.model.layers.1")}
    towers = dict(model.tower.named_modules())
    (first,) = (name for name in towers if name.endswith("layers.0"))
    for changes, tower in (({}, False), (EVERYTHING, True)):
        stage = Stage.model_validate(toy.instruct(compile=True, **changes))
        names = set(model.state_dict())
        with compiled_layers(model, stage):
            assert all("forward" in layer.__dict__ for layer in layers.values())
            assert ("forward" in towers[first].__dict__) is tower
            assert set(model.state_dict()) == names
        assert not any("forward" in module.__dict__ for module in model.modules())
    with compiled_layers(model, Stage.model_validate(toy.instruct())):
        assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_part_without_layers_is_told() -> None:
    told = pytest.raises(CheckpointError, match="no layers that can be compiled")
    with told, compiled([torch.nn.Linear(2, 2)]):
        pass


@pytest.mark.slow
def test_without_a_compiler_a_run_ends_before_it_begins(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """In a process of its own: torch remembers which compilers there are."""
    recipe, spec = tmp_path / "recipe.yaml", tmp_path / "runs.json"
    recipe.write_text(dump_recipe(toy.make_recipe(data, toy.instruct(compile=True))), "utf-8")
    run = {"recipe": str(recipe), "folder": str(tmp_path / "run"), "parts": str(parts.vision.parent)}
    spec.write_text(json.dumps([run]), "utf-8")
    none = {"PATH": str(tmp_path), "CXX": "no-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("ranks.py")), str(spec)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **none},
        timeout=600,
    )
    assert done.returncode == 1
    for words in (
        "torch.compile does not work here (no C++ compiler was found",
        "where: stages.instruct.compile",
        "to do: install a C++ compiler",
    ):
        assert words in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_machine_that_compiles_is_one() -> None:
    check_compiler(torch.device("cpu"), "here")


@pytest.mark.slow
def test_two_ranks_compile_and_compute_what_one_does(
    toy: Any, parts: Any, data: Path, launch: Launch, tmp_path: Path
) -> None:
    stage = toy.instruct(rows_per_step=4, steps=3, activation_checkpointing=True, validation=None)
    folders = []
    for world, compile in ((1, False), (2, True)):
        recipe = tmp_path / f"{world}.yaml"
        recipe.write_text(dump_recipe(toy.make_recipe(data, {**stage, "compile": compile})), "utf-8")
        folders.append(tmp_path / f"run-{world}")
        run = {"recipe": str(recipe), "folder": str(folders[-1]), "parts": str(parts.vision.parent)}
        launch(world, [run])
    one, two = ([row["loss"] for row in toy.metrics(folder, "instruct")] for folder in folders)
    assert two == pytest.approx(one, rel=1e-4)
    names = [set(load_file(folder / "stages/instruct/model/model.safetensors")) for folder in folders]
    assert names[0] == names[1]


@pytest.mark.slow
def test_questions_on_the_way_are_answered_uncompiled(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.instruct())
    batch = bench.data.batch([[0], [1]])
    whole, told = Checkpoint(bench.model, None, None), []  # type: ignore[arg-type]

    def ask(checkpoint: Checkpoint) -> dict[str, Any]:
        before = graphs()
        loss = stage_losses(checkpoint.model, batch, bench.data, bench.context).text
        told.append((graphs() - before, float(loss.detach())))
        return {"score": 1.0}

    asking = Asking(whole, bench.model, ask, bench.context.stage, 1, ALONE)
    with compiled([bench.model.lm]):
        asking(1)
    ask(whole)
    assert told[0] == told[1]
    assert told[0][0] == 0
