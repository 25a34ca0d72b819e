"""Attention of one row in which the new tokens of many sequences stand, over keys that lie in one memory.

An engine computes what many requests need next in one pass: one token of each answer under way, and parts
of new prompts. Products with weights do not care whose token is whose, so they see one row. Attention does:
here every sequence attends to its own keys, which are read where they lie.

Legend: T new tokens, P places of the memory, H heads of queries, h heads of keys and values, G queries that
share a head of keys (H = h * G), D width of a head, S sequences, n new tokens of one, K its keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pumice.model.query_blocks import attend_in_blocks, suits_blocks

GATHER_BYTES = 1 << 18
"""Keys and values of one sequence and layer up to which one-token sequences are computed together on a CPU:
a copy of so little is cheaper than a call for each."""
FOLD = 64
"""The most new tokens whose queries of one head of keys are laid behind each other, so that no key is
repeated; of more, the repeated keys are the smaller part."""
PLAIN_SCORES = 1 << 24
"""The most scores that one call of plain products holds at once."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The new tokens of one sequence.

    Attributes:
        first: where they begin in the row.
        count: how many they are; their keys are the last ``count`` of the sequence.
        start: the place of the sequence's first key in the memory.
        keys: of the sequence, the new ones included.
    """

    first: int
    count: int
    start: int
    keys: int


@dataclass(frozen=True, slots=True)
class Ragged:
    """The stretches of a row in its order; sequences of one new token stand before all others.

    Attributes:
        stretches: see above.
        device: the memory's.
        drawing: numbers of the stretches from whose last token something is drawn, in their order; None where
            all tokens' last hidden states are read. Layers may leave out what nobody reads.
        made: what was made of it, for all layers.
    """

    stretches: tuple[Stretch, ...]
    device: torch.device
    drawing: tuple[int, ...] | None = None
    made: dict[Any, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """T."""
        last = self.stretches[-1]
        return last.first + last.count

    @property
    def singles(self) -> int:
        """How many sequences have one new token."""
        return sum(one.count == 1 for one in self.stretches)

    @property
    def drawn(self) -> list[int]:
        """The last tokens of the stretches of ``drawing``, in the order of the row."""
        chosen = [self.stretches[number] for number in self.drawing or ()]
        return [one.first + one.count - 1 for one in chosen]

    def ends(self) -> Ragged:
        """The last tokens of the stretches of ``drawing`` alone, as a row of their own."""
        if "ends" not in self.made:
            chosen = [self.stretches[number] for number in self.drawing or ()]
            alone = [Stretch(number, 1, one.start, one.keys) for number, one in enumerate(chosen)]
            self.made["ends"] = Ragged(tuple(alone), self.device)
        found: Ragged = self.made["ends"]
        return found

    def places(self) -> Tensor:
        """Where in the memory the new keys are written, int64 [T]."""
        if "places" not in self.made:
            runs = [range(s.start + s.keys - s.count, s.start + s.keys) for s in self.stretches]
            self.made["places"] = torch.tensor([place for run in runs for place in run]).to(self.device)
        found: Tensor = self.made["places"]
        return found

    def all_places(self) -> Tensor:
        """The places of all sequences' keys, one behind the other, int64."""
        if "all" not in self.made:
            runs = [torch.arange(s.start, s.start + s.keys) for s in self.stretches]
            self.made["all"] = torch.cat(runs).to(self.device)
        found: Tensor = self.made["all"]
        return found

    def dense(self) -> Tensor:
        """Who sees whom, bool [1, T, sum of K], over the keys of ``all_places``: for kernels of others."""
        seen_TK = torch.zeros(self.tokens, sum(s.keys for s in self.stretches), dtype=torch.bool)
        column = 0
        for one in self.stretches:
            block = torch.ones(one.count, one.keys, dtype=torch.bool).tril(one.keys - one.count)
            seen_TK[one.first : one.first + one.count, column : column + one.keys] = block
            column += one.keys
        return seen_TK[None].to(self.device)


@dataclass(frozen=True, slots=True)
class CarriedRagged:
    """What a mask stands for: a row of many sequences, and the window of the layers it is for."""

    ragged: Ragged
    window: int | None


