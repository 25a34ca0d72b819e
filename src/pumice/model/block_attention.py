"""Attention over the blocks of packed rows on any device, with memory that grows with tokens alone.

Only what a query sees is computed: blocks one after another, each in stretches of queries whose keys end
with the stretch. Weights are not kept for the backward pass but computed again from each query's
log-sum-exp, as FlashAttention does (Dao and others 2022, algorithm 4).

Legend: B rows, T tokens of a row, H heads, h heads of keys and values, G = H / h queries share a key,
D width of a head, Q queries and K keys of a stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from pumice.model.packing import Block, Packing

STRETCH = 128
"""Queries that are computed at once: more waste what is above the diagonal, fewer cost calls."""


def _without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(ctx: Any, first: Tensor, *given: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return function(ctx, first, *given)

    return run


def block_attention(
    query_BHTD: Tensor,
    key_BhTD: Tensor,
    value_BhTD: Tensor,
    packing: Packing,
    *,
    scaling: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention of packed rows, [B, T, H, D] in the values' type; zeros at padding.

    Args:
        query_BHTD: queries of all tokens.
        key_BhTD: keys; each serves H / h heads of queries.
        value_BhTD: values.
        packing: who sees whom.
        scaling: of the scores; 1 / sqrt(D) if None.
        window: see only the last so many of the keys that are seen otherwise.
        softcap: scores become ``softcap * tanh(scores / softcap)``.
    """
    scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
    # One type for all, as FlashAttention asks: under autocast rotations leave queries and keys in float32.
    kind = value_BhTD.dtype
    result: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
        query_BHTD.to(kind), key_BhTD.to(kind), value_BhTD, packing, scale, window, softcap
    )
    return result


class _BlockAttention(torch.autograd.Function):
    # Types are chosen here, product by product, and must be those of the backward pass: no autocast.
    @staticmethod
    @_without_autocast
    def forward(
        ctx: Any,
        query_BHTD: Tensor,
        key_BhTD: Tensor,
        value_BhTD: Tensor,
        packing: Packing,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        rows, heads, tokens, _ = query_BHTD.shape
        kv_heads = key_BhTD.shape[1]
        out_BTHD = value_BhTD.new_zeros(rows, tokens, heads, value_BhTD.shape[-1])
        log_sum_BHT = torch.zeros(rows, heads, tokens, dtype=torch.float32, device=query_BHTD.device)
        for block, start, stop in _stretches(packing):
            ranges = _ranges(block, start, stop, window)
            key_hKD, value_hKD = _gather(key_BhTD, block.row, ranges), _gather(value_BhTD, block.row, ranges)
            query_hnD = _grouped(query_BHTD[block.row, :, start:stop], kv_heads)
            scores_hnK, _ = _scores(query_hnD, key_hKD, scale, softcap)
            _hide(scores_hnK, stop - start, ranges, start, window)
            log_sum_hn1 = torch.logsumexp(scores_hnK, dim=-1, keepdim=True)
            weights_hnK = (scores_hnK - log_sum_hn1).exp_().to(value_hKD.dtype)
            attended_hnD = torch.matmul(weights_hnK, value_hKD)
            out_BTHD[block.row, start:stop] = _ungrouped(attended_hnD, heads).transpose(0, 1)
            log_sum_BHT[block.row, :, start:stop] = _ungrouped(log_sum_hn1, heads)[..., 0]
        ctx.save_for_backward(query_BHTD, key_BhTD, value_BhTD, out_BTHD, log_sum_BHT)
        ctx.options = (packing, scale, window, softcap)
        return out_BTHD

    @staticmethod
    @_without_autocast
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_BTHD,) = grads
        query_BHTD, key_BhTD, value_BhTD, out_BTHD, log_sum_BHT = ctx.saved_tensors
        packing, scale, window, softcap = ctx.options
        heads, kv_heads = query_BHTD.shape[1], key_BhTD.shape[1]
        # Sums over stretches are kept in float32: a key is seen by many.
        dquery_BHTD = torch.zeros_like(query_BHTD)
        dkey_BhTD = torch.zeros_like(key_BhTD, dtype=torch.float32)
        dvalue_BhTD = torch.zeros_like(value_BhTD, dtype=torch.float32)
        share_BHT = (grad_BTHD.float() * out_BTHD.float()).sum(dim=-1).transpose(1, 2)
        for block, start, stop in _stretches(packing):
            row, ranges = block.row, _ranges(block, start, stop, window)
            key_hKD, value_hKD = _gather(key_BhTD, row, ranges), _gather(value_BhTD, row, ranges)
            query_hnD = _grouped(query_BHTD[row, :, start:stop], kv_heads)
            grad_hnD = _grouped(grad_BTHD[row, start:stop].transpose(0, 1), kv_heads)
            scores_hnK, slope_hnK = _scores(query_hnD, key_hKD, scale, softcap)
            _hide(scores_hnK, stop - start, ranges, start, window)
            log_sum_hn1 = _grouped(log_sum_BHT[row, :, start:stop, None], kv_heads)
            weights_hnK = (scores_hnK - log_sum_hn1).exp_()
            dvalue_hKD = torch.matmul(weights_hnK.to(grad_hnD.dtype).transpose(1, 2), grad_hnD)
            dweights_hnK = torch.matmul(grad_hnD, value_hKD.transpose(1, 2)).float()
            share_hn1 = _grouped(share_BHT[row, :, start:stop, None], kv_heads)
            dscores_hnK = weights_hnK.mul_(dweights_hnK.sub_(share_hn1))
            if slope_hnK is not None:
                dscores_hnK.mul_(slope_hnK)
            dscores_low_hnK = dscores_hnK.mul_(scale).to(query_hnD.dtype)
            dquery_BHTD[row, :, start:stop] = _ungrouped(torch.matmul(dscores_low_hnK, key_hKD), heads)
            dkey_hKD = torch.matmul(dscores_low_hnK.transpose(1, 2), query_hnD)
            _scatter(dkey_BhTD, row, ranges, dkey_hKD)
            _scatter(dvalue_BhTD, row, ranges, dvalue_hKD)
        return (
            dquery_BHTD,
            dkey_BhTD.to(key_BhTD.dtype),
            dvalue_BhTD.to(value_BhTD.dtype),
            None,
            None,
            None,
            None,
        )


