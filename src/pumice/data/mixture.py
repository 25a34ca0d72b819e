"""Several sources as one ordered list of samples.

The order here is plain (source by source, rows as in their files); shuffling is the plan's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumice.data.llava_json import read_samples
from pumice.data.shuffle import MIXTURE, shuffled
from pumice.errors import DataError
from pumice.types import IntArray, Sample


@dataclass(frozen=True, slots=True)
class Source:
    """One data file of a mixture.

    ``limit`` keeps that many rows, chosen by the mixture's seed. ``weight`` then says how often an
    epoch sees each: 1 once, 2 twice, 0.5 a half of them, 2.5 all twice and a half once more.
    """

    name: str
    file: Path
    image_root: Path | None = None
    weight: float = 1.0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Mixture:
    """Samples of all sources; a plan's indices point into ``samples``, where a repeated row stands
    as often as an epoch sees it. ``rows`` counts those of each source's file."""

    samples: tuple[Sample, ...]
    sources: tuple[Source, ...]
    rows: tuple[int, ...]

    def fingerprint(self) -> str:
        """SHA-256 over everything that decides what a step sees: texts, images, boxes and their order."""
        digest = hashlib.sha256()
        known: dict[int, bytes] = {}  # repeated rows are one object
        for sample in self.samples:
            key = id(sample)
            if key not in known:
                content = (
                    sample.source,
                    sample.id,
                    sample.messages,
                    tuple(map(str, sample.images)),
                    sample.regions,
                )
                known[key] = hashlib.sha256(repr(content).encode()).digest()
            digest.update(known[key])
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What one source brings to an epoch: of the ``rows`` of its file ``limit`` kept some, and ``weight``
    made ``samples`` of them. ``share`` is its part of all supervised tokens, 0 to 1.

    The loss is a mean over supervised tokens, so this is the source's weight in the gradient.
    """

    source: str
    file: str
    rows: int
    kept: int
    samples: int
    images: int
    tokens: int
    supervised_tokens: int
    share: float


def read_mixture(sources: Sequence[Source], *, seed: int, max_errors: int = 20) -> Mixture:
    """Read all sources.

    Raises:
        DataError: no source, two of one name, a weight or limit that keeps nothing, or a bad file.
    """
    if not sources:
        raise DataError("the mixture has no source", remedy="name at least one data file")
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two sources are named {name!r}", remedy="give each source its own name")
    samples: list[Sample] = []
    counts: list[int] = []
    for position, source in enumerate(sources):
        rows = read_samples(source.file, source.image_root, source.name, max_errors=max_errors)
        counts.append(len(rows))
        samples += _weighted(rows, source, seed, position)
    return Mixture(tuple(samples), tuple(sources), tuple(counts))


def summarise(mixture: Mixture, lengths: IntArray, supervised: IntArray) -> list[SourceSummary]:
    """Counts per source for one epoch; ``lengths`` and ``supervised`` are per sample, in tokens."""
    assert len(lengths) == len(supervised) == len(mixture.samples)
    total = int(supervised.sum())
    members: dict[str, list[int]] = {source.name: [] for source in mixture.sources}
    for index, sample in enumerate(mixture.samples):
        members[sample.source].append(index)
    rows = []
    for source, in_file in zip(mixture.sources, mixture.rows, strict=True):
        indices = members[source.name]
        learnt = int(supervised[indices].sum())
        rows.append(
            SourceSummary(
                source=source.name,
                file=str(source.file),
                rows=in_file,
                kept=in_file if source.limit is None else min(source.limit, in_file),
                samples=len(indices),
                images=sum(len(mixture.samples[index].images) for index in indices),
                tokens=int(lengths[indices].sum()),
                supervised_tokens=learnt,
                share=learnt / total if total else 0.0,
            )
        )
    return rows


def _weighted(rows: list[Sample], source: Source, seed: int, position: int) -> list[Sample]:
    if source.limit is not None and source.limit < 1:
        raise DataError(
            f"source {source.name!r} has limit {source.limit}", remedy="give a limit of at least 1, or none"
        )
    if not 0 < source.weight <= 1000:
        raise DataError(
            f"source {source.name!r} has weight {source.weight}", remedy="give a weight over 0 and up to 1000"
        )
    if source.limit is not None and source.limit < len(rows):
        rows = _chosen(rows, source.limit, (seed, MIXTURE, position, 0))
    whole = int(source.weight)
    extra = round(len(rows) * (source.weight - whole))
    result = rows * whole + _chosen(rows, extra, (seed, MIXTURE, position, 1))
    if not result:
        raise DataError(
            f"weight {source.weight} of source {source.name!r} keeps none of its {len(rows)} rows",
            where=str(source.file),
            remedy="raise the weight, or drop the source",
        )
    return result


def _chosen(rows: list[Sample], count: int, key: tuple[int, ...]) -> list[Sample]:
    """``count`` rows chosen by ``key``, in the order of the file."""
    return [rows[index] for index in sorted(shuffled(len(rows), key)[:count].tolist())]
