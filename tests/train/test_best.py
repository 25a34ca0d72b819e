"""What is measured and kept while a stage trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import pumice
from pumice.errors import Interrupted, RecipeError
from pumice.model import Checkpoint
from pumice.model.save import load_model
from pumice.train.best import Best
from pumice.train.parallel import ALONE
from pumice.train.validate import Validator

from .test_run import same_run

BEST = {"source": "instruct_val", "every": 1, "keep_best": True}


def losses(toy: Any, folder: Path) -> dict[int, float]:
    rows = toy.metrics(folder, "instruct")
    return {row["step"]: row["loss"] for row in rows if row["kind"] == "validation" and row["step"]}


@pytest.mark.parametrize("lora", [None, {"rank": 2, "dropout": 0.0}])
def test_the_model_of_the_lowest_loss_is_kept(
    toy: Any,
    parts: Any,
    data: Path,
    tmp_path: Path,
    lora: dict[str, Any] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a stage whose loss is high from step 5 on."""
    pytest.importorskip("peft") if lora else None
    validate = Validator.__call__

    def rising(validator: Validator, model: Any, step: int) -> list[dict[str, Any]]:
        rows = validate(validator, model, step)
        rows[0]["loss"] += 9.0 * (step > 4)
        return rows

    monkeypatch.setattr(Validator, "__call__", rising)
    stage = toy.instruct(schedule="constant", steps=6, validation=BEST, lora=lora)
    toy.run(toy.make_recipe(data, stage), tmp_path / "run", parts)
    found = losses(toy, tmp_path / "run")
    best = min(found, key=lambda step: found[step])
    record = json.loads((tmp_path / "run/run.json").read_text("utf-8"))["best"]["instruct"]
    assert record == {"step": best, "loss": found[best], "model": "stages/instruct/best"}
    assert best < 5
    # It is the model of that step: a run of so many steps ends with its loss.
    kept = tmp_path / "run" / record["model"]
    shorter = toy.instruct(**{**stage, "steps": best, "validation": {"source": "instruct_val"}})
    toy.run(toy.make_recipe(data, shorter), tmp_path / "short", parts)
    assert losses(toy, tmp_path / "short") == pytest.approx({best: found[best]}, rel=1e-6)
    mine, _, _ = pumice.load(kept)
    theirs, _, _ = load_model(tmp_path / "short/stages/instruct/model")
    for (name, a), b in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_a_resumed_run_keeps_the_same_best(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    recipe = toy.make_recipe(data, toy.align(), toy.instruct(validation=BEST))
    toy.run(recipe, tmp_path / "whole", parts)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3 + 4

    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "run", parts, stop=stop)
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    same_run(toy, tmp_path / "run", tmp_path / "whole")
    best = "stages/instruct/best"
    assert toy.weights(tmp_path / "run" / best) == toy.weights(tmp_path / "whole" / best)
    records = [json.loads((tmp_path / name / "run.json").read_text("utf-8")) for name in ("run", "whole")]
    assert records[0]["best"] == records[1]["best"]


def test_questions_on_the_way_change_nothing_and_are_asked_again_after_a_resume(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    plain = toy.make_recipe(data)
    value = plain.model_dump(mode="json") | {
        "evaluation": {"questions": str(tmp_path / "q.jsonl"), "every": 2, "every_limit": 3}
    }
    recipe = type(plain).model_validate(value)
    modes: list[bool] = []

    def ask(checkpoint: Checkpoint) -> dict[str, Any]:
        modes.append(any(module.training for module in checkpoint.model.modules()))
        assert not torch.is_grad_enabled()
        torch.rand(3)  # whatever chance it uses is its own
        weight = next(checkpoint.model.connector.parameters())
        return {"value": float(weight.double().sum()), "n": 3}

    toy.run(recipe, tmp_path / "whole", parts, ask=ask)
    assert modes == [False] * 4
    rows = {stage: toy.metrics(tmp_path / "whole", stage) for stage in ("align", "instruct")}
    asked = {stage: [r["step"] for r in found if r["kind"] == "evaluation"] for stage, found in rows.items()}
    assert asked == {"align": [2], "instruct": [2, 4, 6]}
    for stage, found in rows.items():
        others = [row for row in found if row["kind"] != "evaluation"]
        assert others == toy.metrics(whole.folder, stage)
        model = Path("stages") / stage / "model"
        assert toy.weights(tmp_path / "whole" / model) == toy.weights(whole.folder / model)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3 + 4

    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "run", parts, ask=ask, stop=stop)
    toy.run(recipe, tmp_path / "run", parts, ask=ask, resume=True)
    same_run(toy, tmp_path / "run", tmp_path / "whole")