def _stretches(packing: Packing) -> Iterator[tuple[Block, int, int]]:
    """Every block in stretches of queries: the block, and the stretch's start and stop in its row."""
    for block in packing.blocks:
        for start in range(block.start, block.stop, STRETCH):
            yield block, start, min(start + STRETCH, block.stop)


def _ranges(block: Block, start: int, stop: int, window: int | None) -> list[tuple[int, int]]:
    """The keys that some query of a stretch sees, as ranges of the row; the stretch's own come last."""
    ranges = [*block.before, (block.start, stop)]
    if window is None:
        return ranges
    # The first query sees the last `window` of the keys up to itself.
    surplus = sum(b - a for a, b in block.before) + (start + 1 - block.start) - window
    kept: list[tuple[int, int]] = []
    for first, last in ranges:
        drop = min(max(surplus, 0), last - first)
        surplus -= drop
        if first + drop < last:
            kept.append((first + drop, last))
    return kept


def _gather(x_BhTD: Tensor, row: int, ranges: list[tuple[int, int]]) -> Tensor:
    parts = [x_BhTD[row, :, start:stop] for start, stop in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _scatter(into_BhTD: Tensor, row: int, ranges: list[tuple[int, int]], grad_hKD: Tensor) -> None:
    at = 0
    for start, stop in ranges:
        into_BhTD[row, :, start:stop] += grad_hKD[:, at : at + stop - start]
        at += stop - start


def _grouped(x_HQD: Tensor, kv_heads: int) -> Tensor:
    """[H, Q, D] as [h, G * Q, D]: the queries of a key's heads one group after another."""
    heads, queries, width = x_HQD.shape
    return x_HQD.reshape(kv_heads, heads // kv_heads * queries, width)


def _ungrouped(x_hnD: Tensor, heads: int) -> Tensor:
    kv_heads, many, width = x_hnD.shape
    return x_hnD.reshape(heads, kv_heads * many // heads, width)


def _scores(
    query_hnD: Tensor, key_hKD: Tensor, scale: float, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Scores [h, n, K] in float32, and where they are capped the slope of the cap.

    The product is taken in float32 whatever the inputs are: a score of 50 rounded to bfloat16 is off by an
    eighth, and so is its weight. (It costs 7% of the whole, see docs/LOG.md.)
    """
    scores_hnK = torch.matmul(query_hnD.float(), key_hKD.transpose(1, 2).float()).mul_(scale)
    if softcap is None:
        return scores_hnK, None
    bent_hnK = torch.tanh(scores_hnK / softcap)
    return bent_hnK * softcap, 1 - bent_hnK**2


def _hide(
    scores_hnK: Tensor, queries: int, ranges: list[tuple[int, int]], start: int, window: int | None
) -> None:
    """Take out keys that stand behind their query, or before its window; in place."""
    heads, _, keys = scores_hnK.shape
    order_K = torch.arange(keys, device=scores_hnK.device)
    # The stretch's own keys are the last ones: query i stands at key `keys - queries + i`.
    own_Q = torch.arange(keys - queries, keys, device=scores_hnK.device)
    if window is None:
        late_QQ = order_K[None, keys - queries :] > own_Q[:, None]
        view = scores_hnK.view(heads, -1, queries, keys)[..., keys - queries :]
        view.masked_fill_(late_QQ, -torch.inf)
        return
    hidden_QK = (order_K[None] > own_Q[:, None]) | (order_K[None] <= own_Q[:, None] - window)
    scores_hnK.view(heads, -1, queries, keys).masked_fill_(hidden_QK, -torch.inf)
