"""Everything that could fail in a run, looked at before its first step.

Every image's header is checked (or every image decoded), every video's frames are counted (or decoded),
every sample is rendered and counted, and all that is wrong is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumice.data.extents import Extents
from pumice.data.lengths import Lengths
from pumice.data.problems import Problems, place
from pumice.data.samples import distinct, pictures_of, take
from pumice.errors import DataError, ImageError, PumiceError
from pumice.image.decode import MAX_PIXELS, check_size, image_size, open_image
from pumice.image.settings import VideoSettings
from pumice.image.video import Extent, VideoInfo, check_frames, video_info
from pumice.types import Encoded, IntArray, Picture, Sample, Video

Progress = Callable[[str, int, int], None]
"""Told what is being checked ("images" or "samples"), how many are done and of how many."""
Encode = Callable[[Sample, Sequence[Extent]], Encoded]
"""Renders a sample, given the sizes of its images and the frames of its videos, in order."""

_EVERY = 64
"""How many items pass between two calls of ``Progress``."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found: the size of every image, the frames of every video, and per sample (int64 [samples])
    its tokens and how many of them are supervised. ``cached`` images were known from an earlier check and
    not opened again."""

    sizes: dict[Picture, Extent]
    lengths: IntArray
    supervised: IntArray
    cached: int


def preflight(
    samples: Sequence[Sample],
    encode: Encode,
    *,
    decode: bool = False,
    video: VideoSettings | None = None,
    max_pixels: int = MAX_PIXELS,
    cache_folder: Path | None = None,
    settings: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    max_errors: int = 20,
) -> Preflight:
    """Check and count a data set.

    Args:
        samples: the samples in mixture order; one that is repeated is rendered once.
        encode: the renderer.
        decode: decode every image rather than read its header, which finds truncated files.
        video: with ``decode``, of a video the frames that these settings take; None decodes all.
        max_pixels: the largest width x height accepted.
        cache_folder: where results are kept between runs; None keeps none.
        settings: stands for all that ``encode`` depends on; None counts tokens anew each time.
        workers: threads that open images.
        progress: called now and then, and at the end of each part.
        max_errors: how many errors are listed; all are counted.

    Raises:
        DataError: any image or sample cannot be used, or a sample has no supervised token.
    """
    sizes, cached = check_images(
        samples,
        decode=decode,
        video=video,
        max_pixels=max_pixels,
        cache_folder=cache_folder,
        workers=workers,
        progress=progress,
        max_errors=max_errors,
    )
    lengths, supervised = count_tokens(
        samples,
        encode,
        sizes,
        cache_folder=cache_folder,
        settings=settings,
        progress=progress,
        max_errors=max_errors,
    )
    return Preflight(sizes, lengths, supervised, cached)


def check_images(
    samples: Sequence[Sample],
    *,
    decode: bool = False,
    video: VideoSettings | None = None,
    max_pixels: int = MAX_PIXELS,
    cache_folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    max_errors: int = 20,
) -> tuple[dict[Picture, Extent], int]:
    """The size of every image of ``samples``, the frames of every video, and how many came from the cache.

    Raises:
        DataError: images that cannot be used; each is named with the first row that shows it.
    """
    first = pictures_of(samples)
    cache = Extents(cache_folder, video)
    problems = Problems(max_errors)

    def check(path: Picture) -> tuple[Picture, Extent | ImageError, bool]:
        where = str(first[path])
        try:
            known = cache.get(path, decode)
            if known is None:
                return path, _looked_at(path, decode, video, max_pixels, where), False
            if not isinstance(known, VideoInfo) and not isinstance(path, Video):
                check_size(known, path, max_pixels=max_pixels, where=where)
            return path, known, True
        except ImageError as error:
            return path, error, False

    sizes: dict[Picture, Extent] = {}
    cached = 0
    for done, (path, result, hit) in enumerate(_mapped(check, list(first), workers), start=1):
        if isinstance(result, ImageError):
            problems.add(result)
        else:
            sizes[path] = result
            cached += hit
            if not hit:
                cache.put(path, result, decode)
        _tell(progress, "images", done, len(first))
    cache.save()
    problems.raise_if_any("images cannot be used")
    return sizes, cached


def _looked_at(
    path: Picture, decode: bool, video: VideoSettings | None, max_pixels: int, where: str
) -> Extent:
    """A picture's size or a video's frames, from the file; ImageError where it cannot be used."""
    if isinstance(path, Video):
        info = video_info(path.path, max_pixels=max_pixels, where=where)
        if decode:
            check_frames(info, video, max_pixels=max_pixels, where=where)
        return info
    if decode:
        return open_image(path, max_pixels=max_pixels, where=where).size
    return image_size(path, max_pixels=max_pixels, where=where)


def count_tokens(
    samples: Sequence[Sample],
    encode: Encode,
    sizes: dict[Picture, Extent],
    *,
    cache_folder: Path | None = None,
    settings: str | None = None,
    progress: Progress | None = None,
    max_errors: int = 20,
) -> tuple[IntArray, IntArray]:
    """Tokens and supervised tokens of every sample, exactly, by rendering it: int64 [samples] each.

    With ``cache_folder`` and ``settings`` (see ``preflight``) the counts of samples that come from tables
    are kept, and the same samples are not rendered again.

    Raises:
        DataError: samples that do not render, or that no token of is supervised.
    """
    kept = Lengths(cache_folder, samples, settings, sizes.values())
    known = kept.read()
    if known is not None:
        return known
    problems = Problems(max_errors)
    first, which = distinct(samples)
    counts = np.zeros((len(first), 2), np.int64)
    for number, sample in enumerate(take(samples, first)):
        try:
            counts[number] = _counted(sample, encode, sizes)
        except PumiceError as error:
            place(error, sample.origin)
            problems.add(error)
        _tell(progress, "samples", number + 1, len(first))
    problems.raise_if_any("samples cannot be used")
    lengths, supervised = counts[which, 0], counts[which, 1]
    kept.write(lengths, supervised)
    return lengths, supervised


def _counted(sample: Sample, encode: Encode, sizes: dict[Picture, Extent]) -> tuple[int, int]:
    encoded = encode(sample, [sizes[path] for path in sample.images])
    if encoded.supervised == 0:
        raise DataError(
            "no token of the sample is supervised: it would teach nothing",
            where=str(sample.origin),
            remedy="check its answers and the template, or remove the row",
        )
    return len(encoded), encoded.supervised


def _mapped(
    check: Callable[[Picture], tuple[Picture, Extent | ImageError, bool]], paths: list[Picture], workers: int
) -> Iterator[tuple[Picture, Extent | ImageError, bool]]:
    """``check`` over all paths in order, in threads where more than one worker is asked for."""
    if workers <= 1:
        yield from map(check, paths)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(check, paths)


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None and (done % _EVERY == 0 or done == total):
        progress(what, done, total)
