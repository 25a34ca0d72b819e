"""Energy of training: measured where the run's record has it, else estimated from stated inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JOULES = 3.6e6
"""Of one kWh."""


@dataclass(frozen=True, slots=True)
class Energy:
    """What training took.

    Attributes:
        kwh: of all stages.
        how: how that is known, as a sentence with its inputs.
        measured: whether counters told it.
    """

    kwh: float
    how: str
    measured: bool


def energy(
    stages: Sequence[Mapping[str, Any]], device_hours: float, device: str, watts: float | None
) -> Energy | None:
    """The energy of a run's stages; None where nothing tells.

    Args:
        stages: as ``run.json`` has them; each may have ``energy``: ``joules`` and ``counters``.
        device_hours: hours of one device, of all stages together.
        device: what the hours are of, for people.
        watts: what a person says one draws.
    """
    told = [stage.get("energy") for stage in stages]
    if stages and all(isinstance(one, Mapping) and one.get("joules") for one in told):
        joules = sum(float(one["joules"]) for one in told if one is not None)
        counters = dict.fromkeys(str(name) for one in told if one is not None for name in one["counters"])
        how = f"Measured by counters of the machine ({', '.join(counters)}), which cover these parts alone"
        return Energy(joules / JOULES, how, measured=True)
    if watts is None:
        return None
    how = (
        f"An estimate, not a measurement: {number(device_hours)} hours of a {device} at {number(watts)} W, "
        "which a person stated"
    )
    return Energy(device_hours * watts / 1000, how, measured=False)


def number(value: float) -> str:
    """Three significant digits, without an exponent for what people read."""
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.2e}"
