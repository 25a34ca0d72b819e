"""A key-value cache that is written in place, and whose rows can be copied or dropped.

Legend: B rows, H key-value heads, K places, D width of a head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class ReservedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values in buffers with room at the end, so that a step copies nothing old.

    A full buffer is replaced by one of twice its length. All places are kept even where the model
    attends in a sliding window: the mask hides them.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self.length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values [B, H, n, D] at the end; views [B, H, K, D] of all so far."""
        end = self.length + key_states.shape[2]
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.capacity = max(end, self.capacity)
            self.keys = _longer(key_states[:, :, :0], self.capacity)
            self.values = _longer(value_states[:, :, :0], self.capacity)
            self.is_initialized = True
        assert self.keys is not None
        assert self.values is not None
        if end > self.capacity:
            self.capacity = max(end, 2 * self.capacity)
            self.keys = _longer(self.keys[:, :, : self.length], self.capacity)
            self.values = _longer(self.values[:, :, : self.length], self.capacity)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """How many places are filled."""
        return self.length

    def rows(self, rows_B: Tensor, capacity: int) -> ReservedLayer:
        """A layer whose row b is a copy of this one's row ``rows_B[b]``."""
        taken = ReservedLayer(capacity)
        if self.keys is not None and self.values is not None:
            taken.update(self.keys[:, :, : self.length][rows_B], self.values[:, :, : self.length][rows_B])
        return taken


def reserved_cache(layers: int, capacity: int) -> Cache:
    """An empty cache of ``layers`` layers with room for ``capacity`` tokens a row."""
    return Cache(layers=[ReservedLayer(capacity) for _ in range(layers)])


def take_rows(cache: Cache, rows_B: Tensor, capacity: int) -> Cache:
    """A new cache whose row b is row ``rows_B[b]`` of the old one, with room for ``capacity`` tokens."""
    layers: list[Any] = []
    for layer in cache.layers:
        assert isinstance(layer, ReservedLayer)
        layers.append(layer.rows(rows_B, capacity))
    return Cache(layers=layers)


def _longer(old_BHKD: Tensor, capacity: int) -> Tensor:
    """An uninitialised buffer of ``capacity`` places that begins with the given ones."""
    rows, heads, filled, width = old_BHKD.shape
    buffer = old_BHKD.new_empty(rows, heads, capacity, width)
    buffer[:, :, :filled] = old_BHKD
    return buffer
