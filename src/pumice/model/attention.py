"""Who sees whom: visibility masks, and which attention kernel computes them.

Legend: B rows, T tokens of a row, Q queries, K keys, H heads, D width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pumice.errors import CheckpointError, suggest
from pumice.model.block_attention import block_attention
from pumice.model.filling import CARRIED, FilledUp
from pumice.model.flex import block_mask, flex_packed
from pumice.model.kernels import Kernel, best, need_of, unfit
from pumice.model.packing import Packing
from pumice.model.query_blocks import attend_in_blocks, suits_blocks
from pumice.model.ragged import CarriedRagged, Ragged, ragged_attention
from pumice.model.tiles import Group, groups_of

ATTENTION_CHOICES = ("auto", "sdpa", "eager", "flex", "varlen")

AUTO = "pumice_auto"
"""What transformers knows our attention by."""

KERNELS: dict[str, Kernel] = {"pumice_flex": "flex", "pumice_varlen": "varlen"}
"""Those of our attentions that take one kernel for packed rows, by what transformers knows them by."""

PLAIN_SCORES = 1 << 26
"""The most scores (rows x heads x queries x keys) that one layer holds at once in plain attention."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a mask stands for: packed rows, and the window of the layers it is for.

    ``made`` keeps what kernels make of both, for all layers that share the mask.
    """

    packing: Packing
    window: int | None
    made: dict[str, Any] = field(default_factory=dict)

    def groups(self) -> tuple[Group, ...]:
        """The groups of tiles that ``block_attention`` computes."""
        if "groups" not in self.made:
            self.made["groups"] = tuple(groups_of(self.packing, self.window))
        found: tuple[Group, ...] = self.made["groups"]
        return found

    def dense(self) -> Tensor:
        """The mask itself, bool [B, 1, T, T], for kernels that know no blocks."""
        if "dense" not in self.made:
            seen_BTT = visibility_mask(self.packing.segment_ids_BT, self.packing.branch_ids_BT)
            self.made["dense"] = windowed(seen_BTT, self.window)[:, None]
        found: Tensor = self.made["dense"]
        return found


def visibility_mask(segment_ids_BT: Tensor, branch_ids_BT: Tensor) -> Tensor:
    """The boolean mask [B, T, T] (query, key) of packed rows; True where the query sees the key.

    Token q sees token k when k <= q, both stand in one segment, and k is on the trunk (branch 0) or
    on q's own branch (``pumice.types.Batch``). A padding token (segment 0) sees itself alone, so that
    no softmax runs over nothing.

    Args:
        segment_ids_BT: int64 [B, T], samples of a row from 1, 0 is padding.
        branch_ids_BT: int64 [B, T], 0 is the trunk.
    """
    length = segment_ids_BT.shape[1]
    order_T = torch.arange(length, device=segment_ids_BT.device)
    causal_TT = order_T[:, None] >= order_T[None, :]
    query_seg, key_seg = segment_ids_BT[:, :, None], segment_ids_BT[:, None, :]
    query_branch, key_branch = branch_ids_BT[:, :, None], branch_ids_BT[:, None, :]
    seen_BTT = causal_TT & (query_seg == key_seg) & (key_seg > 0)
    seen_BTT &= (key_branch == 0) | (key_branch == query_branch)
    return seen_BTT | torch.eye(length, dtype=torch.bool, device=segment_ids_BT.device)


def attention_windows(config: Any) -> dict[str, int | None]:
    """How many keys the layers of a language model see, by kind of layer; None for all that come before.

    Models whose layers are all alike have one nameless kind.

    Raises:
        CheckpointError: a kind of layer that our masks do not describe (chunked or linear attention).
    """
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        window = None
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return {"": window}
    known = {"full_attention": None, "sliding_attention": window}
    unknown = sorted(set(kinds) - set(known))
    if unknown:
        raise CheckpointError(
            f"the language model has layers of kind {', '.join(unknown)}; such a layer does not take a mask "
            "for each row",
            where="layer_types",
            remedy=f"choose a model whose layers are {' or '.join(known)}",
        )
    return {kind: known[kind] for kind in sorted(set(kinds))}


def windowed(mask_BQK: Tensor, window: int | None) -> Tensor:
    """The mask of a layer that sees a window: of the keys each query sees, the last ``window``.

    Keys stand in the order of their positions within every sample and branch, so the last ones are the
    nearest, the query itself among them (``kv > q - window``, as transformers counts).
    """
    if window is None or mask_BQK.shape[2] <= window:
        return mask_BQK
    behind_BQK = mask_BQK.flip(2).cumsum(2, dtype=torch.int32).flip(2)
    return mask_BQK & (behind_BQK <= window)


# Blocks differ from batch to batch, and so would compiled code: what calls it is compiled, and this is not.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def auto_attention(
    module: nn.Module,
    query_BHQD: Tensor,
    key_BHKD: Tensor,
    value_BHKD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention by whichever kernel is faster here; the interface is transformers'.

    A mask that was made of packed rows (``packed_mask``) carries their blocks, and then only these are
    computed. One that was made of sequences in one row (``ragged_mask``) carries where their keys lie.

    On a CPU in bfloat16 torch's SDPA is slow. Forward and backward of 16 rows of 174 tokens, 6 heads of
    32, on one core of an AMD EPYC with avx512_bf16, torch 2.13: SDPA 55.8 ms, plain matrix products
    15.1 ms (forward alone 10.1 and 6.6); in float32 25.4 and 26.3 ms, so there SDPA stays, which needs
    less memory. For the same reason it stays where the scores are many.
    """
    carried: Carried | CarriedRagged | FilledUp | None = getattr(attention_mask, CARRIED, None)
    if isinstance(carried, CarriedRagged):
        return ragged_attention(query_BHQD, key_BHKD, value_BHKD, carried, scaling, softcap), None
    if isinstance(carried, FilledUp):
        key_BHKD, value_BHKD = key_BHKD[:, :, : carried.tokens], value_BHKD[:, :, : carried.tokens]
        attention_mask = None
    elif carried is not None:
        found = _packed(query_BHQD, key_BHKD, value_BHKD, carried, dropout, scaling, softcap)
        if found is not None:
            return found, None
        attention_mask = carried.dense()
    if not _plain_is_faster(module, query_BHQD, key_BHKD, attention_mask) and softcap is None:
        kwargs = {**kwargs, "dropout": dropout, "scaling": scaling}
        return sdpa_attention_forward(module, query_BHQD, key_BHKD, value_BHKD, attention_mask, **kwargs)
    return plain_attention(query_BHQD, key_BHKD, value_BHKD, attention_mask, dropout, scaling, softcap), None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def kernel_attention(
    kernel: Kernel,
    module: nn.Module,
    query_BHQD: Tensor,
    key_BHKD: Tensor,
    value_BHKD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of packed rows by one kernel; of all else (answers) as ``auto_attention``.

    Raises:
        CheckpointError: the kernel cannot compute these.
    """
    carried: Carried | CarriedRagged | None = getattr(attention_mask, CARRIED, None)
    if carried is None or isinstance(carried, CarriedRagged):
        found: tuple[Tensor, Tensor | None] = auto_attention(
            module, query_BHQD, key_BHKD, value_BHKD, attention_mask, dropout, scaling, softcap, **kwargs
        )
        return found
    need = need_of(
        query_BHQD,
        value_BHKD,
        plain=carried.packing.plain,
        capped=softcap is not None,
        dropout=dropout > 0,
    )
    problem = unfit(kernel, need)
    if problem is not None:
        raise CheckpointError(problem.why, where=f"attention {kernel}", remedy=problem.remedy)
    return _by(kernel, query_BHQD, key_BHKD, value_BHKD, carried, scaling, softcap), None


def _packed(
    query_BHTD: Tensor,
    key_BhTD: Tensor,
    value_BhTD: Tensor,
    carried: Carried,
    dropout: float,
    scaling: float | None,
    softcap: float | None,
) -> Tensor | None:
    """Attention over blocks alone, [B, T, H, D]; None where a dense kernel must do it."""
    if query_BHTD.is_cpu:
        if dropout:
            raise CheckpointError(
                "the language model drops attention weights while it trains, which packed rows do not",
                where="attention_dropout",
                remedy="choose attention eager, or set attention_dropout to 0",
            )
        return block_attention(
            query_BHTD, key_BhTD, value_BhTD, carried.groups(), scaling=scaling, softcap=softcap
        )
    capped = softcap is not None
    need = need_of(query_BHTD, value_BhTD, plain=carried.packing.plain, capped=capped, dropout=dropout > 0)
    kernel = best(need) if need.device == "cuda" else None
    return kernel and _by(kernel, query_BHTD, key_BhTD, value_BhTD, carried, scaling, softcap)


def _by(
    kernel: Kernel,
    query_BHTD: Tensor,
    key_BhTD: Tensor,
    value_BhTD: Tensor,
    carried: Carried,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """Attention of packed rows by a kernel that can, [B, T, H, D]."""
    made, packing, window = carried.made, carried.packing, carried.window
    if kernel == "flex":
        if "flex" not in made:
            made["flex"] = block_mask(packing, window)
        return flex_packed(query_BHTD, key_BhTD, value_BhTD, made["flex"], scaling=scaling, softcap=softcap)
    if "varlen" not in made:
        edges, longest = packing.edges()
        made["varlen"] = torch.tensor(edges, dtype=torch.int32, device=query_BHTD.device), longest
    cut_N, longest = made["varlen"]
    kind = value_BhTD.dtype  # under autocast rotations leave queries and keys in float32
    return _varlen(query_BHTD.to(kind), key_BhTD.to(kind), value_BhTD, cut_N, longest, scaling, window)


def _varlen(
    query_BHTD: Tensor,
    key_BhTD: Tensor,
    value_BhTD: Tensor,
    cut_N: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """torch's FlashAttention for sequences of differing length, one after another."""
    from torch.nn.attention.varlen import varlen_attn

    rows, _, tokens, _ = query_BHTD.shape

    def flat(x_BHTD: Tensor) -> Tensor:
        return x_BHTD.transpose(1, 2).flatten(0, 1).contiguous()

    grouped = query_BHTD.shape[1] != key_BhTD.shape[1]
    found_nHD: Any = varlen_attn(
        flat(query_BHTD),
        flat(key_BhTD),
        flat(value_BhTD),
        cut_N,
        cut_N,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=grouped,
    )
    result: Tensor = found_nHD.unflatten(0, (rows, tokens))
    return result


def _plain_is_faster(module: nn.Module, query_BHQD: Tensor, key_BHKD: Tensor, mask: Tensor | None) -> bool:
    rows, heads, queries, _ = query_BHQD.shape
    keys = key_BHKD.shape[2]
    if query_BHQD.device.type != "cpu" or rows * heads * queries * keys > PLAIN_SCORES:
        return False
    if mask is None and queries > 1 and getattr(module, "is_causal", True):
        return False  # without a mask, SDPA makes the causal one itself
    return query_BHQD.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")


def plain_attention(
    query_BHQD: Tensor,
    key_BHKD: Tensor,
    value_BHKD: Tensor,
    mask_BxQK: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Matrix product, softmax in float32, matrix product: [B, Q, H, D]. The mask is boolean, True = seen."""
    if mask_BxQK is None and not dropout and suits_blocks(query_BHQD, value_BHKD):
        rows = [
            attend_in_blocks(query_HQD, key_HKD, value_HKD, causal=False, scaling=scaling, softcap=softcap)
            for query_HQD, key_HKD, value_HKD in zip(query_BHQD, key_BHKD, value_BHKD, strict=True)
        ]
        return torch.stack(rows).transpose(1, 2).contiguous()
    groups = query_BHQD.shape[1] // key_BHKD.shape[1]
    if groups > 1:
        key_BHKD = key_BHKD.repeat_interleave(groups, dim=1)
        value_BHKD = value_BHKD.repeat_interleave(groups, dim=1)
    scale = query_BHQD.shape[-1] ** -0.5 if scaling is None else scaling
    scores_BHQK = torch.matmul(query_BHQD * scale, key_BHKD.transpose(2, 3))
    if softcap is not None:
        scores_BHQK = softcap * torch.tanh(scores_BHQK / softcap)
    if mask_BxQK is not None:
        if mask_BxQK.dtype == torch.bool:
            zero = torch.zeros((), dtype=scores_BHQK.dtype, device=scores_BHQK.device)
            mask_BxQK = torch.where(mask_BxQK, zero, torch.finfo(scores_BHQK.dtype).min)
        scores_BHQK = scores_BHQK + mask_BxQK
    weights_BHQK = torch.softmax(scores_BHQK, dim=-1, dtype=torch.float32).to(value_BHKD.dtype)
    if dropout:
        weights_BHQK = torch.dropout(weights_BHQK, dropout, True)
    return torch.matmul(weights_BHQK, value_BHKD).transpose(1, 2).contiguous()


def set_attention(model: Any, kind: str) -> None:
    """Make a transformers model attend by ``kind``, one of ``ATTENTION_CHOICES``.

    Args:
        model: a causal LM or a vision model (which has no packed rows for ``flex`` and ``varlen``).
        kind: ``auto`` chooses by device, precision and rows; the others are what they are called.

    Raises:
        CheckpointError: no such kind, or the model cannot use it.
    """
    if kind not in ATTENTION_CHOICES:
        raise CheckpointError(
            f"there is no attention {kind!r}", where="attention", remedy=suggest(kind, ATTENTION_CHOICES)
        )
    if kind == "sdpa" and getattr(model.config, "attn_logit_softcapping", None) is not None:
        raise CheckpointError(
            f"{type(model).__name__} caps its attention scores, which torch's SDPA cannot",
            where="attention",
            remedy="choose auto or eager",
        )
    own: dict[str, str] = {"auto": AUTO, **{kernel: name for name, kernel in KERNELS.items()}}
    wanted = own.get(kind, kind)
    if kind in own and not _takes_ours(model):
        if kind != "auto":
            raise CheckpointError(
                f"{type(model).__name__} computes attention by itself, so {kind} cannot do it",
                where="attention",
                remedy="choose auto or eager",
            )
        wanted = "eager"
    model.set_attn_implementation(wanted)
    if model.config._attn_implementation != wanted:
        raise CheckpointError(
            f"{type(model).__name__} cannot use attention {kind!r}", where="attention", remedy="choose eager"
        )


def _takes_ours(model: Any) -> bool:
    """Whether a transformers model leaves attention to the function that it is given, and ours is enough.

    Models that torch's SDPA cannot do ask for more than a mask; of these we know what caps are (Gemma 2).
    """
    capped = getattr(model.config, "attn_logit_softcapping", None) is not None
    return bool(
        getattr(model, "_supports_sdpa", False)
        or (capped and getattr(model, "_supports_attention_backend", False))
    )


def kernel_mask(mask_BQK: Tensor, implementation: str, dtype: torch.dtype) -> Tensor:
    """A boolean mask [B, Q, K] in the 4D form that a transformers attention implementation takes.

    ``sdpa`` (and ours) take booleans [B, 1, Q, K]; ``eager`` adds its mask to the scores, so it takes
    0 and the most negative number of ``dtype`` (``transformers.masking_utils.eager_mask``).
    """
    mask_B1QK = mask_BQK[:, None]
    if implementation != "eager":
        return mask_B1QK
    zero = torch.zeros((), dtype=dtype, device=mask_BQK.device)
    return torch.where(mask_B1QK, zero, torch.finfo(dtype).min)


def packed_mask(packing: Packing, window: int | None) -> Tensor:
    """A mask [B, 1, T, T] for ``auto`` that carries the blocks of packed rows.

    Nothing reads the mask itself, so it takes no memory: it hides everything, and a language model that would
    look at it is found when it is loaded (``build.check_language``).

    Args:
        packing: the blocks.
        window: of the layers it is for.
    """
    rows, tokens = packing.shape
    device = packing.segment_ids_BT.device
    mask = torch.zeros(1, dtype=torch.bool, device=device).expand(rows, 1, tokens, tokens)
    setattr(mask, CARRIED, Carried(packing, window))
    return mask


def ragged_mask(ragged: Ragged, window: int | None) -> Tensor:
    """A mask [1, 1, T, 1] for our attentions that carries the sequences of a row; nothing reads it itself.

    Args:
        ragged: the sequences.
        window: of the layers it is for.
    """
    mask = torch.zeros(1, dtype=torch.bool, device=ragged.device).expand(1, 1, ragged.tokens, 1)
    setattr(mask, CARRIED, CarriedRagged(ragged, window))
    return mask


AttentionInterface.register(AUTO, auto_attention)
AttentionMaskInterface.register(AUTO, sdpa_mask)
for _name, _kernel in KERNELS.items():
    AttentionInterface.register(_name, partial(kernel_attention, _kernel))
    AttentionMaskInterface.register(_name, sdpa_mask)
