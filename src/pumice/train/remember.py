"""What preparing a stage made of its samples, kept in a compact form within a budget of bytes.

Rendering a sample and laying out a picture's cells are pure functions, so what does not fit is simply
made again, and no result depends on the budget.

Shapes: T tokens, t of them outside pictures, R runs, P patches, K token slots of a cell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np

from pumice.train.grounding import NO_TOKEN, Cells
from pumice.types import IGNORE_INDEX, Encoded, ImageSpan

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ENTRY_BYTES = 240
"""What an entry takes beside its content: its key, and its place in a dictionary at its emptiest."""


class Budget:
    """Bytes that several stores share; first come, first served."""

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0

    def take(self, number: int) -> bool:
        """Whether so many bytes were left; they are taken if so."""
        if self.used + number > self.total:
            return False
        self.used += number
        return True

    @property
    def room(self) -> bool:
        """Whether there may be bytes left for one more entry."""
        return self.used + ENTRY_BYTES <= self.total

    def give(self, number: int) -> None:
        """Hand bytes back that were taken."""
        self.used -= number
        assert self.used >= 0


class Remembered(Generic[Key, Value]):
    """Values that can be made again at any time, kept while the budget lasts.

    Nothing is dropped for something newer: epochs come round in turn, and then whatever is dropped is
    just what will be needed next.

    Args:
        budget: the bytes it may take.
        pack: a value's compact form.
        unpack: its inverse, exactly.
    """

    def __init__(
        self, budget: Budget, pack: Callable[[Value], bytes], unpack: Callable[[bytes], Value]
    ) -> None:
        self.budget, self._pack, self._unpack = budget, pack, unpack
        self._kept: dict[Key, bytes] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key: the one that is kept, or a new one."""
        if (kept := self._kept.get(key)) is not None:
            return self._unpack(kept)
        value = make()
        if not self.budget.room:
            return value  # packing takes time, too
        packed = self._pack(value)
        if self.budget.take(_size(packed)):
            self._kept[key] = packed
        return value

    def forget(self) -> None:
        """Drop everything and hand its bytes back."""
        self.budget.give(sum(map(_size, self._kept.values())))
        self._kept.clear()


def _size(packed: bytes) -> int:
    return sys.getsizeof(packed) + ENTRY_BYTES


def pack_encoded(encoded: Encoded) -> bytes:
    """A rendered sample as int32: counts, its pictures' spans, runs, and the tokens outside pictures.

    A run is as many tokens as share branch and supervision, at consecutive positions. Labels follow from
    it, since a label is its token or nothing.
    """
    ids, labels, tokens = encoded.input_ids, encoded.labels, len(encoded)
    learnt = labels != IGNORE_INDEX
    assert np.array_equal(labels[learnt], ids[learnt]), "a label differs from its token"
    outside = np.ones(tokens, np.bool_)
    for span in encoded.image_spans:
        outside[span.start : span.start + span.length] = False
    image_ids = np.unique(ids[~outside])
    assert image_ids.size <= 1, "a picture's places hold several tokens"
    same = (np.diff(encoded.position_ids) == 1) & (np.diff(encoded.branch_ids) == 0)
    starts = np.flatnonzero(np.append(True, ~(same & (learnt[1:] == learnt[:-1]))))
    runs_R4 = np.stack(
        (starts, encoded.position_ids[starts], encoded.branch_ids[starts], learnt[starts]), axis=1
    )
    spans = [(span.image, span.start, span.length) for span in encoded.image_spans]
    head = (tokens, image_ids[0] if image_ids.size else 0, len(spans), len(starts))
    parts = (head, np.array(spans).reshape(-1), runs_R4.reshape(-1), ids[outside])
    return np.concatenate(parts).astype(np.int32).tobytes()


def unpack_encoded(packed: bytes) -> Encoded:
    """The rendered sample that ``pack_encoded`` was given."""
    values = np.frombuffer(packed, np.int32).astype(np.int64)
    tokens, image_id, pictures, runs = values[:4].tolist()
    spans_end = 4 + 3 * pictures
    spans = values[4:spans_end].reshape(-1, 3).tolist()
    runs_end = spans_end + 4 * runs
    starts, positions, branches, learnt = values[spans_end:runs_end].reshape(-1, 4).T
    sizes = np.diff(starts, append=tokens)
    outside = np.ones(tokens, np.bool_)
    for _, start, length in spans:
        outside[start : start + length] = False
    ids = np.full(tokens, image_id, np.int64)
    ids[outside] = values[runs_end:]
    return Encoded(
        ids,
        np.where(np.repeat(learnt, sizes) == 1, ids, IGNORE_INDEX),
        np.arange(tokens) + np.repeat(positions - starts, sizes),
        np.repeat(branches, sizes),
        tuple(ImageSpan(*span) for span in spans),
    )


def pack_cells(cells: Cells) -> bytes:
    """The cells of a picture: how many patches and slots, which are used, and where things are."""
    patches, slots = cells.words.shape
    used = int((cells.words != NO_TOKEN).any(axis=0).sum())
    assert (cells.words[:, used:] == NO_TOKEN).all(), "slots are filled from the first"
    head = np.array((patches, slots, used), np.int32)
    return b"".join(part.tobytes() for part in (head, cells.words[:, :used], cells.places))


def unpack_cells(packed: bytes) -> Cells:
    """The cells that ``pack_cells`` was given."""
    patches, slots, used = np.frombuffer(packed, np.int32, 3).tolist()
    words_PK = np.full((patches, slots), NO_TOKEN, np.int32)
    words_PK[:, :used] = np.frombuffer(packed, np.int32, patches * used, 12).reshape(patches, used)
    places_P2 = np.frombuffer(packed, np.float32, patches * 2, 12 + 4 * patches * used).reshape(patches, 2)
    return Cells(words_PK, places_P2.copy())
