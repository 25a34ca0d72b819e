"""Everything that could fail in a run, looked at before its first step.

Every image's header is checked (or every image decoded), every sample is rendered and counted, and all
that is wrong is reported at once. Image results are remembered by path, file size and modification time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumice.data.lengths import Lengths
from pumice.data.problems import Problems, place
from pumice.data.samples import distinct, pictures_of, take
from pumice.errors import DataError, ImageError, PumiceError
from pumice.files import write_text
from pumice.image.decode import MAX_PIXELS, check_size, image_size, open_image
from pumice.types import Encoded, ImageRef, IntArray, Picture, Sample

Size = tuple[int, int]
"""Width and height in pixels, upright."""
Progress = Callable[[str, int, int], None]
"""Told what is being checked ("images" or "samples"), how many are done and of how many."""
Encode = Callable[[Sample, Sequence[Size]], Encoded]
"""Renders a sample, given the sizes of its images in order."""

CACHE_FILE = "images.json"
CACHE_VERSION = 1
_EVERY = 64
"""How many items pass between two calls of ``Progress``."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found: the size of every image, and per sample (int64 [samples]) its tokens and how many
    of them are supervised. ``cached`` images were known from an earlier check and not opened again."""

    sizes: dict[Picture, Size]
    lengths: IntArray
    supervised: IntArray
    cached: int


def preflight(
    samples: Sequence[Sample],
    encode: Encode,
    *,
    decode: bool = False,
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
    max_pixels: int = MAX_PIXELS,
    cache_folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    max_errors: int = 20,
) -> tuple[dict[Picture, Size], int]:
    """The size of every image of ``samples``, and how many came from the cache.

    Raises:
        DataError: images that cannot be used; each is named with the first row that shows it.
    """
    first = pictures_of(samples)
    cache = _Cache(cache_folder)
    problems = Problems(max_errors)

    def check(path: Picture) -> tuple[Picture, Size | ImageError, bool]:
        where = str(first[path])
        try:
            known = cache.get(path, decode)
            if known is not None:
                check_size(known, path, max_pixels=max_pixels, where=where)
                return path, known, True
            if decode:
                return path, open_image(path, max_pixels=max_pixels, where=where).size, False
            return path, image_size(path, max_pixels=max_pixels, where=where), False
        except ImageError as error:
            return path, error, False

    sizes: dict[Picture, Size] = {}
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


def count_tokens(
    samples: Sequence[Sample],
    encode: Encode,
    sizes: dict[Picture, Size],
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


def _counted(sample: Sample, encode: Encode, sizes: dict[Picture, Size]) -> tuple[int, int]:
    encoded = encode(sample, [sizes[path] for path in sample.images])
    if encoded.supervised == 0:
        raise DataError(
            "no token of the sample is supervised: it would teach nothing",
            where=str(sample.origin),
            remedy="check its answers and the template, or remove the row",
        )
    return len(encoded), encoded.supervised


def _mapped(
    check: Callable[[Picture], tuple[Picture, Size | ImageError, bool]], paths: list[Picture], workers: int
) -> Iterator[tuple[Picture, Size | ImageError, bool]]:
    """``check`` over all paths in order, in threads where more than one worker is asked for."""
    if workers <= 1:
        yield from map(check, paths)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(check, paths)


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None and (done % _EVERY == 0 or done == total):
        progress(what, done, total)


class _Cache:
    """Sizes of images that were found good: path -> [bytes, mtime in ns, width, height, decoded]."""

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / CACHE_FILE
        self.entries: dict[str, list[int]] = {}
        self.changed = False
        if self.file is not None and self.file.is_file():
            self.entries = self._read(self.file)

    @staticmethod
    def _read(file: Path) -> dict[str, list[int]]:
        """The entries, or none where the file is damaged: then all images are simply looked at again."""
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(data, dict) or data.get("version") != CACHE_VERSION:
            return {}
        images = data.get("images")
        if not isinstance(images, dict):
            return {}
        return {key: entry for key, entry in images.items() if _is_entry(entry)}

    def get(self, path: Picture, decode: bool) -> Size | None:
        """The size, if the file is the one that was checked, as thoroughly as asked now."""
        if self.file is None:
            return None
        entry = self.entries.get(_name(path))
        if entry is None or entry[:2] != _stamp(path) or (decode and not entry[4]):
            return None
        return entry[2], entry[3]

    def put(self, path: Picture, size: Size, decode: bool) -> None:
        if self.file is None:
            return
        self.entries[_name(path)] = [*_stamp(path), *size, int(decode)]
        self.changed = True

    def save(self) -> None:
        """Write what was learnt; the file appears whole or not at all.

        Where it cannot be written, the next check opens the images again: no reason to refuse a run.
        """
        if self.file is None or not self.changed:
            return
        text = json.dumps({"version": CACHE_VERSION, "images": self.entries}, separators=(",", ":"))
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, text, shared=True)  # by runs that start at the same time


def _name(picture: Picture) -> str:
    if isinstance(picture, ImageRef):
        return f"{os.path.abspath(picture.file)}@{picture.offset}+{picture.length}"
    return os.path.abspath(picture)


def _stamp(picture: Picture) -> list[int]:
    path = picture.file if isinstance(picture, ImageRef) else picture
    try:
        status = path.stat()
    except (OSError, ValueError):
        return [-1, -1]  # no entry has this; opening the image then says what is wrong
    return [status.st_size, status.st_mtime_ns]


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 5 and all(type(number) is int for number in entry)
