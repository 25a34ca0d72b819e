"""Attention over the blocks of packed rows on any device, with memory that grows with tokens alone.

Only what a query sees is computed, in groups of tiles (``tiles``). Weights are computed
again in the backward pass, as FlashAttention does (Dao and others 2022), but where they are few.

Legend: B rows, T tokens of a row, H heads, h heads of keys and values, R = H / h queries share a key,
D width of a head, N tokens of all rows (the place behind them is empty), G tiles, Q queries and K keys of a
tile, S = h * G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from pumice.model.tiles import Group

KEPT = 4
"""Weights are kept where they take no more room than so many of the tensors that are kept anyway (queries,
keys, values and the result): with few keys a query, computing them again costs more than it saves."""


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
    groups: Sequence[Group],
    *,
    scaling: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention of packed rows, [B, T, H, D] in the values' type; zeros at padding.

    Args:
        query_BHTD: queries of all tokens.
        key_BhTD: keys; each serves H / h heads of queries.
        value_BhTD: values.
        groups: who sees whom (``tiles.groups_of``).
        scaling: of the scores; 1 / sqrt(D) if None.
        softcap: scores become ``softcap * tanh(scores / softcap)``.
    """
    scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
    result: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
        query_BHTD, key_BhTD, value_BhTD, groups, scale, softcap
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
        groups: Sequence[Group],
        scale: float,
        softcap: float | None,
    ) -> Tensor:
        rows, heads, tokens, width = query_BHTD.shape
        # One type for all, as FlashAttention asks: under autocast rotations leave queries and keys in
        # float32.
        kind = value_BhTD.dtype
        query_HND, key_hND, value_hND = (_by_place(x, kind) for x in (query_BHTD, key_BhTD, value_BhTD))
        out_NHD = value_hND.new_zeros(rows * tokens + 1, heads, width)
        kept: list[Tensor] = []
        keeps = (
            softcap is None
            and any(ctx.needs_input_grad)
            and _scores_of(groups) <= KEPT * rows * tokens * width
        )
        for group in groups:
            key_SKD, value_SKD = _chosen(key_hND, group.key_GK), _chosen(value_hND, group.key_GK)
            query_SnD = _chosen(query_HND, group.query_GQ, key_hND.shape[0])
            weights_SnK, _ = _weights(query_SnD, key_SKD, group, scale, softcap)
            low_SnK = weights_SnK.to(kind)
            if keeps:
                kept.append(low_SnK)
            attended_SnD = torch.bmm(low_SnK, value_SKD)
            out_NHD.index_copy_(
                0, group.query_GQ.flatten(), _back(attended_SnD, group, heads).transpose(0, 1)
            )
        ctx.save_for_backward(query_HND, key_hND, value_hND, *kept)
        ctx.options = (groups, scale, softcap, (rows, tokens), query_BHTD.dtype, key_BhTD.dtype)
        out_BTHD: Tensor = out_NHD[:-1].view(rows, tokens, heads, width)
        return out_BTHD

    @staticmethod
    @_without_autocast
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query_HND, key_hND, value_hND, *kept = ctx.saved_tensors
        groups, scale, softcap, shape, query_kind, key_kind = ctx.options
        heads, kv_heads, kind = query_HND.shape[0], key_hND.shape[0], value_hND.dtype
        grad_HND = _by_place(grads[0].transpose(1, 2), kind)
        dquery_HND = torch.zeros_like(query_HND)
        # Sums over tiles are kept in float32: a key is seen by many.
        dkey_hND, dvalue_hND = (torch.zeros_like(x, dtype=torch.float32) for x in (key_hND, value_hND))
        for number, group in enumerate(groups):
            key_SKD, value_SKD = _chosen(key_hND, group.key_GK), _chosen(value_hND, group.key_GK)
            query_SnD = _chosen(query_HND, group.query_GQ, kv_heads)
            grad_SnD = _chosen(grad_HND, group.query_GQ, kv_heads)
            slope_SnK = None
            if kept:
                low_SnK = kept[number]
                weights_SnK = low_SnK.float()
            else:
                weights_SnK, slope_SnK = _weights(query_SnD, key_SKD, group, scale, softcap)
                low_SnK = weights_SnK.to(kind)
            _add(dvalue_hND, group, torch.bmm(low_SnK.transpose(1, 2), grad_SnD))
            dweights_SnK = torch.bmm(grad_SnD, value_SKD.transpose(1, 2)).float()
            dscores_SnK = torch._softmax_backward_data(dweights_SnK, weights_SnK, -1, torch.float32)
            if slope_SnK is not None:
                dscores_SnK.mul_(slope_SnK)
            dscores_low_SnK = dscores_SnK.to(kind)
            dquery_SnD = torch.bmm(dscores_low_SnK, key_SKD).mul_(scale)
            dquery_HND.index_copy_(1, group.query_GQ.flatten(), _back(dquery_SnD, group, heads))
            _add(dkey_hND, group, torch.bmm(dscores_low_SnK.transpose(1, 2), query_SnD))
        dquery, dkey, dvalue = (
            x_HND[:, :-1].reshape(-1, *shape, x_HND.shape[2]).transpose(0, 1).to(wanted)
            for x_HND, wanted in (
                (dquery_HND, query_kind),
                (dkey_hND.mul_(scale), key_kind),
                (dvalue_hND, kind),
            )
        )
        return dquery, dkey, dvalue, None, None, None


