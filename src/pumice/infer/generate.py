"""Answering requests that are all at hand: an engine that is stepped by the caller, without a thread.

The memory of keys and values grows with what is asked, so one question takes little and a thousand short
ones take what the rows that run at once need.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from collections.abc import Generator as Generated
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pumice.image.process import ImageProcessor
from pumice.infer.engine.engine import Engine
from pumice.infer.engine.prompt import Opened, Rendered
from pumice.infer.engine.requests import (
    Delta,
    EngineRequest,
    Event,
    Finished,
    Limits,
    PromptTooLong,
    Reason,
    Running,
    Usage,
)
from pumice.infer.pictures import ImageSource, PictureEncoder
from pumice.infer.sampling import GREEDY, Sampling
from pumice.model.vlm import VisionLanguageModel
from pumice.text.template import Template
from pumice.types import Message, text_message

CHUNK = 2048
"""Prompt tokens of one step: all answers are wanted and none is waited for."""
FEATURES_BYTES = 1 << 28
"""Of pictures' embeddings that are kept: those of a chat, or of questions in another order than pictures."""
FIRST_PLACES = 2
"""Of keys and values, before there is any request."""
AHEAD = 16
"""Requests whose pictures are opened while all rows are taken."""
ENDLESS = 1 << 62


@dataclass(frozen=True)
class Request:
    """A conversation that ends with a question.

    Attributes:
        messages: the last one is the user's.
        images: files, RGB pictures or videos, by the index that the messages use. A model that cuts
            pictures into tiles may show each of several as one square (``multi_image``).
        sampling: how tokens are drawn.
        max_new_tokens: the answer is cut after this many.
        stop: strings that end the answer beside the template's own; not part of it.
    """

    messages: tuple[Message, ...]
    images: tuple[ImageSource, ...] = ()
    sampling: Sampling = GREEDY
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer.

    Attributes:
        text: without special tokens, stop strings and the template's leading space.
        token_ids: everything that was generated, the end token included.
        finish: ``stop`` at an end token or stop string, ``length`` when cut.
        prompt_tokens: the length of the prompt, image tokens included.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int


@dataclass(slots=True)
class Ended:
    """How a streamed answer ended; filled when its last piece was read.

    Attributes:
        finish: as of ``Completion``, or ``abort`` for one that was left; None before the end.
        usage: what it took; None before the end.
    """

    finish: Reason | None = None
    usage: Usage | None = None


@dataclass(slots=True)
class _Answer:
    """One request under way."""

    place: int
    prompt_tokens: int
    text: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    end: Finished | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, Delta):
            self.text.append(event.text)
            self.ids += event.token_ids
        else:
            self.end = event

    def completion(self) -> Completion:
        """What is told of it at its end.

        Raises:
            Exception: what went wrong in computing it.
        """
        assert self.end is not None
        if self.end.error is not None:
            raise self.end.error
        assert self.end.reason in ("stop", "length")
        return Completion("".join(self.text), tuple(self.ids), self.end.reason, self.prompt_tokens)


