"""Attention of one row in bfloat16 on a CPU, without gradients: some queries at a time.

Of torch's own ways none is good here. One core of an AMD EPYC with avx512_bf16, torch 2.13, milliseconds:

    queries x keys, heads of queries / of keys     SDPA   plain products   in blocks
    577 x 577, 16 / 16, all seen (CLIP-L/336)        21               23          12
    512 x 512, 32 / 4, causal under a mask           31               83          18

Plain products lose by a softmax in float32, whose result is then rounded: one of bfloat16 computes in float32
inside and rounds once. Blocks keep scores in the cache and leave out keys that no query of theirs sees.

Legend: H heads of queries, h heads of keys and values, G queries that share a head of keys (H = h * G),
n queries, K keys, D width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_SCORES = 1 << 20
"""About how many scores are held at once (2 MiB)."""
FEWEST, MOST = 16, 256
"""Queries of a block."""


def suits_blocks(query: Tensor, value: Tensor) -> bool:
    """Whether ``attend_in_blocks`` is for these: bfloat16 on a CPU, without a graph."""
    if not query.is_cpu or query.dtype != torch.bfloat16 or value.dtype != torch.bfloat16:
        return False
    return not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))


def attend_in_blocks(
    query_HnD: Tensor,
    key_hKD: Tensor,
    value_hKD: Tensor,
    *,
    causal: bool,
    scaling: float | None = None,
    softcap: float | None = None,
    window: int | None = None,
) -> Tensor:
    """softmax(QK)V, [H, n, D].

    Args:
        query_HnD, key_hKD, value_hKD: bfloat16, on the CPU.
        causal: the queries are those of the last n keys, and see what comes before them; else they see all.
        scaling: of scores; 1 / sqrt(D) where None.
        softcap: of scores, after scaling (Gemma 2).
        window: the most keys that a query sees, the last ones; only where ``causal``.
    """
    heads, count, width = query_HnD.shape
    kv_heads, keys = key_hKD.shape[:2]
    scale = width**-0.5 if scaling is None else scaling
    query_hGnD = (query_HnD * scale).reshape(kv_heads, -1, count, width)
    found_hGnD = value_hKD.new_empty(*query_hGnD.shape[:3], value_hKD.shape[2])
    # Heads that lie between each other would be copied for every block.
    key_hDK = _near(key_hKD).transpose(1, 2)
    value_hKD = _near(value_hKD)
    step = min(MOST, max(FEWEST, BLOCK_SCORES // (heads * keys)))
    for first in range(0, count, step):
        last = min(count, first + step)
        stop = keys - count + last if causal else keys
        start = 0 if window is None else max(0, keys - count + first - window + 1)
        query_hRD = query_hGnD[:, :, first:last].reshape(kv_heads, -1, width)
        scores_hRK = torch.bmm(query_hRD, key_hDK[:, :, start:stop])
        if softcap is not None:
            scores_hRK = softcap * torch.tanh(scores_hRK / softcap)
        if causal:
            _hide(scores_hRK.view(kv_heads, -1, last - first, stop - start), window)
        weights_hRK = torch.softmax(scores_hRK, dim=-1)
        found_hRD = torch.bmm(weights_hRK, value_hKD[:, start:stop])
        found_hGnD[:, :, first:last] = found_hRD.view(kv_heads, -1, last - first, found_hRD.shape[2])
    return found_hGnD.view(heads, count, -1)


def _near(x_hKD: Tensor) -> Tensor:
    """The same with the places of a head next to each other."""
    return x_hKD if x_hKD.stride(1) == x_hKD.shape[2] else x_hKD.contiguous()


def _hide(scores_hGnK: Tensor, window: int | None) -> None:
    """Hide what the queries of the last n keys do not see, in place."""
    count, keys = scores_hGnK.shape[2:]
    if window is None:  # only what lies behind a query, among the last keys
        scores_hGnK, keys = scores_hGnK[:, :, :, keys - count :], count
    seen_nK = torch.ones(count, keys, dtype=torch.bool).tril(keys - count)
    if window is not None:
        seen_nK = seen_nK.triu(keys - count - window + 1)
    scores_hGnK.masked_fill_(~seen_nK, -torch.inf)
