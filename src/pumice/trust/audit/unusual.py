"""Pictures that lie far from all others among a tower's embeddings: a list to look at, not a verdict.

How far a picture lies is its mean distance to its nearest others, all directions weighed alike. What is far
makes the directions that it lies in wide, and hides itself so: widths are those of the pictures that lie
nearer the middle. Logarithms of distances are judged by their median and their median deviation from it,
which a few far ones cannot move.

Legend: V pictures, E width of an embedding, F of a whitened one, R references.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit.check import Finding
from pumice.trust.audit.embeds import Whitening

NEIGHBOURS = 10
REFERENCES = 20_000
"""Pictures among which neighbours are looked for; of more some are drawn."""
KEPT = 0.9
"""The share of pictures, those nearest the middle, that say how wide directions are."""
FAR = 4.0
"""Deviations above the median from which a picture is unusual."""
MOST = 0.02
"""The largest share of all pictures that is told."""
FEWEST = 50
"""Pictures that there must be."""
BLOCK = 2048
NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def unusual(check: str, numbers: NDArray[np.int64], embeds_VE: NDArray[np.float32]) -> Iterator[Finding]:
    """Those that are far beyond what the others have, the most unusual first.

    Args:
        check: the name of the check that tells them.
        numbers: the pictures' in the audit, [V].
        embeds_VE: their embeddings.
    """
    if len(numbers) < FEWEST:
        return
    lengths = np.linalg.norm(Whitening.of([embeds_VE]).wide(embeds_VE), axis=1)
    middle = np.sort(np.argsort(lengths, kind="stable")[: int(len(lengths) * KEPT)])
    far = deviations(distances(Whitening.of([embeds_VE[middle]]).wide(embeds_VE)))
    order = np.argsort(-far, kind="stable")[: max(1, int(len(far) * MOST))]
    for place in order[far[order] >= FAR].tolist():
        yield Finding(
            check,
            "unusual",
            "note",
            "the tower sees little here that is like it: to its nearest others it is "
            f"{far[place]:.1f} deviations farther than is usual",
            picture=int(numbers[place]),
            score=round(float(far[place]), 2),
        )


def distances(white_VF: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each row's mean distance to its nearest others, of all or of ``REFERENCES`` drawn ones; float64 [V]."""
    rng = np.random.default_rng(0)
    among_R = np.sort(rng.permutation(len(white_VF))[:REFERENCES])
    references_RF = white_VF[among_R]
    squares_V = (white_VF * white_VF).sum(1)
    seat = np.full(len(white_VF), -1)
    seat[among_R] = np.arange(len(among_R))
    count = min(NEIGHBOURS, len(among_R) - 1)
    found = np.zeros(len(white_VF))
    for start in range(0, len(white_VF), BLOCK):
        part = slice(start, start + BLOCK)
        squared = white_VF[part] @ references_RF.T
        squared *= -2
        squared += squares_V[part, None] + squares_V[among_R]
        drawn = np.flatnonzero(seat[part] >= 0)
        squared[drawn, seat[part][drawn]] = np.inf
        nearest = np.partition(squared, count - 1, axis=1)[:, :count]
        found[part] = np.sqrt(np.maximum(nearest, 0)).mean(1)
    return found


def deviations(distances_V: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each one's logarithm lies above the median; all 0 where more than half are the same."""
    logs = np.log(np.maximum(distances_V, 1e-6))
    above: NDArray[np.float64] = logs - np.median(logs)
    spread = float(np.median(np.abs(above))) * NORMAL
    return above / spread if spread > 1e-9 else np.zeros_like(above)
