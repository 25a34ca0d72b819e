"""One batch of prompts that share the prefixes of their pictures, from prefill to the last token.

A prompt is a trunk (all up to its last picture) and a rest. Each distinct trunk is run once; its
keys and values are then copied to every prompt that has it. All places of a row are told apart by a
boolean mask and explicit positions, so rows of unequal length need no alignment.

Legend: B rows (one per prompt), U distinct trunks, T tokens of a block, K places in the cache,
D width of the language model, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pumice.infer.cache import reserved_cache, take_rows
from pumice.model.vlm import VisionLanguageModel
from pumice.types import IntArray

FIRST_RESERVE = 64
"""Room for new tokens that is reserved at first; buffers grow where answers are longer."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt, cut into trunk and rest, each an int64 array.

    Attributes:
        trunk: ids up to the last image token; empty where nothing can be shared.
        rest: the ids after it, at least one.
        spans: (start, length) of each image in the whole prompt.
        images: what to look up each image's embeddings by.
    """

    trunk: IntArray
    rest: IntArray
    spans: tuple[tuple[int, int], ...]
    images: tuple[Hashable, ...]

    @property
    def length(self) -> int:
        """Tokens of the whole prompt."""
        return int(self.trunk.size + self.rest.size)

    @property
    def trunk_key(self) -> Hashable:
        """Equal for prompts whose trunks are equal, pictures included; None without a trunk."""
        return (self.trunk.tobytes(), self.images) if self.trunk.size else None


class RunningBatch:
    """Prompts being answered. ``tokens`` are the newest ids, ``numbers`` the prompts still running."""

    def __init__(
        self, model: VisionLanguageModel, prompts: Sequence[Prompt], embeds: dict[Hashable, Tensor], room: int
    ) -> None:
        self.model = model
        self.numbers = list(range(len(prompts)))
        self._embeds = embeds
        self._layers = int(model.lm.config.num_hidden_layers)
        device = model.device
        trunks: dict[Hashable, Prompt] = {}
        for prompt in prompts:
            if prompt.trunk_key is not None:
                trunks.setdefault(prompt.trunk_key, prompt)
        rest_len = max(prompt.rest.size for prompt in prompts)
        trunk_len = max((prompt.trunk.size for prompt in trunks.values()), default=0)
        capacity = trunk_len + rest_len + min(room, FIRST_RESERVE)
        lengths_B = torch.tensor([prompt.trunk.size for prompt in prompts], device=device)
        self._cache = reserved_cache(self._layers, capacity)
        if trunks:
            self._run_trunks(list(trunks.values()), trunk_len)
            row_of = {key: row for row, key in enumerate(trunks)}
            rows = [row_of.get(prompt.trunk_key, 0) for prompt in prompts]
            if rows != list(range(len(trunks))) or trunk_len < capacity:
                self._cache = take_rows(self._cache, torch.tensor(rows, device=device), capacity)
        self._seen_BK = torch.arange(trunk_len, device=device)[None, :] < lengths_B[:, None]
        self._last_BD = self._run_rests(prompts, lengths_B, rest_len)
        self._next_B = lengths_B + torch.tensor([prompt.rest.size for prompt in prompts], device=device)

    def scores(self) -> Tensor:
        """Scores [B, V] of the next token of each running prompt."""
        return self.model.logits(self._last_BD)

    def step(self, tokens: Sequence[int]) -> None:
        """Append one token to each running prompt."""
        device = self._next_B.device
        ids_B1 = torch.tensor(tokens, device=device)[:, None]
        self._seen_BK = torch.nn.functional.pad(self._seen_BK, (0, 1), value=True)
        embeds_B1D = self.model.lm.get_input_embeddings()(ids_B1)
        hidden_B1D = self.model.hidden(
            embeds_B1D, self._next_B[:, None], self._seen_BK[:, None, :], cache=self._cache
        )
        self._last_BD = hidden_B1D[:, 0]
        self._next_B = self._next_B + 1

    def keep(self, rows: Sequence[int]) -> None:
        """Drop every row but these (indices into the running rows)."""
        rows_B = torch.tensor(rows, device=self._next_B.device)
        length = self._seen_BK.shape[1]
        self._cache = take_rows(self._cache, rows_B, length + FIRST_RESERVE)
        self._seen_BK = self._seen_BK[rows_B]
        self._last_BD, self._next_B = self._last_BD[rows_B], self._next_B[rows_B]
        self.numbers = [self.numbers[row] for row in rows]

    def _run_trunks(self, trunks: Sequence[Prompt], length: int) -> None:
        ids_UT = self._padded([prompt.trunk for prompt in trunks], length)
        spans = [(row, *span) for row, prompt in enumerate(trunks) for span in prompt.spans]
        embeds_UTD = self._embed(ids_UT, spans, [key for prompt in trunks for key in prompt.images])
        position_ids_UT = torch.arange(length, device=ids_UT.device).expand_as(ids_UT)
        mask_TT = torch.ones(length, length, dtype=torch.bool, device=ids_UT.device).tril()
        # Padding stands at a row's end, where the causal mask hides it from every real token.
        mask_UTT = mask_TT.expand(len(trunks), -1, -1)
        self.model.hidden(embeds_UTD, position_ids_UT, mask_UTT, cache=self._cache)

    def _run_rests(self, prompts: Sequence[Prompt], lengths_B: Tensor, length: int) -> Tensor:
        """Run the rests behind their trunks; the last hidden state [B, D] of each prompt."""
        ids_BT = self._padded([prompt.rest for prompt in prompts], length)
        unshared = [(row, prompt) for row, prompt in enumerate(prompts) if not prompt.trunk.size]
        spans = [(row, *span) for row, prompt in unshared for span in prompt.spans]
        embeds_BTD = self._embed(ids_BT, spans, [key for _, prompt in unshared for key in prompt.images])
        order_T = torch.arange(length, device=ids_BT.device)
        sizes_B = torch.tensor([prompt.rest.size for prompt in prompts], device=ids_BT.device)
        own_BT = order_T[None, :] < sizes_B[:, None]
        causal_TT = order_T[:, None] >= order_T[None, :]
        # A padding query sees real keys only; without any it sees the row's first token.
        trunk_BTK = self._seen_BK[:, None, :].expand(-1, length, -1)
        mask_BTK = torch.cat([trunk_BTK, causal_TT[None] & own_BT[:, None, :]], dim=2)
        # Padding stays at its row's last position: beyond it the context may end.
        position_ids_BT = lengths_B[:, None] + torch.minimum(order_T[None, :], sizes_B[:, None] - 1)
        hidden_BTD = self.model.hidden(embeds_BTD, position_ids_BT, mask_BTK, cache=self._cache)
        self._seen_BK = torch.cat([self._seen_BK, own_BT], dim=1)
        return hidden_BTD[torch.arange(len(prompts), device=ids_BT.device), sizes_B - 1]

    def _embed(self, ids_BT: Tensor, spans: list[tuple[int, int, int]], keys: list[Hashable]) -> Tensor:
        return self.model.embed(ids_BT, [self._embeds[key] for key in keys] if keys else None, spans)

    def _padded(self, rows: Sequence[IntArray], length: int) -> Tensor:
        """Rows of ids as one tensor [B, length]; padding is id 0, unless that stands for images."""
        pad = 1 if self.model.config.image_token_id == 0 else 0
        ids_BT = torch.full((len(rows), length), pad, dtype=torch.int64)
        for row, ids in enumerate(rows):
            ids_BT[row, : ids.size] = torch.from_numpy(ids)
        return ids_BT.to(self.model.device)