def _scores_of(groups: Sequence[Group]) -> int:
    """Scores of a head."""
    return sum(group.query_GQ.numel() * group.key_GK.shape[1] for group in groups)


def _by_place(x_BHTD: Tensor, kind: torch.dtype) -> Tensor:
    """[H, N + 1, D]: all rows one after another, and an empty place."""
    rows, heads, tokens, width = x_BHTD.shape
    placed_HND = x_BHTD.new_empty(heads, rows * tokens + 1, width, dtype=kind)
    placed_HND[:, :-1].view(heads, rows, tokens, width).copy_(x_BHTD.transpose(0, 1))
    placed_HND[:, -1] = 0
    return placed_HND


def _chosen(x_HND: Tensor, places_GQ: Tensor, kv_heads: int | None = None) -> Tensor:
    """What stands at the places, [S, R * Q, D]: the queries of a key's heads one group after another."""
    heads, tiles = x_HND.shape[0], places_GQ.shape[0]
    width = x_HND.shape[2]
    found_HnD = x_HND.index_select(1, places_GQ.flatten())
    if kv_heads is None or kv_heads == heads:
        return found_HnD.view(heads * tiles, -1, width)
    found_hRGQD = found_HnD.view(kv_heads, heads // kv_heads, tiles, -1, width)
    return found_hRGQD.transpose(1, 2).reshape(kv_heads * tiles, -1, width)


def _back(x_SnD: Tensor, group: Group, heads: int) -> Tensor:
    """[H, G * Q, D]."""
    tiles, queries = group.query_GQ.shape
    return (
        x_SnD.view(-1, tiles, x_SnD.shape[1] // queries, queries, x_SnD.shape[2])
        .transpose(1, 2)
        .reshape(heads, tiles * queries, -1)
    )


def _weights(
    query_SnD: Tensor, key_SKD: Tensor, group: Group, scale: float, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Weights [S, n, K] in float32, and where scores are capped the slope of the cap.

    The product is taken in float32 whatever the inputs are: a score of 50 rounded to bfloat16 is off by an
    eighth, and so is its weight.
    """
    scores_SnK = torch.bmm(query_SnD.float().mul(scale), key_SKD.float().transpose(1, 2))
    slope_SnK = None
    if softcap is not None:
        bent_SnK = torch.tanh(scores_SnK / softcap)
        scores_SnK, slope_SnK = bent_SnK * softcap, 1 - bent_SnK**2
    tiles, queries, last = group.hidden_GQk.shape
    view = scores_SnK.view(-1, tiles, scores_SnK.shape[1] // queries, queries, scores_SnK.shape[2])
    view[..., -last:].masked_fill_(group.hidden_GQk[:, None], -torch.inf)
    return torch.softmax(scores_SnK, dim=-1), slope_SnK


def _add(into_hND: Tensor, group: Group, grad_SKD: Tensor) -> None:
    """Add what each tile gives to its keys."""
    grad_hGKD = grad_SKD.view(into_hND.shape[0], -1, *grad_SKD.shape[1:])
    for number, ranges in enumerate(group.ranges):
        at = 0
        for start, stop in ranges:
            into_hND[:, start:stop] += grad_hGKD[:, number, at : at + stop - start]
            at += stop - start
