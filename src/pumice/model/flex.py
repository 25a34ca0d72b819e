"""torch's FlexAttention for packed rows: blocks of the mask that nobody sees are not computed.

Legend: B rows, T tokens of a row, H heads, h heads of keys and values, D width of a head.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from pumice.model.packing import Packing


def block_mask(packing: Packing, window: int | None) -> BlockMask:
    """The rule of ``attention.visibility_mask``, in a window, as FlexAttention takes it.

    It holds which blocks of 128 x 128 are seen in whole or in part, and computes the rule inside the latter.

    Args:
        packing: segments and branches of the rows, on the device that computes.
        window: see only the last so many of the keys that are seen otherwise; None for all.
    """
    segments_BT, branches_BT = packing.segment_ids_BT, packing.branch_ids_BT
    rows, tokens = packing.shape
    order_BT = None if window is None else _order(packing)

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        branch = branches_BT[row, key]
        found = (
            (query >= key)
            & (segments_BT[row, query] == segments_BT[row, key])
            & (segments_BT[row, key] > 0)
            & ((branch == 0) | (branch == branches_BT[row, query]))
        )
        if order_BT is not None and window is not None:
            found = found & (order_BT[row, query] - order_BT[row, key] < window)
        return found | (query == key)  # padding sees itself: no softmax runs over nothing

    return create_block_mask(seen, rows, None, tokens, tokens, device=segments_BT.device)


def flex_packed(
    query_BHTD: Tensor,
    key_BhTD: Tensor,
    value_BhTD: Tensor,
    mask: BlockMask,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention of packed rows, [B, T, H, D] in the values' type.

    On a GPU it is compiled, once and again where shapes ask for it. On a CPU it is computed plainly, all
    scores at once, and has no backward pass: good to compare with.

    Args:
        query_BHTD: queries of all tokens.
        key_BhTD: keys; each serves H / h heads of queries.
        value_BhTD: values.
        mask: who sees whom (``block_mask``).
        scaling: of the scores; 1 / sqrt(D) if None.
        softcap: scores become ``softcap * tanh(scores / softcap)``.
    """
    kind = value_BhTD.dtype  # under autocast rotations leave queries and keys in float32
    options: dict[str, Any] = {
        "score_mod": None if softcap is None else _cap(softcap),
        "block_mask": mask,
        "scale": scaling,
        "enable_gqa": query_BHTD.shape[1] != key_BhTD.shape[1],
    }
    given = (query_BHTD.to(kind), key_BhTD.to(kind), value_BhTD)
    if query_BHTD.is_cpu:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
            found_BHTD: Any = flex_attention(*given, **options)
    else:
        found_BHTD = _compiled()(*given, **options)
    result: Tensor = found_BHTD.transpose(1, 2).contiguous()
    return result


@lru_cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)


@lru_cache
def _cap(softcap: float) -> Callable[..., Tensor]:
    """One function a cap: another one would be compiled again."""

    def capped(score: Tensor, row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return capped


def _order(packing: Packing) -> Tensor:
    """How many keys each token sees before itself, int32 [B, T].

    Of two tokens of which one sees the other, the difference is how far apart they are on the way that the
    later one sees, if a trunk stands before its branches, as the renderer writes them.
    """
    order_BT = np.zeros(packing.shape, np.int32)
    for block in packing.blocks:
        before = sum(stop - start for start, stop in block.before)
        order_BT[block.row, block.start : block.stop] = before + np.arange(block.stop - block.start)
    return torch.from_numpy(order_BT).to(packing.segment_ids_BT.device)
