"""This machine as hardware."""

from __future__ import annotations

import pytest

from pumice.cost.shape import LanguageShape
from pumice.forecast import machine

SMALL = LanguageShape(
    body=1000,
    embedding=100,
    head=100,
    layers=2,
    width=160,
    attention_width=160,
    mlp_width=416,
    vocabulary=40,
    tied=False,
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_machine_is_measured_in_the_type_that_trains(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    monkeypatch.setattr(machine, "SIDE", {"cpu": 64, "cuda": 64})
    hardware, measured = machine.measure(SMALL, 64, 2, precision)
    assert measured.precision == precision
    assert hardware.peak == getattr(measured, precision) > 0
    assert 0 < hardware.share["none"] <= 1
    assert hardware.memory > 1e9
    assert "of width 160 on 2 x 64 tokens" in str(measured)
    assert str(measured) in hardware.source
