from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pumice.model import tiles
from pumice.model.shape import model_shape
from pumice.train.arithmetic import Arithmetic
from pumice.train.optim import checkpoint_activations, trimmed_of
from pumice.train.stage import accumulate


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "trainable", [("connector", "language"), ("connector",), ("connector", "language", "vision")]
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
    """torch counts the products that are carried out; but it does not know that attention is causal, which is
    much at this width."""
    # Samples as short as these would share tiles, which saves calls and not products.
    monkeypatch.setattr(tiles, "CALL_COST", 1)
    monkeypatch.setattr(tiles, "MULTIPLE", 1)
    lr = dict.fromkeys(trainable, 0.01)
    stage = toy.instruct(
        trainable=list(trainable),
        lr=lr,
        rows_per_step=4,
        row_length=96,
        activation_checkpointing=checkpointing,
    )
    bench = toy.bench(data, parts, tmp_path, stage)
    model, run = bench.model, bench.run
    checkpoint_activations(model, run.context.stage)
    trimmed = trimmed_of(model, run.context.stage)
    assert (trimmed > 0) is not checkpointing
    count = Arithmetic(model_shape(model), run.context.stage, None, kept=False, trimmed=trimmed)
    with FlopCounterMode(display=False) as counter:
        losses = accumulate(model, run, 0)
    own = count.step(run.plan, run.lengths, 0, losses["tiles"], losses["image_tokens"])
    assert own == pytest.approx(counter.get_total_flops(), rel=0.2)
    assert losses["tiles"] == losses["images"] > 0
    assert losses["image_tokens"] == losses["tiles"] * model.config.image_seq_length
    kept = Arithmetic(model_shape(model), run.context.stage, None, kept=True, trimmed=trimmed)
    assert kept.step(run.plan, run.lengths, 0, losses["tiles"], losses["image_tokens"]) < own


def test_every_step_of_a_run_says_what_it_computed(toy: Any, whole: Any) -> None:
    for stage in ("align", "instruct"):
        rows = [row for row in toy.metrics(whole.folder, stage) if row["kind"] == "train"]
        assert all(row["flops"] > 1e4 * row["tokens"] for row in rows)
        assert all("tiles" not in row for row in rows)
    assert torch.is_grad_enabled()
