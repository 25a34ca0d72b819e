"""Weights in 8 and 4 bits, by groups of 32 inputs, and how they lie on disk and in memory.

A group's scale is bfloat16, so that no range of weights is out of reach; codes are rounded by the scale as it
is stored. In 8 bits codes are -127 to 127. In 4 bits they are -8 to 7, and of several scales the one whose
squared error is least is taken (llama.cpp's q4_0 takes the first that is tried here).

On disk codes are int8 [O, J] or uint8 [O, J / 2] (input 2i in the low half of byte i, 8 added), scales
bfloat16 [O, J / 32]; in memory the same, or tiles of 16 outputs for the kernel (``kernel.cpp``).

Legend: O outputs, I inputs, J inputs filled up to a multiple of 32, G groups (J / 32), N tiles of 16 outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Literal["fp32", "fp16", "bf16", "int8", "int4"]
Form = Literal["bf16", "int8", "int4"]
"""What linear layers of ours hold; ``bf16`` is for the kernel alone."""
QUANTIZED: tuple[Form, ...] = ("int8", "int4")
GROUP, TILE = 32, 16
ROWS_AT_ONCE = 1 << 18
"""Weights that are quantised at once: few enough to stay in a core's cache."""
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)


def groups_of(inputs: int) -> int:
    """G."""
    return -(-inputs // GROUP)


def quantize(weight_OI: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """Codes and scales, as on disk."""
    step = max(1, ROWS_AT_ONCE // max(1, weight_OI.shape[1]))
    pick: Callable[[Tensor], tuple[Tensor, Tensor]] = _int8 if form == "int8" else _int4
    parts = [pick(_grouped(weight_OI[start : start + step])) for start in range(0, weight_OI.shape[0], step)]
    return torch.cat([codes for codes, _ in parts]), torch.cat([scales for _, scales in parts])


def _grouped(weight_OI: Tensor) -> Tensor:
    """[O, G, 32], float32."""
    left = -weight_OI.shape[1] % GROUP
    filled_OJ = F.pad(weight_OI.float(), (0, left))
    return filled_OJ.view(filled_OJ.shape[0], -1, GROUP)


def _codes(weight_OGi: Tensor, scale_OG: Tensor, low: int, high: int) -> Tensor:
    inverse_OG = torch.where(scale_OG == 0, 0.0, 1.0 / scale_OG)
    return (weight_OGi * inverse_OG[..., None]).round_().clamp_(low, high)


def _int8(weight_OGi: Tensor) -> tuple[Tensor, Tensor]:
    scale_OG = (weight_OGi.abs().amax(-1) / 127).to(torch.bfloat16)
    codes_OGi = _codes(weight_OGi, scale_OG.float(), -127, 127)
    return codes_OGi.to(torch.int8).flatten(1), scale_OG


def _int4(weight_OGi: Tensor) -> tuple[Tensor, Tensor]:
    """The number of largest size becomes -8, or about that: its sign is the scale's."""
    far_OG = weight_OGi.gather(-1, weight_OGi.abs().argmax(-1, keepdim=True))[..., 0]
    best_OG = torch.full_like(far_OG, torch.inf)
    # Errors are told by the largest number: squares of very large or small ones are no float32.
    size_OG = torch.where(far_OG == 0, 1.0, far_OG)
    unit_OGi = weight_OGi / size_OG[..., None]
    scale_OG, codes_OGi = torch.zeros_like(far_OG), torch.zeros_like(weight_OGi)
    for divisor in (*(-8.0 / shrink for shrink in _SHRINKS), 7.5):
        tried_OG = (far_OG / divisor).to(torch.bfloat16).float()
        tried_OGi = _codes(weight_OGi, tried_OG, -8, 7)
        error_OG = (tried_OGi * (tried_OG / size_OG)[..., None] - unit_OGi).square_().sum(-1)
        better_OG = error_OG < best_OG
        best_OG = torch.where(better_OG, error_OG, best_OG)
        scale_OG = torch.where(better_OG, tried_OG, scale_OG)
        codes_OGi = torch.where(better_OG[..., None], tried_OGi, codes_OGi)
    codes_OJ = (codes_OGi + 8).to(torch.uint8).flatten(1)
    return codes_OJ[:, 0::2] | codes_OJ[:, 1::2] << 4, scale_OG.to(torch.bfloat16)


def dequantize(codes: Tensor, scales_OG: Tensor, form: Form, inputs: int, dtype: torch.dtype) -> Tensor:
    """The weights [O, I] that codes and scales stand for."""
    if form == "int4":
        low, high = (codes & 15).to(torch.int8) - 8, (codes >> 4).to(torch.int8) - 8
        codes = torch.stack((low, high), dim=-1).flatten(1)
    codes_OGi = codes.view(codes.shape[0], -1, GROUP)
    weight_OGi: Tensor = codes_OGi.to(dtype) * scales_OG.to(dtype)[..., None]
    return weight_OGi.flatten(1)[:, :inputs]


def form_of_codes(codes_dtype: torch.dtype) -> Form:
    """The form that codes of a type on disk are of."""
    return "int8" if codes_dtype == torch.int8 else "int4"


def to_tiles(codes: Tensor, scales_OG: Tensor | None, form: Form) -> tuple[Tensor, Tensor | None]:
    """Codes uint8 [N, bytes] and scales [N, G, 16] as the kernel reads them; of ``bf16`` weights [O, I].

    Outputs that fill up the last tile are zeros.
    """
    outs = codes.shape[0]
    left = -outs % TILE
    if form == "bf16":
        fill = -codes.shape[1] % GROUP
        pairs = F.pad(codes.to(torch.bfloat16), (0, fill, 0, left)).view(torch.int16)
        tiles = pairs.view(-1, TILE, pairs.shape[1] // 2, 2).transpose(1, 2).contiguous()
        return tiles.view(torch.uint8).flatten(1), None
    assert scales_OG is not None
    if form == "int4":
        codes = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1)
        zero = 8
    else:
        codes, zero = codes.view(torch.uint8) ^ 128, 128
    codes = F.pad(codes, (0, 0, 0, left), value=zero)
    # [N, 16, G, 8, 4] -> [N, G, 8, 16, 4]: the 4 inputs of a step lie together, output by output.
    tiles = codes.view(-1, TILE, codes.shape[1] // GROUP, 8, 4).permute(0, 2, 3, 1, 4)
    if form == "int4":
        tiles = tiles[:, :, :4] | tiles[:, :, 4:] << 4
    scales = F.pad(scales_OG, (0, 0, 0, left)).view(-1, TILE, scales_OG.shape[1]).transpose(1, 2)
    return tiles.flatten(1).contiguous(), scales.contiguous()


def from_tiles(
    tiles: Tensor, scales_NGo: Tensor | None, form: Form, outs: int
) -> tuple[Tensor, Tensor | None]:
    """What ``to_tiles`` was made of; inputs stay filled up."""
    count = tiles.shape[0]
    if form == "bf16":
        pairs = tiles.view(torch.int16).view(count, -1, TILE, 2).transpose(1, 2)
        return pairs.reshape(count * TILE, -1)[:outs].contiguous().view(torch.bfloat16), None
    assert scales_NGo is not None
    scales_OG = scales_NGo.transpose(1, 2).flatten(0, 1)[:outs].contiguous()
    if form == "int4":
        both = tiles.view(count, -1, 4, TILE, 4)
        tiles = torch.cat((both & 15, both >> 4), dim=2)
    codes = tiles.view(count, -1, 8, TILE, 4).permute(0, 3, 1, 2, 4).reshape(count * TILE, -1)[:outs]
    if form == "int4":
        return codes[:, 0::2] | codes[:, 1::2] << 4, scales_OG
    return (codes ^ 128).contiguous().view(torch.int8), scales_OG
