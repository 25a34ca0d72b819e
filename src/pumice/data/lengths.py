"""How many tokens each sample has, kept on disk: rendering a large mixture takes minutes."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pumice.data.extents import numbers
from pumice.data.samples import Samples
from pumice.files import replacing
from pumice.image.video import Extent
from pumice.types import IntArray

LENGTHS = "lengths"
"""The folder below a cache."""
VERSION = 2
_NAMES = ("lengths", "supervised", "image_tokens")


class Lengths:
    """The counts of some samples under some settings, in a file of their own.

    Args:
        folder: the cache; None keeps nothing.
        samples: whose counts; only those of tables are kept, since their content is known without reading it.
        settings: stands for all that decides how they are rendered: tokenizer, template, renderer, limits.
            None keeps nothing.
        extents: width and height of every picture, frames of every video, in the order of the samples.
        skip: places of samples that are not counted, int64 [any].
    """

    def __init__(
        self,
        folder: Path | None,
        samples: object,
        settings: str | None,
        extents: Iterable[Extent],
        skip: IntArray,
    ) -> None:
        self.file: Path | None = None
        if folder is not None and settings is not None and isinstance(samples, Samples):
            shapes = numbers(list(extents))
            said = (str(VERSION), samples.fingerprint(), settings)
            parts = (*(text.encode() for text in said), shapes, skip.astype("<i8").tobytes())
            digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
            self.file = folder / LENGTHS / f"{digest[:32]}.npz"
            self.count = len(samples)

    def read(self) -> IntArray | None:
        """Tokens, supervised tokens and images' tokens of every sample, int64 [3, samples], if kept.

        They are 0 where a sample could not be used.
        """
        if self.file is None:
            return None
        try:
            with self.file.open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
                counts = np.stack([kept[name] for name in _NAMES])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return counts if counts.shape == (len(_NAMES), self.count) else None

    def write(self, lengths: IntArray, supervised: IntArray, image_tokens: IntArray) -> None:
        """Keep them; where that cannot be done the next run counts anew."""
        if self.file is None:
            return
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.file, shared=True) as partial, partial.open("wb") as handle:
                np.savez(handle, lengths=lengths, supervised=supervised, image_tokens=image_tokens)
