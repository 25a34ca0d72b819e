"""Embeddings of pictures, kept for the next request that shows them.

Legend: T tokens of a picture, D width of the language model.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor


class FeatureCache:
    """Embeddings [T, D] by digest; the ones used longest ago go first when ``budget`` bytes are full."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.hits = 0
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, digest: bytes) -> Tensor | None:
        """The embeddings of a picture, which are then the last to go; None where they are not kept."""
        found = self._kept.get(digest)
        if found is not None:
            self._kept.move_to_end(digest)
            self.hits += 1
        return found

    def put(self, digest: bytes, embeds_TD: Tensor) -> None:
        """Keep a picture's embeddings, unless they alone are more than the budget."""
        size = _size(embeds_TD)
        if size > self.budget or digest in self._kept:
            return
        # A view would hold the memory of all that were computed with it.
        self._kept[digest] = embeds_TD.clone()
        self.bytes += size
        while self.bytes > self.budget:
            _, old = self._kept.popitem(last=False)
            self.bytes -= _size(old)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.bytes = 0


def _size(embeds_TD: Tensor) -> int:
    return embeds_TD.numel() * embeds_TD.element_size()
