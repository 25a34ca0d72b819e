"""The numbers in which features are kept: float32, bfloat16, or float8 with a scale for each token.

Whoever learns from features learns from what these numbers hold, whether they were kept or just made. So
keeping them changes no result.

Shapes: M tiles, P features of a tile (a token each), V tower width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pumice.recipes.features import FeatureType

TYPES: dict[FeatureType, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
}
LARGEST = 448.0
"""The largest float8_e4m3fn. It has 3 bits of mantissa, so rounding moves a number by a sixteenth at most;
below a scale's 2^-6 it is steps of 2^-9 scales, so by 2^-10 of a scale (Micikevicius and others 2022)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Features as they are kept: numbers [M, P, V] of one of ``TYPES``, and float32 scales [M, P] of fp8."""

    numbers: Tensor
    scales: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers and scales."""
        return self.numbers.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def to(self, device: torch.device) -> Packed:
        """The same on a device."""
        return Packed(self.numbers.to(device), None if self.scales is None else self.scales.to(device))

    def clone(self) -> Packed:
        """A copy that shares no memory with a larger tensor."""
        return Packed(self.numbers.clone(), None if self.scales is None else self.scales.clone())

    def rows(self, start: int, stop: int) -> Packed:
        """Some of the tiles, in the same memory."""
        return Packed(self.numbers[start:stop], None if self.scales is None else self.scales[start:stop])


def pack(features_MPV: Tensor, kind: FeatureType) -> Packed:
    """Float32 features as they are kept.

    A scale of fp8 is the least power of two that brings its token's largest number to 448 or below. So
    dividing and multiplying by it is exact, and only the rounding to float8 is lost. What is not finite stays
    so: the step that learns from it stops.
    """
    if kind != "fp8":
        return Packed(features_MPV.to(TYPES[kind]))
    largest_MP = features_MPV.abs().amax(dim=2)
    share_MP, exponent_MP = torch.frexp(largest_MP / LARGEST)
    exponent_MP = exponent_MP - (share_MP == 0.5).int()  # exactly a power of two
    scales_MP = torch.ldexp(torch.ones_like(largest_MP), exponent_MP)
    # A float8 has no infinity: the scale says that something was not finite.
    scales_MP = torch.where(torch.isfinite(largest_MP), scales_MP, torch.nan)
    # Where there is nothing, or nothing that a scale could be found for, there is nothing to scale.
    scales_MP = torch.where((largest_MP > 0) & (scales_MP > 0) | scales_MP.isnan(), scales_MP, 1.0)
    return Packed((features_MPV / scales_MP[..., None]).to(TYPES[kind]), scales_MP)


def unpack(packed: Packed) -> Tensor:
    """Float32 features [M, P, V] of what is kept, on its device; the same bits on every one."""
    features_MPV = packed.numbers.float()
    return features_MPV if packed.scales is None else features_MPV * packed.scales[..., None]


def rounded(features_MPV: Tensor, kind: FeatureType) -> Tensor:
    """Float32 features as they come back from being kept."""
    return features_MPV if kind == "fp32" else unpack(pack(features_MPV, kind))


def joined(parts: list[Packed]) -> Packed:
    """The tiles of several, in order."""
    scales = [part.scales for part in parts if part.scales is not None]
    # As bytes: autocast has rules for joining numbers, and none for float8.
    raw = torch.cat([part.numbers.contiguous().view(torch.uint8) for part in parts])
    return Packed(raw.view(parts[0].numbers.dtype), torch.cat(scales) if scales else None)


def tile_bytes(length: int, dim: int, kind: FeatureType) -> int:
    """What the features of one tile take: ``length`` tokens of ``dim`` numbers."""
    return length * (dim * TYPES[kind].itemsize + (4 if kind == "fp8" else 0))


def deviation(features_MPV: Tensor, packed: Packed) -> tuple[float, float]:
    """What keeping moves: the sum of squared differences, and that of squared features (fp32 moves nothing,
    and needs no sums)."""
    if packed.numbers.dtype == torch.float32:
        return 0.0, 0.0
    lost = (unpack(packed).double() - features_MPV.double()).square().sum()
    return float(lost), float(features_MPV.double().square().sum())
