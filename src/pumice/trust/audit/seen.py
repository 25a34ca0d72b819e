"""What all checks noticed, for their conclusions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit import kept
from pumice.trust.audit.check import Check
from pumice.trust.audit.material import Material
from pumice.trust.personal import masked
from pumice.types import Sample

Of = Literal["rows", "pictures"]
DIGESTS = "duplicate-pictures"
"""The check whose notes hold a digest of each picture's bytes."""


@dataclass(frozen=True)
class Seen:
    """The material, and the notes about it.

    Attributes:
        material: rows and pictures.
        files: of each check's name, for rows and for pictures, each chunk's first number, how many it has,
            and where its notes are.
        show_values: whether personal data is written out.
    """

    material: Material
    files: dict[tuple[str, Of], list[tuple[int, int, Path]]] = field(default_factory=dict)
    show_values: bool = False

    def quoted(self, text: str, most: int = 80) -> str:
        """Words of a row as findings quote them: without personal data, unless it is to be shown."""
        return (text if self.show_values else masked(text))[:most]

    def notes(self, check: Check | str, of: Of, only: str | None = None) -> Iterator[tuple[int, int, Any]]:
        """Each chunk's first number, how many it has, and its notes (or one of them alone)."""
        name = check if isinstance(check, str) else check.name
        for start, count, path in self.files.get((name, of), []):
            yield start, count, kept.read(path, only)

    def said(self, check: Check | str, of: Of) -> Iterator[tuple[int, Any]]:
        """Number and value of everything that was noticed, for checks that pack as ``Check`` does."""
        for start, _, notes in self.notes(check, of):
            for place, value in zip(notes["at"].tolist(), notes["said"], strict=True):
                yield start + place, value

    def column(self, check: Check | str, of: Of, name: str) -> NDArray[Any]:
        """An array that every chunk has, of all rows or pictures together; empty where there are none."""
        parts = [notes[name] for _, _, notes in self.notes(check, of, name)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def same_pictures(self) -> NDArray[np.int64]:
        """For each picture the first with the same bytes, [pictures]; itself where nobody read them."""
        own = np.arange(self.material.pictures)
        digests = self.column(DIGESTS, "pictures", "digest")
        if not len(digests):
            return own
        keys = np.ascontiguousarray(digests).view("V16").ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return np.where(digests.any(axis=1), first[inverse], own)

    def samples(self, rows: Sequence[int]) -> Iterator[tuple[int, Sample]]:
        """Rows read again, by number; each once, rising."""
        material = self.material
        starts = material.starts
        numbers = np.unique(np.asarray(rows, np.int64))
        for part, table in enumerate(material.tables):
            here = numbers[(numbers >= starts[part]) & (numbers < starts[part + 1])]
            own = material.chosen[part][here - starts[part]]
            yield from zip(here.tolist(), table.read(own.tolist()), strict=True)
