"""Small samples and renderings for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pumice.types import (
    IGNORE_INDEX,
    Encoded,
    ImageSpan,
    Message,
    Origin,
    Sample,
    Text,
    text_message,
)


def sample(row: int, images: Sequence[Path] = (), source: str = "s", answer: str = "Paint.") -> Sample:
    messages = (text_message("user", "Why?", range(len(images))), Message("assistant", (Text(answer),)))
    return Sample(str(row), messages, tuple(images), source, Origin(f"{source}.json", row))


def encoded(
    length: int,
    *,
    learnt: int = 1,
    spans: Sequence[tuple[int, int]] = (),
    branches: Sequence[int] = (),
    first: int = 10,
) -> Encoded:
    """``length`` trunk tokens of which the last ``learnt`` are supervised, then branches of the
    lengths given, whose last token is supervised; ``spans`` are (start, length) of images in order."""
    branch_ids = np.array(
        [0] * length + [k for k, size in enumerate(branches, 1) for _ in range(size)], np.int64
    )
    positions = [*range(length), *(length + i for size in branches for i in range(size))]
    ids = first + np.arange(len(branch_ids), dtype=np.int64)
    labels = np.full_like(ids, IGNORE_INDEX)
    if learnt:
        labels[length - learnt : length] = ids[length - learnt : length]
    end = length
    for size in branches:
        end += size
        labels[end - 1] = ids[end - 1]
    return Encoded(
        ids,
        labels,
        np.array(positions, np.int64),
        branch_ids,
        tuple(ImageSpan(image, start, size) for image, (start, size) in enumerate(spans)),
    )
