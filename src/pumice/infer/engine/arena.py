"""The memory of keys and values: reserved once, handed out in stretches of places.

A stretch is contiguous, so attention reads it where it lies. Stretches grow where the next places are free
and move where they are not; free places that lie scattered are put together by moving all (``_compact``).
So what is free can always be used. A server's arena is as large as it may be from the start, so nothing is
allocated while requests run; one that serves a single job begins small and grows with it (``extend``).

Legend: T new tokens, P places, H key-value heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from pumice.errors import UsageError
from pumice.infer.engine.memory import free_bytes
from pumice.model.ragged import Ragged
from pumice.model.vlm import VisionLanguageModel


class Extent:
    """Places ``start`` to ``start + capacity`` of the arena; the first ``filled`` hold keys and values."""

    __slots__ = ("capacity", "filled", "start")

    def __init__(self, start: int, capacity: int) -> None:
        self.start = start
        self.capacity = capacity
        self.filled = 0

    @property
    def end(self) -> int:
        """The place behind the last one."""
        return self.start + self.capacity


class Arena:
    """Keys and values of one model for so many tokens.

    Args:
        model: whose; one token is run through it to learn what its layers keep.
        places: tokens.
        most_bytes: given where the arena may grow, up to so many bytes and beyond them for a single sequence.

    Raises:
        UsageError: the memory is not there; says what there is and what would fit.
    """

    def __init__(self, model: VisionLanguageModel, places: int, most_bytes: int | None = None) -> None:
        self.places = places
        self._device = model.device
        self.ragged: Ragged | None = None
        whole = not model.takes_ragged
        probe = _probed(model)
        self.token_bytes = sum(one.bytes for one in probe)
        _check_room(model.device, places, self.token_bytes)
        self._most = places if most_bytes is None else most_bytes // self.token_bytes
        self._grows = most_bytes is not None
        with torch.inference_mode():
            self._layers = [_ArenaLayer(self, one, gathers=whole) for one in probe if one.bytes]
        kept = iter(self._layers)
        self.cache = Cache(layers=[next(kept) if one.bytes else one for one in probe])
        self._taken: list[Extent] = []

    @property
    def free(self) -> int:
        """Places that no extent holds."""
        return self.places - sum(extent.capacity for extent in self._taken)

    @property
    def taken(self) -> Sequence[Extent]:
        """All extents by their place."""
        return self._taken

    def take(self, places: int, *, moves: bool = True) -> Extent | None:
        """A new extent; None where so many places are not free, or not free together and nothing may move."""
        if places > self.free:
            return None
        start = self._gap(places)
        if start is None:
            if not moves:
                return None
            start = self._compact()
        extent = Extent(start, places)
        self._insert(extent)
        return extent

    def give(self, extent: Extent) -> None:
        """Take an extent back."""
        self._taken.remove(extent)
        extent.capacity = extent.filled = 0

    def shrink(self, extent: Extent) -> None:
        """Take back what an extent has not filled."""
        extent.capacity = extent.filled
        if not extent.capacity:
            self._taken.remove(extent)

    def grow(self, extent: Extent, places: int) -> bool:
        """Make an extent hold ``places``, with what it has; False where so many are not free."""
        if places <= extent.capacity:
            return True
        if places - extent.capacity > self.free:
            return False
        number = self._taken.index(extent)
        limit = self._taken[number + 1].start if number + 1 < len(self._taken) else self.places
        if extent.start + places > limit:
            start = self._gap(places)
            if start is None:
                self._compact(last=extent)
            else:
                self._move([(extent, start)])
                self._taken.remove(extent)
                extent.capacity = places
                self._insert(extent)
        extent.capacity = places
        return True

    @torch.inference_mode()
    def extend(self, places: int, *, alone: bool = False) -> bool:
        """Make room for so many places more than are taken; False where the arena may not become so large.

        Args:
            places: wanted by one sequence, beyond what it has.
            alone: no other sequence runs that could end and make room: it gets what it needs.

        Raises:
            UsageError: the memory for one that is alone is not there.
        """
        needed = self.places - self.free + places
        if not self._grows or (needed > self._most and not alone):
            return False
        if needed > self.places:
            size = max(needed, min(2 * self.places, self._most))
            free = free_bytes(self._device)
            # The old buffers of a layer stay until the new ones are filled.
            if not alone and free is not None and size * self.token_bytes > free:
                return False
            _check_room(self._device, size - self.places, self.token_bytes)
            for layer in self._layers:
                layer.extend(size)
            self.places = size
        return True

    @torch.inference_mode()
    def copy(self, source: Extent, target: Extent, places: int) -> None:
        """Copy the first places of one extent to the beginning of another."""
        assert places <= source.filled
        assert places <= target.capacity
        for layer in self._layers:
            for buffer_HPD in (layer.keys, layer.values):
                buffer_HPD[:, target.start : target.start + places] = buffer_HPD[
                    :, source.start : source.start + places
                ]
        target.filled = places

    def _insert(self, extent: Extent) -> None:
        self._taken.append(extent)
        self._taken.sort(key=lambda one: one.start)

    def _gap(self, places: int) -> int | None:
        """Where so many free places lie together: the smallest such gap."""
        best: tuple[int, int] | None = None
        start = 0
        for extent in [*self._taken, Extent(self.places, 0)]:
            size = extent.start - start
            if size >= places and (best is None or size < best[0]):
                best = size, start
            start = extent.end
        return None if best is None else best[1]

    def _compact(self, last: Extent | None = None) -> int:
        """Move all extents to the front, ``last`` behind the others; the first free place."""
        order = [extent for extent in self._taken if extent is not last] + ([] if last is None else [last])
        moves, start = [], 0
        for extent in order:
            moves.append((extent, start))
            start += extent.capacity
        self._move(moves)
        self._taken = order
        return start

    @torch.inference_mode()
    def _move(self, moves: Sequence[tuple[Extent, int]]) -> None:
        """Give extents new starts, all at once: they may overlap."""
        moves = [(extent, start) for extent, start in moves if start != extent.start]
        if not moves:
            return
        # One copy for all: of many short stretches the calls would cost more than the bytes.
        source_P, target_P = (
            torch.cat([torch.arange(first, first + one.filled) for one, first in runs]).to(self._device)
            for runs in ([(one, one.start) for one, _ in moves], moves)
        )
        for layer in self._layers:
            for buffer_HPD in (layer.keys, layer.values):
                buffer_HPD.index_copy_(1, target_P, buffer_HPD.index_select(1, source_P))
        for extent, start in moves:
            extent.start = start


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer as transformers asks for it; positions and masks are given, so lengths say nothing."""

    def get_seq_length(self) -> int:
        return 0


