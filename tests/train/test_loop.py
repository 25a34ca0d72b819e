from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.errors import RunError
from pumice.train import pictures as gallery
from pumice.train import run as runs
from pumice.train.stage import accumulate

GROUNDING = {"weight": 1.0, "center_word": "a", "attributes": {"colour": ["red", "blue"]}}


@pytest.mark.parametrize("kind", ["instruct", "align"])
def test_accumulation_changes_nothing(toy: Any, parts: Any, data: Path, tmp_path: Path, kind: str) -> None:
    """Parts of unequal length, with and without pictures: the loss is per token of the whole step."""
    results = []
    for number in (1, 2, 4):
        changes = {"rows_per_step": 4, "accumulation": number, "row_length": 96}
        stage = toy.instruct(**changes)
        if kind == "align":
            stage = toy.align(**{**changes, "row_length": 24}, grounding=GROUNDING)
        bench = toy.bench(data, parts, tmp_path, stage)
        assert len(bench.run.plan.steps[0]) == 4
        losses = accumulate(bench.model, bench.run, 0)
        assert losses.pop("places") >= bench.run.plan.tokens[0]  # parts are padded, each its own way
        gradients = {n: p.grad for n, p in bench.model.named_parameters() if p.requires_grad}
        results.append((losses, gradients))
    (losses, gradients), *others = results
    assert ("grounding" in losses) == (kind == "align")
    for other_losses, other_gradients in others:
        assert other_losses == pytest.approx(losses, rel=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_accumulated_runs_end_with_the_same_weights(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    found = []
    for number in (1, 2, 4):
        stage = toy.instruct(rows_per_step=4, row_length=96, accumulation=number, steps=2, validation=None)
        model = toy.run(toy.make_recipe(data, stage), tmp_path / str(number), parts)
        found.append(load_file(model / "model.safetensors"))
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=2e-6, msg=name)


def test_the_loss_is_per_supervised_token(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.instruct())
    model, plan = bench.model, bench.run.plan
    alone = []
    for index in plan.samples(0):
        batch = bench.data.batch([[index]])
        with torch.no_grad():
            ids, labels, positions, segments, branches = (
                torch.from_numpy(a)
                for a in (
                    batch.input_ids,
                    batch.labels,
                    batch.position_ids,
                    batch.segment_ids,
                    batch.branch_ids,
                )
            )
            spans = [(i.row, i.start, i.length) for i in batch.images]
            pixels = bench.context.pictures.pixels(bench.data.views(batch)) if spans else None
            total, count = model.loss(ids, labels, positions, segments, branches, spans, pixels_NCHW=pixels)
        alone.append((float(total), count))
    wanted = sum(total for total, _ in alone) / sum(count for _, count in alone)
    assert accumulate(model, bench.run, 0)["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_kept_or_not_give_one_result(
    toy: Any, parts: Any, data: Path, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy.make_recipe(
        data,
        toy.align(precision=precision, rows_per_step=1, row_length=24),
        toy.instruct(precision=precision, steps=3),
    )
    kept = toy.run(recipe, tmp_path / "kept", parts)
    monkeypatch.setattr(gallery, "FEATURE_BYTES", 0)
    prepared: list[Any] = []
    monkeypatch.setattr(gallery.Pictures, "prepare", lambda *given: prepared.append(given))
    fresh = toy.run(recipe, tmp_path / "fresh", parts)
    assert prepared == []
    assert toy.weights(kept) == toy.weights(fresh)
    for stage in ("align", "instruct"):
        assert toy.learnt(tmp_path / "kept", stage) == toy.learnt(tmp_path / "fresh", stage)


def test_a_tower_that_trains_is_not_served_old_features(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """Align keeps features, then the tower moves, then align keeps features again: new ones."""
    lr = {"connector": 0.01, "vision": 0.01}
    recipe = toy.make_recipe(
        data,
        toy.align(steps=1),
        toy.align(name="tower", trainable=["connector", "vision"], lr=lr, steps=2),
        toy.align(name="again", steps=1),
    )
    toy.run(recipe, tmp_path / "run", parts)
    end = toy.metrics(tmp_path / "run", "tower")[-1]
    begin = toy.metrics(tmp_path / "run", "again")[0]
    assert (end["kind"], begin["kind"]) == ("validation", "validation")
    assert begin["loss"] == pytest.approx(end["loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_names_its_samples(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight goes wrong after step 2; the states before it are good, and the run goes on from there."""
    held: list[Any] = []
    build = runs.starting_model

    def keep(*given: Any, **options: Any) -> Any:
        built = build(*given, **options)
        held.append(built[0])
        return built

    def poison(row: dict[str, Any]) -> None:
        if row["step"] == 2:
            with torch.no_grad():
                next(iter(held[0].lm.parameters())).fill_(math.inf)

    monkeypatch.setattr(runs, "starting_model", keep)
    watch = toy.Watch(poison)
    recipe = toy.make_recipe(data, toy.instruct(checkpoint_every=1, validation=None))
    with pytest.raises(RunError, match="step 3 of stage 'instruct'") as caught:
        toy.run(recipe, tmp_path / "run", parts, watch)
    plan = json.loads((tmp_path / "run/stages/instruct/plan.json").read_text("utf-8"))
    indices = [index for row in plan["steps"][2] for index in row]
    named = {line.strip() for line in str(caught.value.where).splitlines() if line}
    assert named == {f"{data / 'instruct.json'}, row {index}" for index in indices}
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"] == "failed"
    assert [row["step"] for row in watch.rows] == [1, 2]


def test_grounding_is_learnt_and_measured(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    stage = toy.align(
        grounding=GROUNDING,
        steps=40,
        rows_per_step=2,
        lr={"connector": 0.02},
        warmup=0.0,
    )
    toy.run(toy.make_recipe(data, stage), tmp_path / "run", parts)
    rows = toy.metrics(tmp_path / "run", "align")
    train = [row["grounding"] for row in rows if row["kind"] == "train"]
    assert train[-1] < train[0] / 2
    first, last = (row for row in rows if row["kind"] == "grounding")
    assert last["n"] == {"colour": 4}
    assert last["accuracy"] == {"colour": 1.0}
    assert first["step"] == 0
    assert last["step"] == 40
