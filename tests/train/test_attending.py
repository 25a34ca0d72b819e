"""Stages that say how the language model attends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pumice.errors import RunError
from pumice.model.attention import AUTO
from pumice.model.build import build_model
from pumice.model.shape import model_shape
from pumice.recipes.schema import Stage
from pumice.train.arithmetic import Arithmetic
from pumice.train.attending import attend, check_attention, lays_flat, will_lay_flat
from pumice.train.stage import accumulate

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def stage(toy: Any, attention: str, **changes: Any) -> Stage:
    return Stage.model_validate(toy.instruct(attention=attention, **changes))


@pytest.mark.parametrize("branches", [False, True])
def test_every_way_that_works_here_learns_the_same(
    toy: Any, parts: Any, data: Path, tmp_path: Path, branches: bool
) -> None:
    found = {}
    for kind in ("auto", "sdpa", "eager"):
        chosen = toy.instruct(attention=kind, branch_turns=branches, steps=3, validation=None)
        toy.run(toy.make_recipe(data, chosen), tmp_path / kind, parts)
        rows = toy.metrics(tmp_path / kind, "instruct")
        found[kind] = [row["loss"] for row in rows], [row["grad_norm"] for row in rows]
    for kind in ("sdpa", "eager"):
        for own, auto in zip(found[kind], found["auto"], strict=True):
            assert own == pytest.approx(auto, rel=1e-4)
    dense, blocks = (toy.metrics(tmp_path / kind, "instruct")[0]["flops"] for kind in ("sdpa", "auto"))
    assert dense > blocks


def test_each_stage_attends_as_it_says_and_the_model_is_saved_as_ever(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    seen = []

    class Watch(toy.Watch):  # type: ignore[misc, name-defined]
        def on_step(self, row: dict[str, Any]) -> None:
            seen.append(held[0].lm.config._attn_implementation)

    held: list[Any] = []
    from pumice.train import run

    before = run.run_stage
    try:

        def keep(model: Any, *more: Any) -> float:
            held[:] = [model]
            return before(model, *more)

        run.run_stage = keep
        stages = [
            toy.align(attention="eager", steps=1, validation=None),
            toy.instruct(attention="sdpa", steps=1, validation=None),
        ]
        final = toy.run(toy.make_recipe(data, *stages), tmp_path / "run", parts, Watch())
    finally:
        run.run_stage = before
    assert seen == ["eager", "sdpa"]
    assert held[0].lm.config._attn_implementation == AUTO
    assert "sdpa" not in (final / "config.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("attention", "changes", "says"),
    [
        ("flex", {}, "no backward pass on a CPU"),
        ("varlen", {}, "this device is cpu"),
    ],
)
def test_what_cannot_be_is_told_before_the_first_step(
    toy: Any, parts: Any, data: Path, tmp_path: Path, attention: str, changes: dict[str, Any], says: str
) -> None:
    recipe = toy.make_recipe(data, toy.align(), toy.instruct(attention=attention, **changes))
    with pytest.raises(RunError, match=says) as caught:
        toy.run(recipe, tmp_path / "run", parts)
    assert "stages.instruct.attention" in str(caught.value)
    assert "choose auto" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_without_a_device_only_what_the_rows_are_is_asked(toy: Any, parts: Any) -> None:
    """As `pumice plan` does, which may plan for other machines."""
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    planned = model.to("meta")
    for kind in ("auto", "sdpa", "eager", "flex", "varlen"):
        check_attention(planned, stage(toy, kind), None)
        assert planned.lm.config._attn_implementation == AUTO
    for branched in (
        stage(toy, "varlen", branch_turns=True),
        Stage.model_validate(toy.prefer(attention="varlen")),
    ):
        with pytest.raises(RunError, match="have branches"):
            check_attention(planned, branched, None)
    check_attention(planned, stage(toy, "flex", branch_turns=True), None)


def test_a_language_model_that_cannot(toy: Any, parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    model.packs = False
    with pytest.raises(RunError, match="looks at its mask"):
        check_attention(model, stage(toy, "flex"), None)
    model.packs = True
    model.lm.config.attention_dropout = 0.1
    with pytest.raises(RunError, match="drops attention weights") as caught:
        check_attention(model, stage(toy, "auto"), CPU)
    assert "eager" in str(caught.value)
    with pytest.raises(RunError, match="which varlen does not"):
        check_attention(model, stage(toy, "varlen"), None)
    check_attention(model, stage(toy, "eager"), CPU)
    # A frozen language model drops nothing.
    frozen = {"trainable": ["connector"], "lr": {"connector": 0.1}}
    check_attention(model, stage(toy, "auto", **frozen), CPU)
    model.lm.config.attention_dropout = 0.0
    model.lm.config.attn_logit_softcapping = 30.0
    with pytest.raises(RunError, match="caps its attention scores") as caught:
        check_attention(model, stage(toy, "sdpa"), CPU)
    assert "stages.instruct.attention" in str(caught.value)
    assert model.lm.config._attn_implementation == AUTO


def test_a_dense_mask_is_counted_in_full(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """All places of a row with all others: plain products, which torch's own counter sees all of."""
    chosen = toy.instruct(attention="eager", rows_per_step=4, row_length=160)
    bench = toy.bench(data, parts, tmp_path, chosen)
    bench.model.trims = False  # that is counted beside (test_arithmetic)
    attend(bench.model, bench.run.context.stage)
    with FlopCounterMode(display=False) as counter:
        losses = accumulate(bench.model, bench.run, 0)
    tiles = losses["tiles"], losses["image_tokens"]
    count = Arithmetic(model_shape(bench.model), bench.run.context.stage, None, kept=False)
    own = count.step(bench.run.plan, bench.run.lengths, 0, *tiles)
    assert own == pytest.approx(counter.get_total_flops(), rel=0.12)


