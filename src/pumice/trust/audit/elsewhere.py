"""Pictures that look to a tower like those of other data.

Legend: V pictures, F width of a whitened embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from pumice.trust.audit import alike
from pumice.trust.audit.check import Finding
from pumice.trust.audit.embeds import Views, Whitening, views
from pumice.trust.audit.seen import Seen

BLOCK = 16_384
"""One's own pictures that a chunk of the others' is held against at once."""


def looks_alike_against(
    check: str, own: Views, name: str, other: Seen, near: float, same: float
) -> Iterator[Finding]:
    """One's own pictures that are near to one of another file, each with the nearest.

    The other file's embeddings are read chunk by chunk, twice, and never all in memory.

    Args:
        check: the name of the check that tells them, and whose notes are read.
        own: one's own pictures.
        name: the other file's.
        other: what was seen of it.
        near: cosine of two embeddings, whitened, from which pictures are compared pixel by pixel.
        same: correlation of two small pictures from which they are one.
    """
    whiten = Whitening.of(chain([own.embeds_VE], (part.embeds_VE for part in views(other, check))))
    white_VF = whiten(own.embeds_VE)
    best = np.zeros(len(own.numbers), np.float32)
    theirs = np.full(len(own.numbers), -1, np.int64)
    for part in views(other, check):
        part_VF = whiten(part.embeds_VE)
        for start in range(0, len(white_VF), BLOCK):
            right, left, cosine = alike.pairs_above(part_VF, white_VF[start : start + BLOCK], near)
            left += start
            keep = (own.thumbs_VT[left] * part.thumbs_VT[right]).sum(1) >= same
            left, right, cosine = left[keep], right[keep], cosine[keep]
            order = np.argsort(cosine, kind="stable")  # of several the last one stays, the nearest
            left, right, cosine = left[order], right[order], cosine[order]
            nearer = cosine > best[left]
            best[left[nearer]] = cosine[nearer]
            theirs[left[nearer]] = part.numbers[right[nearer]]
    for place in np.flatnonzero(theirs >= 0).tolist():
        number = int(theirs[place])
        origin = other.material.origin(int(other.material.showing(number)[0]))
        yield Finding(
            check,
            "looks-alike-against",
            "warning",
            f"the tower sees it and a picture of {name} (row {origin.row}) as one",
            picture=int(own.numbers[place]),
            score=round(float(best[place]), 4),
            group=f"against {name}",
            details={
                "file": str(origin.file),
                "row": origin.row,
                "picture": str(other.material.stills[number]),
            },
        )
