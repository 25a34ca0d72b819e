"""Counting tokens: every sample rendered once, in this process or, of many samples, in several.

Samples are read where they are rendered, so what travels between processes is places and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumice.data.lengths import Lengths
from pumice.data.problems import Problems, Refusal, Refusals, place
from pumice.data.rows import collector_paused
from pumice.data.samples import Samples, distinct, take
from pumice.errors import DataError, PumiceError
from pumice.image.video import Extent
from pumice.processes import runner
from pumice.types import Encoded, IntArray, Picture, Sample

Progress = Callable[[str, int, int], None]
"""Told what is being checked ("images" or "samples"), how many are done and of how many."""
Encode = Callable[[Sample, Sequence[Extent]], Encoded]
"""Renders a sample, given the sizes of its images and the frames of its videos, in order."""

MANY = 20_000
"""Fewer samples are not worth the seconds in which other processes start."""
CHUNK = 500
"""Samples that one piece of work renders."""
_EVERY = 64
"""How many items pass between two calls of ``Progress``."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of every sample, supervised ones and images', int64 [samples] each; 0 where it was refused."""

    lengths: IntArray
    supervised: IntArray
    image_tokens: IntArray


def count_tokens(
    samples: Sequence[Sample],
    encode: Encode,
    sizes: Mapping[Picture, Extent],
    *,
    cache_folder: Path | None = None,
    settings: str | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    max_errors: int = 20,
    max_positions: int | None = None,
    refusals: Refusals | None = None,
    skip: IntArray | None = None,
) -> Counts:
    """Tokens of every sample, exactly, by rendering it.

    With ``cache_folder`` and ``settings`` (see ``preflight``) the counts of samples that come from tables
    are kept, and the same samples are not rendered again, but for those that were refused.

    Args:
        samples: in mixture order.
        encode: the renderer.
        sizes: of every image.
        cache_folder: where counts are kept between runs.
        settings: stands for all that ``encode`` depends on.
        processes: in which many samples are rendered; ``encode`` must be able to travel to them, and what
            it remembers stays there.
        progress: called now and then.
        max_errors: how many errors are listed.
        max_positions: the most that a position may be.
        refusals: takes the rows that cannot be used, as many as it allows; None allows none.
        skip: places of samples that are not looked at, int64 [any]: their images cannot be used.

    Raises:
        DataError: samples that do not render, or that no token of is supervised, and that is not allowed.
    """
    skip = np.zeros(0, np.int64) if skip is None else skip
    settings = None if settings is None else f"{settings} {max_positions}"
    kept = Lengths(cache_folder, samples, settings, sizes.values(), skip)
    first, which = distinct(samples)
    known = kept.read()
    counts = np.zeros((len(first), 3), np.int64) if known is None else known[:, first].T.copy()
    todo = np.setdiff1d(np.flatnonzero(counts[:, 0] == 0), which[skip])
    problems = Problems(max_errors)
    work = _Work(samples, encode, sizes, max_positions)
    several = processes if isinstance(samples, Samples) and len(todo) >= MANY else 1
    done = 0
    for found, errors in _rendered(work, first[todo], several):
        counts[todo[done : done + len(found)]] = found
        done += len(found)
        for error, source, identity in errors:
            problems.add(error)
            if refusals is not None:
                refusals.add(Refusal.of(error, source, identity), error)
        if progress is not None:
            progress("samples", done, len(todo))
    lengths, supervised, image_tokens = counts[which].T
    if known is None:
        kept.write(lengths, supervised, image_tokens)  # bad ones are 0: the next time only they are rendered
    if refusals is None:
        problems.raise_if_any("samples cannot be used")
    else:
        refusals.check("samples cannot be used")
    return Counts(lengths, supervised, image_tokens)


_Found = tuple[IntArray, list[tuple[PumiceError, str, str]]]
"""Counts of some samples, int64 [samples, 3], and errors with the samples' sources and ids."""


@dataclass(frozen=True, slots=True)
class _Work:
    """All that is needed to count a sample by its place."""

    samples: Sequence[Sample]
    encode: Encode
    sizes: Mapping[Picture, Extent]
    max_positions: int | None

    def count(self, places: IntArray) -> _Found:
        """Count the samples at some places, int64 [any] that rise."""
        counts = np.zeros((len(places), 3), np.int64)
        errors = []
        with collector_paused():  # conversations hold no cycles, and there are many
            for number, sample in enumerate(take(self.samples, places)):
                try:
                    counts[number] = _counted(sample, self.encode, self.sizes, self.max_positions)
                except PumiceError as error:
                    place(error, sample.origin)
                    errors.append((error, sample.source, sample.id))
        return counts, errors


def _rendered(work: _Work, places: IntArray, processes: int) -> Iterator[_Found]:
    """Counts of samples at some places, chunk by chunk in order."""
    if processes == 1:
        for start in range(0, len(places), _EVERY):
            yield work.count(places[start : start + _EVERY])
        return
    chunks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
    with runner(processes, _prepare, (work,)) as mapped:
        yield from mapped(_count, chunks)


_work: _Work | None = None
"""Of a process that counts for another."""


def _prepare(work: _Work) -> None:
    global _work
    _work = work


def _count(places: IntArray) -> _Found:
    assert _work is not None
    return _work.count(places)


def _counted(
    sample: Sample, encode: Encode, sizes: Mapping[Picture, Extent], max_positions: int | None
) -> tuple[int, int, int]:
    encoded = encode(sample, [sizes[path] for path in sample.images])
    if encoded.supervised == 0:
        raise DataError(
            "no token of the sample is supervised: it would teach nothing",
            where=str(sample.origin),
            remedy="check its answers and the template, or remove the row",
        )
    if max_positions is not None and len(encoded) > max_positions:
        longest = int(encoded.position_ids.max()) + 1  # of branches it is less than the tokens
        if longest > max_positions:
            raise DataError(
                f"the sample has {longest} positions, the language model's context "
                f"(max_position_embeddings) is {max_positions}",
                where=str(sample.origin),
                remedy="split the conversation, remove the row, or choose another language model",
            )
    return len(encoded), encoded.supervised, sum(span.length for span in encoded.image_spans)


def tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    """Call ``progress`` now and then, and at the end."""
    if progress is not None and (done % _EVERY == 0 or done == total):
        progress(what, done, total)
