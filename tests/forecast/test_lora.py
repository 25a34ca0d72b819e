"""Additions as they are counted are those that train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.model import build_model
from pumice.model.planned import plan_model
from pumice.model.shape import additions_of
from pumice.recipes.schema import Model, Stage
from pumice.train.adapters import attach

pytest.importorskip("peft", reason="peft is not installed")


@pytest.mark.parametrize(
    "lora", [{"rank": 3}, {"rank": 3, "targets": ["q_proj", "down_proj"]}, {"rank": 2, "dora": True}]
)
def test_as_many_parameters_train_as_were_counted(parts: Any, tmp_path: Path, lora: dict[str, Any]) -> None:
    parts.make_vision(tmp_path / "vision")
    parts.make_language(tmp_path / "language")
    stage = Stage.model_validate(
        {
            "name": "low",
            "kind": "instruct",
            "sources": ["x"],
            "lr": {"connector": 1e-3, "language": 1e-3},
            "steps": 1,
            "rows_per_step": 1,
            "lora": lora,
        }
    )
    assert stage.lora is not None
    planned = plan_model(
        Model(vision="vision", language="language", template="v1"), lambda name, kind: tmp_path / name
    )
    counted = additions_of(planned.model.lm, stage.lora)
    model, _, _ = build_model(tmp_path / "vision", tmp_path / "language")
    model.requires_grad_(False)
    assert attach(model, stage, 0) is not None
    trained = sum(one.numel() for one in model.lm.parameters() if one.requires_grad)
    assert trained == counted.params
