"""Several sources as one ordered list of samples.

The order here is plain (source by source, rows as in their files); shuffling is the plan's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumice.data.index import Progress, open_table
from pumice.data.samples import Samples
from pumice.data.shuffle import MIXTURE, shuffled
from pumice.data.table import SampleTable
from pumice.errors import DataError
from pumice.types import IntArray


@dataclass(frozen=True, slots=True)
class Source:
    """One data file of a mixture.

    ``limit`` keeps that many rows, chosen by the mixture's seed. ``weight`` then says how often an
    epoch sees each: 1 once, 2 twice, 0.5 a half of them, 2.5 all twice and a half once more. ``format`` is
    one of ``FORMATS``, told from the file if None. ``prompt`` is put behind every question; ``licence``
    goes into the record and does nothing else.
    """

    name: str
    file: Path | str
    image_root: Path | None = None
    weight: float = 1.0
    limit: int | None = None
    format: str | None = None
    prompt: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Mixture:
    """Samples of all sources; a plan's indices point into ``samples``, where a repeated row stands
    as often as an epoch sees it. ``tables`` are the sources' files, whole."""

    samples: Samples
    sources: tuple[Source, ...]
    tables: tuple[SampleTable, ...]

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides what a step sees: texts, pictures, boxes and their order."""
        return self.samples.fingerprint()


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What one source is and brings to an epoch: of the ``rows`` of its file ``limit`` kept some, of which an
    epoch sees ``used`` different ones; ``weight`` made ``samples`` of them, counted as often as they come.
    ``share`` is its part of all supervised tokens, 0 to 1.

    The loss is a mean over supervised tokens, so that is the source's weight in the gradient. ``sha256`` is
    the file's (of shards and folders, see ``formats.digest_of``).
    """

    source: str
    file: str
    rows: int
    kept: int
    used: int
    samples: int
    images: int
    tokens: int
    supervised_tokens: int
    share: float
    format: str
    sha256: str
    licence: str | None
    prompt: str | None


def read_mixture(
    sources: Sequence[Source],
    *,
    seed: int,
    check_files: bool = True,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
    max_errors: int = 20,
) -> Mixture:
    """Read all sources.

    Args:
        sources: at least one, each with its own name.
        seed: of the choice of rows.
        check_files: whether every picture's file must exist.
        cache_folder: where what was read is kept for the next time; None keeps nothing.
        progress: called now and then while rows are read.
        max_errors: how many bad rows of a file are listed.

    Raises:
        DataError: no source, two of one name, a weight or limit that keeps nothing, or a bad file.
    """
    if not sources:
        raise DataError("the mixture has no source", remedy="name at least one data file")
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two sources are named {name!r}", remedy="give each source its own name")
    tables = tuple(
        open_table(
            source.file,
            source.image_root,
            source.name,
            format=source.format,
            prompt=source.prompt,
            check_files=check_files,
            cache_folder=cache_folder,
            progress=progress,
            max_errors=max_errors,
        )
        for source in sources
    )
    parts = [
        (table, _weighted(len(table), source, seed, position))
        for position, (table, source) in enumerate(zip(tables, sources, strict=True))
    ]
    return Mixture(Samples(parts), tuple(sources), tables)


def summarise(mixture: Mixture, lengths: IntArray, supervised: IntArray) -> list[SourceSummary]:
    """Counts per source for one epoch; ``lengths`` and ``supervised`` are per sample, in tokens."""
    assert len(lengths) == len(supervised) == len(mixture.samples)
    total = int(supervised.sum())
    rows = []
    start = 0
    for source, (table, chosen) in zip(mixture.sources, mixture.samples.parts, strict=True):
        stop = start + len(chosen)
        learnt = int(supervised[start:stop].sum())
        rows.append(
            SourceSummary(
                source=source.name,
                file=str(source.file),
                rows=len(table),
                kept=len(table) if source.limit is None else min(source.limit, len(table)),
                used=len(np.unique(chosen)),
                samples=len(chosen),
                images=int(np.diff(table.columns.use_start)[chosen].sum()),
                tokens=int(lengths[start:stop].sum()),
                supervised_tokens=learnt,
                share=learnt / total if total else 0.0,
                format=table.head.format,
                sha256=table.head.sha256,
                licence=source.licence,
                prompt=source.prompt,
            )
        )
        start = stop
    return rows


def _weighted(count: int, source: Source, seed: int, position: int) -> IntArray:
    """Which of a file's ``count`` rows an epoch sees, int64, a repeated one as often as it comes."""
    if source.limit is not None and source.limit < 1:
        raise DataError(
            f"source {source.name!r} has limit {source.limit}", remedy="give a limit of at least 1, or none"
        )
    if not 0 < source.weight <= 1000:
        raise DataError(
            f"source {source.name!r} has weight {source.weight}", remedy="give a weight over 0 and up to 1000"
        )
    rows = np.arange(count, dtype=np.int64)
    if source.limit is not None and source.limit < count:
        rows = _chosen(rows, source.limit, (seed, MIXTURE, position, 0))
    whole = int(source.weight)
    extra = round(len(rows) * (source.weight - whole))
    result = np.concatenate([*[rows] * whole, _chosen(rows, extra, (seed, MIXTURE, position, 1))])
    if not result.size:
        raise DataError(
            f"weight {source.weight} of source {source.name!r} keeps none of its {len(rows)} rows",
            where=str(source.file),
            remedy="raise the weight, or drop the source",
        )
    return result


def _chosen(rows: IntArray, count: int, key: tuple[int, ...]) -> IntArray:
    """``count`` rows chosen by ``key``, in the order of the file."""
    return rows[np.sort(shuffled(len(rows), key)[:count])]
