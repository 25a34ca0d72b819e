"""The load of a published run, from the sizes that its authors tell."""

from __future__ import annotations

import math
from typing import Protocol

from pumice.cost.shape import Load


class PublishedSizes(Protocol):
    """What is told of a stage (``recipes.Published``)."""

    @property
    def samples(self) -> int:
        """Samples of one epoch."""
        ...

    @property
    def images(self) -> int:
        """Pictures of one epoch."""
        ...

    @property
    def text_tokens(self) -> float:
        """Tokens of a sample beside those of its pictures, padding included."""
        ...


def published_load(
    told: PublishedSizes,
    *,
    image_tokens: float,
    epochs: int,
    batch: int,
    row: int,
    tiles: float = 1,
) -> Load:
    """The load of a stage as the published code runs it: one sample a row, logits at every place.

    Args:
        told: the published sizes.
        image_tokens: tokens that one picture fills.
        epochs: how often every sample is seen.
        batch: samples of one step.
        row: the most tokens of a row.
        tiles: inputs of the tower for one picture.
    """
    share = told.images / told.samples
    length = min(told.text_tokens + share * image_tokens, float(row))
    seen = told.samples * epochs
    tokens = seen * length
    return Load(
        steps=math.ceil(told.samples / batch) * epochs,
        tokens=tokens,
        squares=tokens * length,
        logits=tokens,
        images=told.images * epochs * tiles,
        image_tokens=told.images * epochs * image_tokens,
        row=row,
        rows=batch,
        images_per_step=batch * tiles,
        logits_per_row=float(row),
    )