@pytest.mark.parametrize(
    ("changes", "config", "capability", "flat"),
    [
        ({}, {}, 9, True),
        ({"branch_turns": True}, {}, 9, False),
        ({"precision": "fp32"}, {}, 9, False),
        ({"attention": "sdpa"}, {}, 9, False),
        ({"attention": "flex"}, {}, 9, False),
        ({"attention": "varlen"}, {}, 9, True),
        ({}, {"attn_logit_softcapping": 30.0}, 9, False),
        ({}, {"attention_dropout": 0.1}, 9, False),
        ({}, {"head_dim": 512}, 9, False),
        ({}, {}, 7, False),
    ],
)
def test_rows_lie_flat_where_the_device_that_trains_leaves_out_what_nobody_sees(
    toy: Any,
    parts: Any,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    config: dict[str, Any],
    capability: int,
    flat: bool,
) -> None:
    """The model itself is on the CPU, as that of several ranks is, where all rows may lie flat."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    chosen = Stage.model_validate(toy.instruct(**{"precision": "bf16", **changes}))
    attend(model, chosen)
    for name, value in config.items():
        setattr(model.lm.config, name, value)
    assert lays_flat(model, chosen, GPU) is flat
    if chosen.attention == "auto":
        assert lays_flat(model, chosen, CPU)


def test_a_run_asks_of_the_device_of_its_rank_whether_rows_lie_flat(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.train import run

    asked = []

    def ask(model: Any, stage: Stage, device: torch.device) -> bool:
        asked.append(device)
        return False

    monkeypatch.setattr(run, "lays_flat", ask)
    toy.run(toy.make_recipe(data, toy.align(steps=1, validation=None)), tmp_path / "run", parts)
    assert asked == [run.ALONE.device]


@pytest.mark.parametrize(
    ("attention", "changes", "cpu", "cuda"),
    [
        ("auto", {}, True, True),
        ("auto", {"branch_turns": True}, True, False),
        ("auto", {"precision": "fp32"}, True, False),
        ("varlen", {}, True, True),
        ("flex", {}, False, False),
        ("sdpa", {}, False, False),
        ("eager", {}, False, False),
    ],
)
def test_a_plan_knows_which_rows_will_be_flat(
    toy: Any, parts: Any, attention: str, changes: dict[str, Any], cpu: bool, cuda: bool
) -> None:
    model, _, _ = build_model(parts.vision, parts.language)
    before = model.lm.config._attn_implementation
    own = stage(toy, attention, **{"precision": "auto", "branch_turns": False, **changes})
    assert [will_lay_flat(model, own, kind) for kind in ("cpu", "cuda")] == [cpu, cuda]
    assert model.lm.config._attn_implementation == before
    if attention in ("auto", "sdpa", "eager"):
        attend(model, own)
        assert lays_flat(model, own, CPU) is cpu, "as training on this CPU does"
