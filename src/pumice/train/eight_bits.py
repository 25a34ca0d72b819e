"""Numbers kept in 8 bits each, with one float32 scale for every 256 of a row.

The codes are the dynamic ones of Dettmers and others 2022 (8-bit optimizers via block-wise quantization,
figure 2): 7 powers of ten, and the nearer to 1 the more values within one. Blocks begin with a row and never
cross into the next, so a part of a tensor that is cut between rows has the very blocks of the whole.

Legend: R rows, I numbers of a row, K blocks of one, Q numbers of a block (256, or I where that is fewer).
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 256
"""Numbers that share a scale, as in the paper for averages of gradients."""
_DECADES = 7
_READ = 18
"""Bits of a float32 that decide its code: sign, exponent and 9 behind it, which are much finer than codes."""


def blocks_of(width: int) -> int:
    """How many blocks a row of so many numbers has."""
    return -(-width // BLOCK)


@cache
def dynamic_codes(*, signed: bool) -> Tensor:
    """The 256 values [256] that codes stand for, rising, float32 on the CPU; 0 and 1 are among them.

    A decade below 1 has twice the values of the one below it, evenly spaced. Without a sign there are twice
    as many.
    """
    found = [0.0, 1.0]
    for decade in range(_DECADES):
        count = 2**decade * (1 if signed else 2)
        edges = torch.linspace(0.1, 1, count + 1, dtype=torch.float64)
        values = ((edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - _DECADES + 1)).tolist()
        found += values
        if signed:
            found += [-value for value in values]
    found.sort()
    assert len(found) in (255, 256)
    return torch.tensor(found, dtype=torch.float64).float()


@cache
def _tables(signed: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """The values of codes [256], and the code [2^18] of a float32 by its first 18 bits.

    Of what is never negative, what is more than 0 gets a code of more than 0: it divides.
    """
    codes_256 = dynamic_codes(signed=signed)
    first = torch.arange(1 << _READ, dtype=torch.int32)
    rest = 32 - _READ
    middle = ((first << rest) | (1 << (rest - 1))).view(torch.float32).nan_to_num(0.0, 1.0, -1.0).double()
    edges = (codes_256[:-1].double() + codes_256[1:].double()) / 2
    nearest = torch.bucketize(middle, edges)
    if not signed:
        nearest = torch.where(first > 0, nearest.clamp(min=1), nearest)
    return codes_256.to(device), nearest.to(device, torch.uint8)


def encode(x_RI: Tensor, *, signed: bool) -> tuple[Tensor, Tensor]:
    """The codes [R, I] (uint8) and scales [R, K] (float32) of numbers [R, I] (float32).

    Args:
        x_RI: finite numbers; none is negative unless ``signed``.
        signed: whether some may be.
    """
    rows, width = x_RI.shape
    short = -width % BLOCK if width > BLOCK else 0
    x_RKQ = (F.pad(x_RI, (0, short)) if short else x_RI).reshape(rows, blocks_of(width), min(width, BLOCK))
    scale_RK = x_RKQ.abs().amax(dim=2)
    share_RKQ = x_RKQ / torch.where(scale_RK > 0, scale_RK, 1.0)[:, :, None]
    _, nearest = _tables(signed, x_RI.device)
    first = share_RKQ.view(torch.int32).bitwise_right_shift_(32 - _READ).bitwise_and_((1 << _READ) - 1)
    code_RI = nearest.index_select(0, first.view(-1)).view(rows, width + short)
    return (code_RI[:, :width] if short else code_RI), scale_RK


def decode(code_RI: Tensor, scale_RK: Tensor, *, signed: bool) -> Tensor:
    """The numbers [R, I] (float32) that codes and scales stand for."""
    rows, width = code_RI.shape
    values_256, _ = _tables(signed, code_RI.device)
    x_RI = values_256.index_select(0, code_RI.reshape(-1).int()).view(rows, width)
    if width <= BLOCK:
        return x_RI.mul_(scale_RK)
    if width % BLOCK == 0:
        return x_RI.view(rows, blocks_of(width), BLOCK).mul_(scale_RK[:, :, None]).view(rows, width)
    return x_RI.mul_(scale_RK.repeat_interleave(BLOCK, dim=1)[:, :width])