def ragged_attention(
    query_1HTD: Tensor,
    key_1hPD: Tensor,
    value_1hPD: Tensor,
    carried: CarriedRagged,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """Each sequence's attention to its own keys, [1, T, H, D].

    Args:
        query_1HTD: of the new tokens.
        key_1hPD, value_1hPD: the whole memory; the new tokens' keys and values are written already.
        carried: whose is what.
        scaling: of scores; 1 / sqrt(D) where None.
        softcap: of scores, after scaling (Gemma 2).
    """
    ragged, window = carried.ragged, carried.window
    query_HTD, key_hPD, value_hPD = query_1HTD[0], key_1hPD[0], value_1hPD[0]
    found_TD = query_HTD.new_empty(query_HTD.shape[1], query_HTD.shape[0], value_hPD.shape[2])
    together = 0
    if ragged.singles > 1 and _gathers(ragged, key_hPD, window):
        together = ragged.singles
        found_TD[:together] = _singles(
            query_HTD[:, :together], key_hPD, value_hPD, ragged, window, scaling, softcap
        )
    stretches_attention(query_HTD, key_hPD, value_hPD, carried, scaling, softcap, found_TD, first=together)
    return found_TD[None]


def stretches_attention(
    query_HTD: Tensor,
    key_hPD: Tensor,
    value_hPD: Tensor,
    carried: CarriedRagged,
    scaling: float | None,
    softcap: float | None,
    into_THD: Tensor,
    *,
    first: int,
) -> None:
    """Each sequence's attention from number ``first`` on, one after another, into its rows of ``into_THD``.

    The other arguments are those of ``ragged_attention`` without their first dimension.
    """
    window = carried.window
    for number, one in enumerate(carried.ragged.stretches[first:], start=first):
        span = slice(one.first, one.first + one.count)
        skipped = 0 if window is None else max(0, one.keys - one.count - window + 1)
        keys = slice(one.start + skipped, one.start + one.keys)
        into_THD[span] = _stretch(
            query_HTD[:, span], key_hPD[:, keys], value_hPD[:, keys], carried, number, scaling, softcap
        )


def _gathers(ragged: Ragged, key_hPD: Tensor, window: int | None) -> bool:
    if not key_hPD.is_cpu:
        return True
    longest = max(one.keys for one in ragged.stretches[: ragged.singles])
    if window is not None:
        longest = min(longest, window)
    return longest * 2 * key_hPD.shape[0] * key_hPD.shape[2] * key_hPD.element_size() <= GATHER_BYTES


def _singles(
    query_HSD: Tensor,
    key_hPD: Tensor,
    value_hPD: Tensor,
    ragged: Ragged,
    window: int | None,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """All sequences of one new token in one call, over copies of their keys: [S, H, D]."""
    made = ragged.made
    if ("singles", window) not in made:
        made["singles", window] = _single_places(ragged.stretches[: ragged.singles], window, ragged.device)
    places_SK, seen_S11K = made["singles", window]
    key_ShKD = key_hPD[:, places_SK].transpose(0, 1)
    value_ShKD = value_hPD[:, places_SK].transpose(0, 1)
    query_ShGD = _grouped(query_HSD.transpose(0, 1), key_hPD.shape[0])
    return _attend(query_ShGD, key_ShKD, value_ShKD, seen_S11K, scaling, softcap).flatten(1, 2)


def _single_places(
    stretches: Sequence[Stretch], window: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The places [S, K] of the keys of sequences of one new token, and which of them count [S, 1, 1, K]."""
    ends_S = torch.tensor([one.start + one.keys for one in stretches])
    seen_S = torch.tensor([one.keys if window is None else min(one.keys, window) for one in stretches])
    order_K = torch.arange(int(seen_S.max()))
    # Beyond a sequence's keys its last one is copied: it is finite, and the mask hides it.
    places_SK = torch.minimum((ends_S - seen_S)[:, None] + order_K, ends_S[:, None] - 1)
    seen_SK = order_K < seen_S[:, None]
    return places_SK.to(device), seen_SK[:, None, None, :].to(device)


def _stretch(
    query_HnD: Tensor,
    key_hKD: Tensor,
    value_hKD: Tensor,
    carried: CarriedRagged,
    number: int,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    """One sequence's attention, [n, H, D]; its keys begin with the first that any new token sees."""
    heads, count, keys = query_HnD.shape[0], query_HnD.shape[1], key_hKD.shape[1]
    kv_heads = key_hKD.shape[0]
    groups = heads // kv_heads
    if count == 1:  # all keys that are left are seen
        query_1hGD = _grouped(query_HnD.transpose(0, 1), kv_heads)
        return _attend(query_1hGD, key_hKD[None], value_hKD[None], None, scaling, softcap).flatten(1, 2)
    if suits_blocks(query_HnD, value_hKD):
        found_HnD = attend_in_blocks(
            query_HnD,
            key_hKD,
            value_hKD,
            causal=True,
            scaling=scaling,
            softcap=softcap,
            window=carried.window,
        )
        return found_HnD.transpose(0, 1)
    whole = count == keys and (carried.window is None or keys <= carried.window)
    if count > FOLD or (whole and groups == 1):
        key_HKD, value_HKD = (
            x.repeat_interleave(groups, dim=0) if groups > 1 else x for x in (key_hKD, value_hKD)
        )
        seen_nK = None if whole and softcap is None else _seen(carried, number, count, keys)
        found_HnD = _attend(
            query_HnD[None], key_HKD[None], value_HKD[None], seen_nK, scaling, softcap, causal=seen_nK is None
        )[0]
        return found_HnD.transpose(0, 1)
    seen_nK = _seen(carried, number, count, keys)
    query_hRD = query_HnD.reshape(kv_heads, groups * count, -1)
    seen_RK = seen_nK.repeat(groups, 1)
    found_hRD = _attend(query_hRD[None], key_hKD[None], value_hKD[None], seen_RK, scaling, softcap)[0]
    return found_hRD.reshape(heads, count, -1).transpose(0, 1)


def _grouped(query_SHD: Tensor, kv_heads: int) -> Tensor:
    """Queries [S, h, G, D] of one token a sequence, by the head of keys that they share."""
    return query_SHD.reshape(query_SHD.shape[0], kv_heads, -1, query_SHD.shape[2])


def _seen(carried: CarriedRagged, number: int, count: int, keys: int) -> Tensor:
    """Which of its keys each new token of a sequence sees, bool [n, K]; made once for all layers."""
    made = carried.ragged.made
    name = ("seen", number, carried.window)
    if name not in made:
        seen_nK = torch.ones(count, keys, dtype=torch.bool).tril(keys - count)
        if carried.window is not None:
            seen_nK = seen_nK.triu(keys - count - carried.window + 1)
        made[name] = seen_nK.to(carried.ragged.device)
    found: Tensor = made[name]
    return found


def _attend(
    query_BHQD: Tensor,
    key_BHKD: Tensor,
    value_BHKD: Tensor,
    seen: Tensor | None,
    scaling: float | None,
    softcap: float | None,
    *,
    causal: bool = False,
) -> Tensor:
    """softmax(QK)V, [B, H, Q, D]; as many heads of keys as of queries."""
    scores = query_BHQD.shape[:-1].numel() * key_BHKD.shape[2]
    slow = query_BHQD.is_cpu and query_BHQD.dtype == torch.bfloat16 and scores <= PLAIN_SCORES
    if softcap is None and not (slow and not causal):
        found: Tensor = F.scaled_dot_product_attention(
            query_BHQD, key_BHKD, value_BHKD, attn_mask=seen, is_causal=causal, scale=scaling
        )
        return found
    scale = query_BHQD.shape[-1] ** -0.5 if scaling is None else scaling
    scores_BHQK = torch.matmul(query_BHQD * scale, key_BHKD.transpose(2, 3))
    if softcap is not None:
        scores_BHQK = softcap * torch.tanh(scores_BHQK / softcap)
    if seen is not None:
        scores_BHQK = scores_BHQK.masked_fill(~seen, -torch.inf)
    if scores_BHQK.dtype == value_BHKD.dtype:  # computed in float32 inside, rounded once
        weights_BHQK = torch.softmax(scores_BHQK, dim=-1)
    else:
        weights_BHQK = torch.softmax(scores_BHQK, dim=-1, dtype=torch.float32).to(value_BHKD.dtype)
    return torch.matmul(weights_BHQK, value_BHKD)
