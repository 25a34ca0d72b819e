"""Everything that could fail in a run, looked at before its first step.

Every image's header is checked (or every image decoded), every video's frames are counted (or decoded),
every sample is rendered and counted, and all that is wrong is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pumice.data.counting import Encode, Progress, count_tokens, tell
from pumice.data.extents import Extents
from pumice.data.problems import Problems, Refusal, Refusals
from pumice.data.samples import images_at, pictures_of
from pumice.errors import ImageError, PumiceError
from pumice.image.decode import MAX_PIXELS, check_size, image_size, open_image
from pumice.image.settings import VideoSettings
from pumice.image.video import Extent, VideoInfo, check_frames, video_info
from pumice.types import IntArray, Picture, Sample, Video


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found: the size of every image, the frames of every video, and per sample (int64 [samples])
    its tokens, how many of them are supervised and how many are images'. ``cached`` images were known from an
    earlier check and not opened again. ``refused`` are the places of samples that cannot be used, [any];
    their counts are 0."""

    sizes: Mapping[Picture, Extent]
    lengths: IntArray
    supervised: IntArray
    image_tokens: IntArray
    cached: int
    refused: IntArray

    def usable(self) -> Preflight:
        """The same without the samples that cannot be used."""
        if not self.refused.size:
            return self
        arrays = (self.lengths, self.supervised, self.image_tokens)
        lengths, supervised, image_tokens = (np.delete(array, self.refused) for array in arrays)
        return replace(
            self,
            lengths=lengths,
            supervised=supervised,
            image_tokens=image_tokens,
            refused=np.zeros(0, np.int64),
        )


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
    processes: int = 1,
    progress: Progress | None = None,
    max_errors: int = 20,
    max_positions: int | None = None,
    refusals: Refusals | None = None,
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
        processes: that render (see ``count_tokens``).
        progress: called now and then, and at the end of each part.
        max_errors: how many errors are listed; all are counted.
        max_positions: what the language model was made for (``max_position_embeddings``).
        refusals: takes the rows that cannot be used, as many as it allows; None allows none. Samples are then
            those of tables (``Samples``).

    Raises:
        DataError: an image or a sample cannot be used, or a sample has no supervised token, and that is not
            allowed.
    """
    bad: dict[Picture, PumiceError] = {}
    sizes, cached = check_images(
        samples,
        decode=decode,
        video=video,
        max_pixels=max_pixels,
        cache_folder=cache_folder,
        workers=workers,
        progress=progress,
        max_errors=max_errors,
        bad=None if refusals is None else bad,
    )
    blind = _shows(samples, bad)
    if refusals is not None:
        for index, picture in blind.items():
            _refuse(samples, index, bad[picture], refusals)
        refusals.check("images cannot be used")
    counts = count_tokens(
        samples,
        encode,
        sizes,
        cache_folder=cache_folder,
        settings=settings,
        processes=processes,
        progress=progress,
        max_errors=max_errors,
        max_positions=max_positions,
        refusals=refusals,
        skip=np.fromiter(blind, np.int64, len(blind)),
    )
    refused = np.flatnonzero(counts.lengths == 0)
    return Preflight(sizes, counts.lengths, counts.supervised, counts.image_tokens, cached, refused)


def _shows(samples: Sequence[Sample], bad: Mapping[Picture, PumiceError]) -> dict[int, Picture]:
    """The places of samples that show a picture that cannot be used, and the first such picture of each."""
    if not bad:
        return {}
    found = {}
    for index in range(len(samples)):
        picture = next((each for each in images_at(samples, index) if each in bad), None)
        if picture is not None:
            found[index] = picture
    return found


def _refuse(samples: Sequence[Sample], index: int, error: PumiceError, refusals: Refusals) -> None:
    """Note the row of one sample; the error may name another row that shows the same picture."""
    sample = samples[index]
    own = ImageError(error.what, where=str(sample.origin), remedy=error.remedy)
    refusals.add(Refusal.of(own, sample.source, sample.id), own)


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
    bad: dict[Picture, PumiceError] | None = None,
) -> tuple[dict[Picture, Extent], int]:
    """The size of every image of ``samples``, the frames of every video, and how many came from the cache.

    ``bad`` takes the images that cannot be used, and they have no size then; without it they are an error.

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
            if bad is None:
                problems.add(result)
            else:
                bad[path] = result
        else:
            sizes[path] = result
            cached += hit
            if not hit:
                cache.put(path, result, decode)
        tell(progress, "images", done, len(first))
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


def _mapped(
    check: Callable[[Picture], tuple[Picture, Extent | ImageError, bool]], paths: list[Picture], workers: int
) -> Iterator[tuple[Picture, Extent | ImageError, bool]]:
    """``check`` over all paths in order, in threads where more than one worker is asked for."""
    if workers <= 1:
        yield from map(check, paths)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(check, paths)
