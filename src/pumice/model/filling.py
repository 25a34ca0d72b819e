"""Rows of a tower filled up to a number that a CPU's products like; what fills them is never seen.

CLIP-L/336 has 577 tokens. In bfloat16 the one beyond 576 costs a quarter of all products: 138 GFLOP/s with
577 rows, 182 with 592 (1,024 x 4,096 weights, one core of an AMD EPYC with avx512_bf16, torch 2.13).

Legend: N images, S tokens of a tower, V its width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CARRIED = "_pumice_packing"
"""The attribute of a mask that holds what it stands for; our attention reads that and not the mask."""
EVEN = 16


@dataclass(frozen=True, slots=True)
class FilledUp:
    """What a mask stands for: only the first ``tokens`` of each row are seen."""

    tokens: int


def fills_up(hidden_NSV: Tensor) -> bool:
    """Whether it gains by more rows: without gradients in bfloat16 on a CPU."""
    if not hidden_NSV.is_cpu or hidden_NSV.dtype != torch.bfloat16 or torch.is_grad_enabled():
        return False
    return hidden_NSV.shape[1] % EVEN != 0


def filled_up(hidden_NSV: Tensor) -> Tensor:
    """The same with zeros behind, S a multiple of ``EVEN``."""
    return F.pad(hidden_NSV, (0, 0, 0, -hidden_NSV.shape[1] % EVEN))


def filled_mask(hidden_NSV: Tensor, tokens: int) -> Tensor:
    """A mask [N, 1, S, S] that takes no memory and says that the first ``tokens`` are seen."""
    rows, length, _ = hidden_NSV.shape
    mask = torch.ones(1, dtype=torch.bool).expand(rows, 1, length, length)
    setattr(mask, CARRIED, FilledUp(tokens))
    return mask