class _Probe(_Layer):  # type: ignore[no-untyped-call]
    """Notes what a layer keeps of one token."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: tuple[Tensor, Tensor] | None = None

    @property
    def bytes(self) -> int:
        """Of one token; 0 where the layer keeps nothing (it shares another's)."""
        return 0 if self.shapes is None else sum(one.numel() * one.element_size() for one in self.shapes)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.shapes = key_states, value_states
        return key_states, value_states


@torch.inference_mode()
def _probed(model: VisionLanguageModel) -> list[_Probe]:
    """What each layer keeps of one token, which is run through the model."""
    probe = [_Probe() for _ in range(int(model.lm.config.num_hidden_layers))]
    zero_11 = torch.zeros(1, 1, dtype=torch.int64, device=model.device)
    seen_111 = torch.ones(1, 1, 1, dtype=torch.bool, device=model.device)
    embeds_11D = model.lm.get_input_embeddings()(zero_11)
    model.hidden(embeds_11D, zero_11, seen_111, cache=Cache(layers=list(probe)))
    return probe


def token_bytes(model: VisionLanguageModel) -> int:
    """Bytes of keys and values of one token, all layers together."""
    return sum(one.bytes for one in _probed(model))


class _ArenaLayer(_Layer):  # type: ignore[no-untyped-call]
    """One layer's keys and values [H, P, D], written at the places of the arena's row."""

    keys: Tensor
    values: Tensor

    def __init__(self, arena: Arena, probe: _Probe, *, gathers: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        assert probe.shapes is not None
        self._arena = arena
        self._gathers = gathers
        self.keys, self.values = (
            like.new_zeros(like.shape[1], arena.places, like.shape[3]) for like in probe.shapes
        )

    def extend(self, places: int) -> None:
        """Make room for more places, behind those there are."""
        for name in ("keys", "values"):
            old_HPD: Tensor = getattr(self, name)
            new_HPD = old_HPD.new_zeros(old_HPD.shape[0], places, old_HPD.shape[2])
            new_HPD[:, : old_HPD.shape[1]] = old_HPD
            setattr(self, name, new_HPD)

    def memory(self) -> tuple[Tensor, Tensor] | None:
        """The whole memory, for layers that write and read it themselves; None where copies are taken."""
        return None if self._gathers else (self.keys, self.values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values [1, H, T, D]; the whole memory, or copies of the sequences' places."""
        ragged = self._arena.ragged
        assert ragged is not None
        self.keys.index_copy_(1, ragged.places(), key_states[0])
        self.values.index_copy_(1, ragged.places(), value_states[0])
        if self._gathers:
            places_K = ragged.all_places()
            return self.keys[None, :, places_K], self.values[None, :, places_K]
        return self.keys[None], self.values[None]


def _check_room(device: torch.device, places: int, token_bytes: int) -> None:
    free = free_bytes(device)
    needed = places * token_bytes
    if free is None or needed <= free:
        return
    raise UsageError(
        f"keys and values of {places} tokens take {needed / 2**30:.1f} GiB ({token_bytes / 2**10:.0f} KiB "
        f"each), and {free / 2**30:.1f} GiB are free on {device.type}",
        where="tokens",
        remedy=f"reserve at most {int(free * 0.9) // token_bytes} tokens, or load weights in fewer bits",
    )
