"""What a tower noticed of pictures, chunk by chunk, and the map that makes all its directions equally wide.

Legend: V pictures, E width of an embedding, F directions that are left, T pixels of a small picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit import alike
from pumice.trust.audit.seen import Seen

BLOCK = 8192
"""Embeddings that are made wide together."""
LEAST = 1e-6
"""The share of the widest direction's variance from which another says something."""
EACH, FEW = 4, 8
"""Pictures that there must be for each direction, and how many directions there may always be. Of as many
pictures as directions each is as far from its own copy as from any other."""


@dataclass(frozen=True)
class Views:
    """Pictures that could be read: their ``numbers`` [V], ``embeds_VE`` and ``thumbs_VT`` at length 1."""

    numbers: NDArray[np.int64]
    embeds_VE: NDArray[np.float32] = field(repr=False)
    thumbs_VT: NDArray[np.float32] = field(repr=False)


def views(seen: Seen, check: str) -> Iterator[Views]:
    """What a check noticed as ``there``, ``embed`` and ``thumb``, of each chunk with a picture in it."""
    for start, _, notes in seen.notes(check, "pictures"):
        there = np.asarray(notes["there"], np.bool_)
        if there.any():
            thumbs = alike.unit(notes["thumb"][there].astype(np.float32))
            yield Views(start + np.flatnonzero(there), notes["embed"][there], thumbs)


def all_views(seen: Seen, check: str) -> Views | None:
    """All of them together; None where there are none."""
    parts = list(views(seen, check))
    if not parts:
        return None
    return Views(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.embeds_VE for part in parts]),
        np.concatenate([part.thumbs_VT for part in parts]),
    )


@dataclass(frozen=True)
class Whitening:
    """Takes the mean out and makes all directions equally wide; those that say nothing are gone.

    Attributes:
        mean_E: float64.
        turn_EF: float64, directions over their deviations.
    """

    mean_E: NDArray[np.float64] = field(repr=False)
    turn_EF: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, parts: Iterable[NDArray[np.float32]]) -> Whitening:
        """That of embeddings which come in parts, at least one; no more than a block is in memory twice."""
        count, total, products = 0, np.zeros(0), np.zeros((0, 0))
        for part in parts:
            for start in range(0, len(part), BLOCK):
                some = part[start : start + BLOCK].astype(np.float64)
                if not count:
                    total, products = np.zeros(some.shape[1]), np.zeros((some.shape[1],) * 2)
                count += len(some)
                total += some.sum(0)
                products += some.T @ some
        mean = total / max(1, count)
        values, vectors = np.linalg.eigh(products / max(1, count) - np.outer(mean, mean))
        # Where all embeddings are one, what is left is rounding: of vectors at length 1 some 1e-16.
        keep = values > max(values[-1] * LEAST, 1e-13)
        keep[: max(0, len(keep) - max(FEW, count // EACH))] = False
        return cls(mean, vectors[:, keep] / np.sqrt(values[keep]))

    def wide(self, embeds_VE: NDArray[np.float32]) -> NDArray[np.float32]:
        """The embeddings in these directions, each of variance 1; float32 [V, F]."""
        found = np.zeros((len(embeds_VE), self.turn_EF.shape[1]), np.float32)
        for start in range(0, len(found), BLOCK):
            some = embeds_VE[start : start + BLOCK] - self.mean_E
            found[start : start + BLOCK] = some @ self.turn_EF
        return found

    def __call__(self, embeds_VE: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same at length 1."""
        return alike.unit(self.wide(embeds_VE))