class Generator:
    """Answers requests with one model, for the one thread that calls it.

    Args:
        model: what answers; it is not moved or changed.
        tokenizer: the model's.
        processor: the model's image processor.
        template: conversation template by name (``chat``: the tokenizer's own); the one the model was
            trained with by default.
        max_rows: the most prompts that run at once.
        cache_bytes: the most that the keys and values of all that run take; fewer prompts run at once where
            they would take more. A prompt that takes more by itself runs alone.

    Attributes:
        engine: what computes.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        tokenizer: Any,
        processor: ImageProcessor,
        template: str | None = None,
        *,
        max_rows: int = 64,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.max_rows = max_rows
        self.cache_bytes = cache_bytes
        self.engine = Engine(model, processor, tokenizer, template, limits=self._limits())

    @property
    def model(self) -> VisionLanguageModel:
        """What answers."""
        return self.engine.model

    @property
    def tokenizer(self) -> Any:
        """The model's."""
        return self.engine.tokenizer

    @property
    def template(self) -> Template:
        """What conversations are rendered by."""
        return self.engine.template

    @property
    def pictures(self) -> PictureEncoder:
        """The way with pictures; another one can be put in its place between two calls."""
        return self.engine.pictures

    @pictures.setter
    def pictures(self, pictures: PictureEncoder) -> None:
        self.engine.see_by(pictures)

    def resize(self, max_rows: int, cache_bytes: int) -> None:
        """Let go of all memory and go on with other limits, between two calls."""
        self.max_rows, self.cache_bytes = max_rows, cache_bytes
        self.engine.resize(self._limits())

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in their order.

        Requests that begin alike, pictures included, run that beginning once.

        Raises:
            DataError, TemplateError: a conversation that cannot be rendered, or a video that the model does
                not know how to see.
            ImageError: a picture or video that cannot be opened.
            PromptTooLong: a prompt that leaves no room for an answer in the model's context.
            UsageError: a bad limit.
        """
        found = dict(self.completions(requests))
        return [found[number] for number in range(len(requests))]

    def completions(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """The completions of ``generate`` as they are done, each with the place of its request.

        Leaving the iterator gives up what runs.

        Raises:
            PumiceError: as ``generate``; all but a picture's that cannot be decoded before the first one.
        """
        rendered: list[Rendered] = []
        for place, request in enumerate(requests):
            try:
                rendered.append(self.engine.prepare(_asked(request)))
            except PromptTooLong as error:
                error.place = place
                raise
        opened = Opened()
        order = iter(_neighbours(rendered))
        under_way: dict[int, tuple[Running, _Answer]] = {}
        with _given_up_at_the_end(self.engine, under_way):
            more = True
            while more or under_way:
                # Some that wait, so that a row that ends is followed at once; not all: they hold pictures.
                while more and len(under_way) < self.max_rows + AHEAD:
                    place = next(order, -1)
                    more = place >= 0
                    if more:
                        under_way[place] = self._submit(place, rendered[place], opened)
                self.engine.step()
                done = [one for _, one in under_way.values() if one.end is not None]
                for answer in done:
                    del under_way[answer.place]
                    yield answer.place, answer.completion()

    def stream(
        self,
        request: Request,
        ended: Ended | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Generated[str, None, None]:
        """The answer to one request, piece by piece; the pieces join to ``generate``'s text.

        Leaving the iterator ends the answer.

        Args:
            request: what to answer.
            ended: told how the answer ended, with its counts and times.
            stopped: asked before each step, while the prompt is read, too; True ends the answer.
        """
        running, answer = self._submit(0, self.engine.prepare(_asked(request)), None)
        given = 0
        try:
            with _given_up_at_the_end(self.engine, {0: (running, answer)}):
                while answer.end is None:
                    if stopped is not None and stopped():
                        running.abort()
                    self.engine.step()
                    piece = "".join(answer.text[given:])
                    given = len(answer.text)
                    if piece:
                        yield piece
                if answer.end.error is not None:
                    raise answer.end.error
        finally:
            if ended is not None and answer.end is not None:
                ended.finish = answer.end.reason
                ended.usage = answer.end.usage

    def answer(
        self,
        questions: Sequence[tuple[str, Sequence[ImageSource]]],
        max_new_tokens: int = 64,
        sampling: Sampling = GREEDY,
    ) -> list[str]:
        """One answer for each (text, pictures), the pictures before the text as LLaVA writes them."""
        requests = [
            Request(
                messages=(text_message("user", text, images=range(len(images))),),
                images=tuple(images),
                sampling=sampling,
                max_new_tokens=max_new_tokens,
            )
            for text, images in questions
        ]
        return [completion.text for completion in self.generate(requests)]

    def _submit(self, place: int, rendered: Rendered, opened: Opened | None) -> tuple[Running, _Answer]:
        answer = _Answer(place, int(rendered.ids.size))
        return self.engine.submit(rendered, answer.take, opened=opened), answer

    def _limits(self) -> Limits:
        return Limits(
            running=self.max_rows,
            tokens=FIRST_PLACES,
            queue=ENDLESS,
            queue_tokens=ENDLESS,
            chunk=CHUNK,
            features_bytes=FEATURES_BYTES,
            most_bytes=self.cache_bytes,
        )


@contextmanager
def _given_up_at_the_end(engine: Engine, under_way: Mapping[int, tuple[Running, _Answer]]) -> Iterator[None]:
    """What still runs when the block is left, ends: the next call finds the engine idle."""
    try:
        yield
    finally:
        for running, _ in under_way.values():
            running.abort()
        while under_way and engine.step():
            pass


def _asked(request: Request) -> EngineRequest:
    sampling = replace(
        request.sampling,
        max_new_tokens=request.max_new_tokens,
        stop=(*request.sampling.stop, *request.stop),
    )
    return EngineRequest(request.messages, images=request.images, sampling=sampling)


def _neighbours(rendered: Sequence[Rendered]) -> list[int]:
    """The places of requests, those with equal pictures and words before them together, short ones first."""
    first: dict[Hashable, int] = {}
    keys: list[tuple[int, int]] = []
    for place, one in enumerate(rendered):
        end = max((start + length for _, start, length in one.spans), default=0)
        trunk = (one.ids[:end].tobytes(), tuple(one.shown[image].key for image, _, _ in one.spans))
        keys.append((first.setdefault(trunk, place), int(one.ids.size)))
    return sorted(range(len(rendered)), key=keys.__getitem__)