def by_figure(toy: Any, data: Path, figure: str) -> Any:
    """A recipe of six steps that keeps the model of the best figure of a task."""
    plain = toy.make_recipe(data, toy.instruct(steps=6))
    value = plain.model_dump(mode="json")
    value["stages"][0]["validation"] = {"keep_best": figure}
    value["evaluation"] = {"tasks": ["pope"], "data": str(data), "every": 1}
    return type(plain).model_validate(value)


FIGURES = {1: 50.0, 2: 80.0, 3: 80.0, 4: 79.0, 5: 81.5, 6: 60.0}


def test_the_model_of_the_best_figure_is_kept_and_a_resumed_run_keeps_the_same(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """Without any validation data; of equal figures the earliest."""
    recipe = by_figure(toy, data, "pope.accuracy")
    steps: list[int] = []

    def ask(checkpoint: Checkpoint) -> dict[str, Any]:
        steps.append(len(steps) + 1)
        value = FIGURES[steps[-1]]
        return {"tasks": {}, "keep_best": {"pope.accuracy": {"value": value, "higher": True}}}

    toy.run(recipe, tmp_path / "whole", parts, ask=ask)
    record = json.loads((tmp_path / "whole/run.json").read_text("utf-8"))["best"]
    place = "stages/instruct/best"
    assert record == {"instruct": {"step": 5, "figure": "pope.accuracy", "value": 81.5, "model": place}}
    assert [row["kind"] for row in toy.metrics(tmp_path / "whole", "instruct")].count("validation") == 0
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 4

    steps.clear()
    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "run", parts, ask=ask, stop=stop)
    early = json.loads((tmp_path / "run/run.json").read_text("utf-8"))["best"]["instruct"]
    assert (early["step"], early["value"]) == (2, 80.0)
    toy.run(recipe, tmp_path / "run", parts, ask=ask, resume=True)
    rows = [toy.metrics(tmp_path / name, "instruct") for name in ("run", "whole")]
    assert rows[0] == rows[1]
    assert toy.weights(tmp_path / "run" / place) == toy.weights(tmp_path / "whole" / place)
    assert json.loads((tmp_path / "run/run.json").read_text("utf-8"))["best"] == record


def test_a_figure_that_nobody_measures_stops_the_run_before_its_first_step(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    recipe = by_figure(toy, data, "pope.f1")
    with pytest.raises(RecipeError, match="nothing is asked on the way"):
        toy.run(recipe, tmp_path / "run", parts)
    value = recipe.model_dump(mode="json")
    value["evaluation"]["every"] = 7
    with pytest.raises(RecipeError, match="every is 7 and the stage has 6 steps"):
        toy.run(type(recipe).model_validate(value), tmp_path / "run", parts, ask=lambda model: {})
    assert not (tmp_path / "run").exists()


def test_lower_is_better_of_some_figures_and_nothing_is_better_than_no_number(tmp_path: Path) -> None:
    kept: list[int] = []
    worker: Any = None
    best = Best(worker, worker, lambda folder, step: kept.append(step), lambda facts: None, tmp_path, ALONE)
    best.figure = "own.errors"
    for step, value in enumerate((float("nan"), 3.0, 4.0, 3.0, 2.0), start=1):
        best.weigh(step, {"keep_best": {"own.errors": {"value": value, "higher": False}}})
    assert kept == [2, 5]
