"""A model of ours as it answers tasks: pictures decoded while it works, batches as large as its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import PIL.Image
import torch

from pumice.errors import ImageError, RunError
from pumice.evaluate.answers import Said
from pumice.evaluate.pictures import grey_sight, open_sight
from pumice.evaluate.results import ModelRecord
from pumice.evaluate.samples import Picture, Sample, Stored
from pumice.infer import Generator, PromptTooLong, Request
from pumice.types import text_message

DECODERS = 4
"""Threads that decode pictures; decoders let go of the interpreter while they work."""
PIXELS = 1 << 26
"""Of one chunk's pictures, about: 200 MB, and as much of the chunk that is being made ready. The size of
pictures is known when they are decoded, so each chunk goes by those before it."""


@dataclass
class LocalAnswerer:
    """Answers greedily with one model.

    Attributes:
        model: who it is.
        load: gives the model, once, when the first question is put.
        settings: what decides its answers besides the longest one.
        rows: the most questions that are answered at once; the model's memory may allow fewer.
    """

    model: ModelRecord
    load: Callable[[], Generator]
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 64
    _generator: Generator | None = field(default=None, init=False, repr=False)

    def ready(self) -> None:
        """Load the model."""
        if self._generator is None:
            self._generator = self.load()

    def answers(
        self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
    ) -> Iterator[tuple[int, Said]]:
        """Answers batch after batch.

        A question that is longer than the model's context is not put, and its answer says so. One whose
        picture cannot be decoded is ``bad``.

        Raises:
            RunError: the memory does not do for one question.
        """
        self.ready()
        first = 0
        for chunk, pictures in _with_pictures(samples, self.rows, blind=blind):
            requests, places = [], []
            for place, (sample, shown) in enumerate(zip(chunk, pictures, strict=True), first):
                if isinstance(shown, ImageError):
                    yield place, Said("", bad=shown)
                    continue
                message = text_message("user", sample.text, images=range(len(shown)))
                requests.append(Request((message,), tuple(shown), max_new_tokens=max_new_tokens))
                places.append(place)
            for number, said in self._answer(requests):
                yield places[number], said
            first += len(chunk)

    def remarks(self, asked: int) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def _answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Said]]:
        assert self._generator is not None
        left = list(range(len(requests)))
        while left:
            done: set[int] = set()
            try:
                for number, completion in self._generator.completions([requests[p] for p in left]):
                    done.add(left[number])
                    yield left[number], Said(completion.text)
            except PromptTooLong as error:
                done.add(left[error.place])
                yield left[error.place], Said("", error.what)
            except torch.OutOfMemoryError as error:
                self._shrink(error)
            left = [place for place in left if place not in done]

    def _shrink(self, error: torch.OutOfMemoryError) -> None:
        """After a batch that was too large for the memory: half the size for all that follow."""
        assert self._generator is not None
        if self._generator.max_rows == 1:
            raise RunError(
                "the memory does not do for a single question",
                where=self.model["name"],
                remedy="free memory on the device, or measure where there is more",
            ) from error
        half = max(1, self._generator.cache_bytes // 2)
        self._generator.resize(max(1, self._generator.max_rows // 2), half)
        torch.cuda.empty_cache()


Shown = list[PIL.Image.Image] | ImageError
"""The pictures of a question, or why one of them cannot be shown."""


def _with_pictures(
    samples: Sequence[Sample], rows: int, *, blind: bool
) -> Iterator[tuple[list[Sample], list[Shown]]]:
    """Samples in chunks with their pictures; the next chunk's are decoded while one is answered.

    Equal pictures of a chunk are one object: a model then encodes them once.
    """
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
        try:
            ahead = _Chunk(pool, samples, 0, rows, blind=blind)
            while ahead.samples:
                chunk = ahead
                each = chunk.pixels() / len(chunk.samples)
                fitting = max(1, min(rows, int(PIXELS / each) if each else rows))
                ahead = _Chunk(pool, samples, chunk.end, fitting, blind=blind)
                yield chunk.samples, chunk.pictures()
        finally:
            pool.shutdown(cancel_futures=True)


class _Chunk:
    """Neighbouring samples, and their pictures as they are decoded."""

    def __init__(
        self, pool: ThreadPoolExecutor, samples: Sequence[Sample], start: int, rows: int, *, blind: bool
    ) -> None:
        self.samples: list[Sample] = list(samples[start : start + rows])
        self.end = start + len(self.samples)
        self.decoding: dict[Any, Future[PIL.Image.Image | ImageError]] = {}
        for sample in self.samples:
            for picture in sample.images:
                if _key(picture) not in self.decoding:
                    job = pool.submit(_sight, picture, blind=blind)
                    self.decoding[_key(picture)] = job

    def pixels(self) -> int:
        """Of all its pictures; waits for them."""
        seen = (job.result() for job in self.decoding.values())
        return sum(one.width * one.height for one in seen if not isinstance(one, ImageError))

    def pictures(self) -> list[Shown]:
        return [self._of(sample) for sample in self.samples]

    def _of(self, sample: Sample) -> Shown:
        shown: list[PIL.Image.Image] = []
        for picture in sample.images:
            found = self.decoding[_key(picture)].result()
            if isinstance(found, ImageError):
                return found
            shown.append(found)
        return shown


def _key(picture: Picture) -> Any:
    return ("stored", picture.name) if isinstance(picture, Stored) else picture


def _sight(picture: Picture, *, blind: bool) -> PIL.Image.Image | ImageError:
    try:
        return grey_sight(picture) if blind else open_sight(picture)
    except ImageError as error:
        return error
