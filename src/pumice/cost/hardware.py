"""Named hardware: peak rates, memory, and what share of the peak training reaches on it.

Peaks are the makers' figures for dense bfloat16 products with float32 accumulation, bandwidths those of their
memory (data sheets of NVIDIA A100, H100, H200 and GeForce RTX 4090). The shares are measured, see ``SHARE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from pumice.errors import UsageError, suggest

Sharding = Literal["none", "grads", "full"]
"""What is split over devices: nothing (data parallel), gradients and optimiser states (ZeRO-2), or weights
too (ZeRO-3, FSDP)."""

SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of device.

    Attributes:
        name: by which a command selects it.
        label: for people.
        peak: FLOP/s of dense bfloat16 products.
        memory: bytes on the device.
        share: for each sharding the share of ``peak`` that training runs at, counting all arithmetic that
            is carried out, recomputation included.
        source: where the shares come from, in words.
        bandwidth: bytes that memory gives a second.
    """

    name: str
    label: str
    peak: float
    memory: float
    share: Mapping[Sharding, float]
    source: str
    bandwidth: float


_A100_SHARE: Mapping[Sharding, float] = MappingProxyType({"none": 0.50, "grads": 0.50, "full": 0.35})
"""From the four published runs of LLaVA 1.5 on 8 A100 (docs/recipes.md): alignment of 7B and 13B under
ZeRO-2, instruction tuning of both under ZeRO-3. Data parallel without sharding is taken as ZeRO-2's."""

_FROM_A100 = "A100: the published times of LLaVA 1.5, 7B and 13B, on 8 devices"
_ASSUMED = "assumed, not measured: the A100's shares times {:.2f}, since memory is slower beside the peak"


def _scaled(factor: float) -> Mapping[Sharding, float]:
    return MappingProxyType({name: round(share * factor, 3) for name, share in _A100_SHARE.items()})


HARDWARE: Mapping[str, Hardware] = MappingProxyType(
    {
        item.name: item
        for item in (
            Hardware("a100-40g", "NVIDIA A100 40 GB", 312e12, 40e9, _A100_SHARE, _FROM_A100, 1.555e12),
            Hardware("a100-80g", "NVIDIA A100 80 GB", 312e12, 80e9, _A100_SHARE, _FROM_A100, 2.039e12),
            Hardware(
                "h100", "NVIDIA H100 SXM 80 GB", 989e12, 80e9, _scaled(0.8), _ASSUMED.format(0.8), 3.35e12
            ),
            Hardware(
                "h200", "NVIDIA H200 141 GB", 989e12, 141e9, _scaled(0.85), _ASSUMED.format(0.85), 4.8e12
            ),
            Hardware(
                "rtx4090",
                "NVIDIA GeForce RTX 4090 24 GB",
                165e12,
                24e9,
                _scaled(0.9),
                _ASSUMED.format(0.9),
                1.008e12,
            ),
        )
    }
)
"""Every named device."""

THIS_MACHINE = "this"
"""The name that stands for this machine, by a short measurement."""


def get_hardware(name: str) -> Hardware:
    """The hardware of this name, in capitals or not.

    Raises:
        UsageError: there is none; the error lists all.
    """
    known = name.lower()
    if known not in HARDWARE:
        raise UsageError(
            f"there is no hardware {name!r}",
            where="--hardware",
            remedy=suggest(name, (*HARDWARE, THIS_MACHINE)),
        )
    return HARDWARE[known]
