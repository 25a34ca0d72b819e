from __future__ import annotations

from dataclasses import replace
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from pumice.model import kernels
from pumice.model.kernels import Need, best, unfit

GPU = Need(
    device="cuda", half=True, plain=True, capped=False, dropout=False, gradients=True, width=128, capability=9
)


@pytest.fixture(autouse=True)
def _triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: ModuleSpec(name, None))


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, "varlen"),
        ({"plain": False}, "flex"),
        ({"capped": True}, "flex"),
        ({"half": False}, None),
        ({"half": False, "plain": False}, "flex"),
        ({"capability": 7}, None),
        ({"width": 512}, None),
        ({"dropout": True}, None),
        ({"dropout": True, "plain": False}, None),
    ],
)
def test_what_auto_takes_on_a_gpu(changes: dict[str, Any], taken: str | None) -> None:
    assert best(replace(GPU, **changes)) == taken


def test_without_triton_branches_take_a_dense_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    assert best(replace(GPU, plain=False)) is None
    problem = unfit("flex", replace(GPU, plain=False))
    assert problem is not None
    assert "needs Triton" in problem.why


@pytest.mark.parametrize(
    ("changes", "why", "remedy"),
    [
        ({"device": "cpu"}, "this device is cpu", "choose auto"),
        ({"half": False}, "bfloat16 and float16 only", "set precision to bf16"),
        ({"plain": False}, "have branches", "flex"),
        ({"capped": True}, "caps its attention scores", "flex or eager"),
        ({"width": 320}, "at most 256, and these have 320", "choose auto"),
        ({"capability": 7}, "Ampere", "choose auto"),
        ({"dropout": True}, "drops attention weights", "choose attention eager"),
    ],
)
def test_why_varlen_cannot(changes: dict[str, Any], why: str, remedy: str) -> None:
    problem = unfit("varlen", replace(GPU, **changes))
    assert problem is not None
    assert why in problem.why
    assert remedy in problem.remedy


def test_why_flex_cannot() -> None:
    for changes in ({}, {"plain": False, "capped": True, "half": False, "width": 512, "capability": 7}):
        assert unfit("flex", replace(GPU, **changes)) is None
    assert unfit("flex", replace(GPU, device="cpu", gradients=False)) is None
    problem = unfit("flex", replace(GPU, device="cpu"))
    assert problem is not None
    assert "no backward pass on a CPU" in problem.why


def test_what_is_not_known_stops_nothing() -> None:
    unknown = replace(GPU, device=None, half=None, width=None, capability=None)
    assert unfit("varlen", unknown) is None
    assert unfit("flex", unknown) is None
    assert unfit("varlen", replace(unknown, plain=False)) is not None
