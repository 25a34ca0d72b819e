from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pumice.train import adamw
from pumice.train.adamw import AdamW, in_8_bits

SHAPES = [(300, 64), (7, 700), (40, 3, 10, 10), (64, 16), (5000,), (300,), (20, 600)]


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator) * 0.1) for shape in SHAPES]


def groups(own: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in own if p.ndim > 1], "lr": 1e-2, "weight_decay": 0.1},
        {"params": [p for p in own if p.ndim == 1], "lr": 1e-3, "weight_decay": 0.0},
    ]


def take_steps(optimizer: Any, own: list[nn.Parameter], steps: int) -> None:
    generator = torch.Generator().manual_seed(9)
    for step in range(steps):
        for number, parameter in enumerate(own):
            grad = torch.randn(parameter.shape, generator=generator) * 10.0 ** -(number % 4)
            parameter.grad = grad + 0.3 * parameter.detach()
        own[1].grad = None if step == 1 else own[1].grad
        optimizer.step()


def states(optimizer: Any, own: list[nn.Parameter]) -> list[dict[str, Tensor]]:
    return [optimizer.state[parameter] for parameter in own]


@pytest.mark.parametrize("at_once", [1 << 10, 1 << 18])
def test_from_host_memory_the_bits_are_torchs(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setitem(adamw.AT_ONCE, "cpu", at_once)
    ours, theirs = parameters(), parameters()
    mine, own = AdamW(groups(ours), on_host=True), torch.optim.AdamW(groups(theirs), fused=True)
    for optimizer, some in ((mine, ours), (own, theirs)):
        take_steps(optimizer, some, 4)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(mine.state[a][name], own.state[b][name])


def test_which_are_in_8_bits() -> None:
    assert [in_8_bits(torch.Size(shape)) for shape in SHAPES] == [True, True, True, False, False, False, True]
    own = parameters()
    optimizer = AdamW(groups(own), eight_bits=True)
    take_steps(optimizer, own, 1)
    for parameter, state in zip(own, states(optimizer, own), strict=True):
        if in_8_bits(parameter.shape):
            assert state.keys() == {"step", "exp_avg", "exp_avg_scale", "exp_avg_root", "exp_avg_root_scale"}
            assert {state[name].dtype for name in ("exp_avg", "exp_avg_root")} == {torch.uint8}
        else:
            assert state.keys() == {"step", "exp_avg", "exp_avg_sq"}


def test_the_first_step_is_torchs_and_later_ones_are_near() -> None:
    """Nothing is rounded before the first update; what is small has the bits of torch's throughout."""
    ours, theirs, start = parameters(), parameters(), parameters()
    mine, own = AdamW(groups(ours), eight_bits=True), torch.optim.AdamW(groups(theirs), fused=True)
    take_steps(mine, ours, 1)
    take_steps(own, theirs, 1)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    take_steps(mine, ours, 20)
    take_steps(own, theirs, 20)
    for a, b, before in zip(ours, theirs, start, strict=True):
        if not in_8_bits(a.shape):
            assert torch.equal(a, b)
            continue
        moved, apart = (b - before).norm(), (a - b).norm()
        assert apart < 0.02 * moved


def test_memory_is_about_a_quarter() -> None:
    own = [nn.Parameter(torch.randn(1024, 1024)), nn.Parameter(torch.randn(512, 700))]
    sizes = []
    for eight_bits in (False, True):
        optimizer = AdamW([{"params": own, "lr": 1e-3, "weight_decay": 0.0}], eight_bits=eight_bits)
        for parameter in own:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        sizes.append(sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values()))
    numbers = sum(parameter.numel() for parameter in own)
    assert sizes[0] / numbers == pytest.approx(8, rel=1e-4)
    assert sizes[1] / numbers == pytest.approx(2, rel=0.03)


def test_pieces_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for at_once in (1 << 10, 1 << 18):
        monkeypatch.setitem(adamw.AT_ONCE, "cpu", at_once)
        own = parameters()
        optimizer = AdamW(groups(own), eight_bits=True)
        take_steps(optimizer, own, 3)
        found.append((own, states(optimizer, own)))
    (weights, kept), (others, held) = found
    for a, b, mine, theirs in zip(weights, others, kept, held, strict=True):
        assert torch.equal(a, b)
        for name, value in mine.items():
            assert torch.equal(value, theirs[name])


def test_a_gradient_that_comes_seldom_makes_no_leap() -> None:
    """Rows that are met once (rare words) beside rows of large gradients: the divisor must not vanish."""
    parameter = nn.Parameter(torch.zeros(64, 64))
    optimizer = AdamW([{"params": [parameter], "lr": 1e-2, "weight_decay": 0.0}], eight_bits=True)
    for step in range(60):
        parameter.grad = torch.zeros(64, 64)
        parameter.grad[:, :8] = 100.0 * (-1) ** step
        if step == 0:
            parameter.grad[:, 8:] = 1e-4
        before = parameter.detach().clone()
        optimizer.step()
        assert float((parameter.detach() - before).abs().max()) < 0.02
