"""Several sources as one ordered list of samples.

The order here is plain (source by source, rows as in their files); shuffling is the plan's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pumice.data.index import Progress, open_table
from pumice.data.licensing import LicenceCount, count_licences
from pumice.data.problems import Refusals
from pumice.data.samples import Samples
from pumice.data.shuffle import MIXTURE, shuffled
from pumice.data.table import SampleTable
from pumice.errors import DataError
from pumice.types import IntArray, Rights


@dataclass(frozen=True, slots=True)
class Source:
    """One data file of a mixture.

    ``limit`` keeps that many rows, chosen by the mixture's seed. ``weight`` then says how often an
    epoch sees each: 1 once, 2 twice, 0.5 a half of them, 2.5 all twice and a half once more. ``format`` is
    one of ``FORMATS``, told from the file if None. ``prompt`` is put behind every question; ``licence``,
    ``attribution`` and ``url`` are those of rows that do not say theirs. ``allow_bad`` rows may be bad:
    they are left out and listed.
    """

    name: str
    file: Path | str
    image_root: Path | None = None
    weight: float = 1.0
    limit: int | None = None
    format: str | None = None
    prompt: str | None = None
    licence: str | None = None
    allow_bad: int = 0
    attribution: str | None = None
    url: str | None = None

    @property
    def rights(self) -> Rights:
        """What it says for rows that do not say it themselves."""
        return Rights(self.licence or "", self.attribution or "", self.url or "")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Samples of all sources; a plan's indices point into ``samples``, where a repeated row stands
    as often as an epoch sees it. ``tables`` are the sources' files, whole."""

    samples: Samples
    sources: tuple[Source, ...]
    tables: tuple[SampleTable, ...]

    def without(self, places: IntArray) -> Mixture:
        """The same but for the samples at some places, int64 [any]."""
        return replace(self, samples=self.samples.without(places)) if places.size else self

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides what a step sees: texts, pictures, boxes and their order."""
        return self.samples.fingerprint()


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What one source is and brings to an epoch: of the ``rows`` of its file ``limit`` kept some, of which an
    epoch sees ``used`` different ones; ``weight`` made ``samples`` of them, counted as often as they come.
    ``share`` is its part of all supervised tokens, 0 to 1.

    The loss is a mean over supervised tokens, so that is the source's weight in the gradient. ``sha256`` is
    the file's (of shards and folders, see ``formats.digest_of``). ``refused`` rows were left out since they
    cannot be used, of ``allow_bad`` that may be; ``rows`` counts them too. It counts no ``erased`` ones
    (``data.tombstones``). ``licences`` count those of the rows used; ``licence``, ``attribution`` and ``url``
    are what the source says for rows that say nothing.
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
    refused: int = 0
    allow_bad: int = 0
    licences: list[LicenceCount] = field(default_factory=list)
    attribution: str | None = None
    url: str | None = None
    erased: int = 0


def read_mixture(
    sources: Sequence[Source],
    *,
    seed: int,
    check_files: bool = True,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
    max_errors: int = 20,
    refusals: Refusals | None = None,
) -> Mixture:
    """Read all sources.

    Args:
        sources: at least one, each with its own name.
        seed: of the choice of rows.
        check_files: whether every picture's file must exist.
        cache_folder: where what was read is kept for the next time; None keeps nothing.
        progress: called now and then while rows are read.
        max_errors: how many bad rows of a file are listed.
        refusals: takes the rows that are left out, and says how many may be; None lets none pass.

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
            given=source.rights,
            check_files=check_files,
            cache_folder=cache_folder,
            progress=progress,
            max_errors=max_errors,
            allow_bad=_allowed(source, refusals),
        )
        for source in sources
    )
    parts = []
    for position, (table, source) in enumerate(zip(tables, sources, strict=True)):
        usable = np.delete(np.arange(len(table), dtype=np.int64), table.left_out)
        parts.append((table, usable[_weighted(len(usable), source, seed, position)]))
        if refusals is not None:
            for refusal in table.refused:
                refusals.add(refusal)
    return Mixture(Samples(parts), tuple(sources), tables)


def _allowed(source: Source, refusals: Refusals | None) -> int | None:
    if refusals is None:
        return 0
    return None if refusals.unlimited else source.allow_bad


def summarise(
    mixture: Mixture, lengths: IntArray, supervised: IntArray, refusals: Refusals | None = None
) -> list[SourceSummary]:
    """Counts per source for one epoch; ``lengths`` and ``supervised`` are per sample, in tokens.

    ``refusals`` are those of the mixture, if it has any.
    """
    assert len(lengths) == len(supervised) == len(mixture.samples)
    total = int(supervised.sum())
    rows = []
    start = 0
    for source, (table, chosen) in zip(mixture.sources, mixture.samples.parts, strict=True):
        stop = start + len(chosen)
        learnt = int(supervised[start:stop].sum())
        refused = 0 if refusals is None else refusals.count(source.name)
        pool = len(table) - len(table.left_out)
        rows.append(
            SourceSummary(
                source=source.name,
                file=str(source.file),
                rows=len(table) + len(table.head.unreadable),
                kept=min(source.limit or pool, pool) - (refused - len(table.refused) if refused else 0),
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
                refused=refused,
                allow_bad=source.allow_bad,
                licences=count_licences(table, chosen),
                attribution=source.attribution,
                url=source.url,
                erased=table.head.erased,
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
