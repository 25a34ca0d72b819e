"""Stages that train parts of the tower and of the language model."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from pumice.cost.shape import Partly
from pumice.errors import Interrupted, RunError
from pumice.model import tiles
from pumice.model.build import build_model
from pumice.model.shape import model_shape
from pumice.recipes.schema import Stage
from pumice.train.arithmetic import Arithmetic
from pumice.train.optim import build_optimizer, check_trainable, checkpoint_activations, freeze, partly_of
from pumice.train.stage import accumulate

SOME: dict[str, Any] = {
    "trainable": ["connector", "vision.last-1", "language.layers.1", "language.norms"],
    "lr": {"connector": 0.01, "language": 0.01, "vision": 0.02},
}


def moved(before: Path, after: Path) -> set[str]:
    """The names of the tensors that differ between two models."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {key for key in old if not torch.equal(old[key], new[key])}


def test_exactly_what_is_named_trains_and_is_told(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    watch = toy.Watch()
    stages = (toy.align(steps=1, validation=None), toy.instruct(**SOME, steps=2, validation=None))
    toy.run(toy.make_recipe(data, *stages), tmp_path / "run", parts, watch)
    places = [tmp_path / "run" / "stages" / name / "model" for name in ("align", "instruct")]
    found = {name for name in moved(*places) if not name.startswith("multi_modal_projector")}
    # Of the tower's three layers two are computed; the second is the last of these.
    vision = {name for name in found if name.startswith("vision_tower")}
    assert {name.split("layers.")[1][0] for name in vision} == {"1"}
    language = found - vision
    outside = {name for name in language if ".layers.1." not in name}
    assert len(language) == 9 + len(outside)
    assert all("norm" in name for name in outside)
    assert len(outside) == 3
    summary = watch.stages[1]
    saved = load_file(places[1] / "model.safetensors")
    assert summary["entries"]["vision.last-1"] == sum(saved[name].numel() for name in vision)
    assert summary["trainable"]["language"] == sum(saved[name].numel() for name in language)
    assert summary["entries"]["language.norms"] == 5 * 32
    assert sum(summary["trainable"].values()) + sum(summary["frozen"].values()) == sum(
        tensor.numel() for tensor in saved.values()
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["stages"][1]
    assert record["entries"] == summary["entries"]


def note(seen: dict[str, tuple[bool, bool]], name: str, module: Any, given: Any, out: Any) -> None:
    """Whether a layer's result is part of a graph, and whether the layer is in training mode."""
    first = out if isinstance(out, torch.Tensor) else out[0]
    seen[name] = (first.requires_grad, module.training)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_below_the_lowest_layer_that_trains_there_is_no_graph(
    toy: Any, parts: Any, data: Path, tmp_path: Path, checkpointing: bool
) -> None:
    """Neither in the tower, nor in a language model whose inputs do not train."""
    chosen = toy.instruct(
        trainable=["vision.last-1"], lr={"vision": 0.01}, activation_checkpointing=checkpointing
    )
    upper = toy.instruct(trainable=["language.last-1.attention"], lr={"language": 0.01})
    for stage, root in ((chosen, "tower"), (upper, "lm")):
        bench = toy.bench(data, parts, tmp_path, stage)
        model = bench.model
        checkpoint_activations(model, bench.run.context.stage)
        seen: dict[str, tuple[bool, bool]] = {}
        handles = [
            module.register_forward_hook(partial(note, seen, name[-1]))
            for name, module in model.get_submodule(root).named_modules()
            if name.split(".")[-2:-1] == ["layers"]
        ]
        accumulate(model, bench.run, 0)
        for handle in handles:
            handle.remove()
        assert seen == {"0": (False, False), "1": (True, True)}
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert {name for name, p in model.named_parameters() if p.grad is not None} == trained
        assert model.tower.frozen == (root == "lm")


def test_a_tower_of_which_some_trains_keeps_no_features(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.instruct(**SOME))
    assert not bench.context.pictures.keeps(bench.model, 0)


def test_rates_are_those_of_the_part(toy: Any, parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    stage = Stage.model_validate(toy.instruct(**SOME))
    freeze(model, stage)
    groups = build_optimizer(model, stage).param_groups
    rates = {id(p): group["peak"] for group in groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert set(rates) == {id(p) for p in named.values() if p.requires_grad}
    assert {rate for name, p in named.items() if "tower" in name and (rate := rates.get(id(p)))} == {0.02}
    # The next stage opens all of it again.
    counts = freeze(model, Stage.model_validate(toy.instruct()))
    assert "language" not in counts.frozen
    assert all(layer.training for layer in model.lm.model.layers)


def test_a_stopped_run_goes_on_bit_by_bit(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    recipe = toy.make_recipe(data, toy.instruct(**SOME))
    whole = toy.run(recipe, tmp_path / "whole", parts)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "again", parts, stop=stop)
    (state,) = (tmp_path / "again/stages/instruct/state").iterdir()
    held = toy.saved_weights(state)
    assert {name.split(".")[0] for name in held} == {"connector", "language", "vision"}
    assert not any("layers.0.mlp" in name for name in held)
    again = toy.run(recipe, tmp_path / "again", parts, resume=True)
    assert toy.weights(again) == toy.weights(whole)
    assert toy.metrics(tmp_path / "again", "instruct") == toy.metrics(tmp_path / "whole", "instruct")
    other = toy.make_recipe(data, toy.instruct(**{**SOME, "trainable": [*SOME["trainable"][:3]]}))
    with pytest.raises(RunError, match="another recipe") as caught:
        toy.run(other, tmp_path / "again", parts, resume=True)
    assert "stages.instruct.trainable" in str(caught.value)


def test_with_additions_to_the_language_model(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """The tower's own layer trains beside them, and the adapter's folder holds it."""
    import pumice

    stage = toy.instruct(
        trainable=["connector", "language", "vision.last-1"],
        lr={"connector": 0.01, "language": 0.02, "vision": 0.05},
        lora={"rank": 4, "alpha": 8},
        validation=None,
    )
    final = toy.run(toy.make_recipe(data, stage), tmp_path / "run", parts)
    adapter = pumice.load(tmp_path / "run/stages/instruct/adapter").model.state_dict()
    for name, tensor in pumice.load(final).model.state_dict().items():
        assert torch.equal(adapter[name], tensor), name
    came = load_file(parts.vision / "model.safetensors")
    trained = load_file(tmp_path / "run/stages/instruct/adapter/vision_tower.safetensors")
    layers = {
        name.split("layers.")[1][0]
        for name, tensor in trained.items()
        if not any(torch.equal(tensor, other) for key, other in came.items() if key.endswith(name[-30:]))
    }
    assert layers == {"1"}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "trainable",
    [("vision.last-1",), ("language.last-1",), ("language.first-1", "connector"), ("language.head",)],
)
def test_a_step_computes_what_torch_counts(
    toy: Any,
    parts: Any,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trainable: tuple[str, ...],
    checkpointing: bool,
) -> None:
    # Samples as short as these would share tiles, which saves calls and not products.
    monkeypatch.setattr(tiles, "CALL_COST", 1)
    monkeypatch.setattr(tiles, "MULTIPLE", 1)
    lr = {text.partition(".")[0]: 0.01 for text in trainable}
    stage = toy.instruct(
        trainable=list(trainable),
        lr=lr,
        rows_per_step=4,
        row_length=96,
        activation_checkpointing=checkpointing,
    )
    bench = toy.bench(data, parts, tmp_path, stage)
    model, run = bench.model, bench.run
    model.trims = False  # that is counted beside (test_arithmetic)
    checkpoint_activations(model, run.context.stage)
    shape = model_shape(model)
    partly = partly_of(model, run.context.stage, shape)
    assert partly
    with FlopCounterMode(display=False) as counter:
        losses = accumulate(model, run, 0)
    pictures = losses["tiles"], losses["image_tokens"]
    own, whole = (
        Arithmetic(shape, run.context.stage, None, kept=False, partly=some).step(
            run.plan, run.lengths, 0, *pictures
        )
        for some in (partly, {})
    )
    assert own < whole
    assert own == pytest.approx(counter.get_total_flops(), rel=0.2)


def test_what_a_model_does_not_have_stops_a_run_before_it_begins(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    stage = toy.instruct(trainable=["language.layers.4-7"], lr={"language": 0.01})
    with pytest.raises(RunError, match="goes beyond the layers") as caught:
        toy.run(toy.make_recipe(data, stage), tmp_path / "run", parts)
    assert "stages.instruct.trainable.0" in str(caught.value)
    assert not (tmp_path / "run").exists()
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    with pytest.raises(RunError, match="means no parameter"):
        check_trainable(model, Stage.model_validate({**stage, "trainable": ["language./nothing/"]}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trainable": ["vision", "vision.last-1"], "lr": {"vision": 0.1}}, "vision trains whole"),
        ({"trainable": ["vision.last-1"], "lr": {}}, "vision trains but has no learning rate"),
        (
            {"trainable": ["language.last-1"], "lr": {"language": 0.1}, "lora": {}},
            "lora trains additions in the place",
        ),
        ({"trainable": ["vision.last-1"], "lr": {"vision": 0.1}, "lora": {}}, "which is frozen"),
    ],
)
def test_what_contradicts_itself_is_refused(toy: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Stage.model_validate(toy.instruct(**changes))


def test_what_partly_means_for_passes() -> None:
    from pumice.cost.estimate import passes

    half = {"vision": Partly(params=5, own=0.25, reach=0.5)}
    vision = frozenset({"vision"})
    assert passes("vision", vision, checkpointing=False, partly=half) == 1 + 0.5 + 0.25
    assert passes("vision", vision, checkpointing=True, partly=half) == 1 + 1 + 0.25
    assert passes("language", vision, checkpointing=True, partly=half) == 3
