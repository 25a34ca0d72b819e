"""From the samples of a step to one padded batch.

Shape legend: B = rows, T = tokens of the longest row (rounded up), all arrays int64 [B, T].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pumice.errors import DataError
from pumice.types import IGNORE_INDEX, Batch, Encoded, PackedImage, Sample

MULTIPLE = 8
"""Rows of free length are padded to a multiple of this: matrix kernels are fastest there."""

LONE_ROW = 512
LONE_MULTIPLE = 32
"""A lone row of at least so many tokens is padded to this instead. Rows of samples laid end to end have any
length, and a processor's matrix library keeps code for every length it has seen: about 1.6 MB for a matrix of
a layer (oneDNN in torch 2.13)."""

Row = Sequence[tuple[int, Encoded, Sample]]
"""The samples of one row in packing order: dataset index, rendered conversation, its sample."""

_RENDERER = "the renderer that made this sample is at fault: check the template"


def collate(rows: Sequence[Row], row_length: int | None, pad_id: int) -> Batch:
    """Lay rows of samples into one batch.

    Args:
        rows: at least one row, each with at least one sample.
        row_length: T; None rounds the longest row up to a multiple of ``MULTIPLE``, a long row that stands
            alone to one of ``LONE_MULTIPLE``.
        pad_id: the token id of padding. Padding has label ``IGNORE_INDEX``, segment 0, position 0, branch 0.

    Returns:
        The batch; ``images`` are ordered by row and then by place, as features are laid into the tokens.

    Raises:
        DataError: a row longer than ``row_length``, arrays of unequal length, image spans that do not
            match the sample's images, or a supervised token that no token precedes.
    """
    assert rows, "a batch holds at least one row"
    assert all(rows), "a row holds at least one sample"
    lengths = [sum(len(encoded) for _, encoded, _ in row) for row in rows]
    longest = max(lengths)
    multiple = LONE_MULTIPLE if len(rows) == 1 and longest >= LONE_ROW else MULTIPLE
    width = -(-longest // multiple) * multiple if row_length is None else row_length
    if longest > width:
        worst = lengths.index(longest)
        raise DataError(
            f"row {worst} has {longest} tokens, a row holds {width}",
            where="; ".join(str(sample.origin) for _, _, sample in rows[worst]),
            remedy="make the plan again with the current data and row length",
        )
    shape = (len(rows), width)
    ids_BT = np.full(shape, pad_id, np.int64)
    labels_BT = np.full(shape, IGNORE_INDEX, np.int64)
    positions_BT, segments_BT, branches_BT = (np.zeros(shape, np.int64) for _ in range(3))
    images: list[PackedImage] = []
    for b, row in enumerate(rows):
        start = 0
        for segment, (index, encoded, sample) in enumerate(row, start=1):
            _check(encoded, sample)
            cut = slice(start, start + len(encoded))
            ids_BT[b, cut] = encoded.input_ids
            labels_BT[b, cut] = encoded.labels
            positions_BT[b, cut] = encoded.position_ids
            segments_BT[b, cut] = segment
            branches_BT[b, cut] = encoded.branch_ids
            for span in sorted(encoded.image_spans, key=lambda span: span.start):
                path = sample.images[span.image]
                images.append(PackedImage(path, b, start + span.start, span.length, index))
            start += len(encoded)
    samples = tuple(index for row in rows for index, _, _ in row)
    return Batch(ids_BT, labels_BT, positions_BT, segments_BT, branches_BT, tuple(images), samples)


def _check(encoded: Encoded, sample: Sample) -> None:
    """Refuse a rendered sample whose parts do not agree with one another."""
    where, tokens = str(sample.origin), len(encoded)
    parts = {
        "labels": encoded.labels,
        "position_ids": encoded.position_ids,
        "branch_ids": encoded.branch_ids,
    }
    for name, array in parts.items():
        if array.shape != (tokens,):
            what = f"{name} has shape {array.shape} for {tokens} tokens"
            raise DataError(what, where=where, remedy=_RENDERER)
    if tokens == 0:
        raise DataError("the sample has no tokens", where=where, remedy="remove the row")
    learnt = encoded.labels != IGNORE_INDEX
    if not np.array_equal(encoded.labels[learnt], encoded.input_ids[learnt]):
        raise DataError(
            "a label differs from its token (labels are not shifted)", where=where, remedy=_RENDERER
        )
    _check_spans(encoded, sample, learnt)
    # What predicts a token is the one before it in its branch, and for a branch's first the trunk's last.
    branches = encoded.branch_ids
    alone = np.zeros(tokens, np.bool_)
    alone[0] = True
    if branches[0] != 0:  # there is no trunk: each branch begins by itself
        alone[1:] = branches[1:] != branches[:-1]
    if (alone & learnt).any():
        place = int(np.flatnonzero(alone & learnt)[0])
        raise DataError(
            f"token {place} is supervised but begins its sample or branch: nothing predicts it",
            where=where,
            remedy="begin with a question or a beginning-of-text token",
        )


def _check_spans(encoded: Encoded, sample: Sample, learnt: NDArray[np.bool_]) -> None:
    where = str(sample.origin)
    spans = sorted(encoded.image_spans, key=lambda span: span.start)
    if sorted(span.image for span in spans) != list(range(len(sample.images))):
        raise DataError(
            f"{len(spans)} image spans ({[span.image for span in spans]}) for {len(sample.images)} images",
            where=where,
            remedy="images that were cut off with the end of a conversation must leave the sample, too",
        )
    end = 0
    for span in spans:
        if span.length < 1 or span.start < end or span.start + span.length > len(encoded):
            raise DataError(
                f"image {span.image} fills {span.length} tokens from {span.start} of {len(encoded)}; "
                f"the span before it ends at {end}",
                where=where,
                remedy=_RENDERER,
            )
        end = span.start + span.length
        if learnt[span.start : end].any():
            what = f"image {span.image} has supervised tokens"
            raise DataError(what, where=where, remedy=_RENDERER)
