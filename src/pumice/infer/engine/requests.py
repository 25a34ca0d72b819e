"""What goes into the engine and what comes out: requests, limits, pieces of answers, their ends."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pumice.errors import PumiceError, UsageError
from pumice.infer.pictures import ImageSource
from pumice.infer.sampling import GREEDY, Sampling
from pumice.types import Message

_LOG = logging.getLogger(__name__)

Reason = Literal["stop", "length", "abort", "error"]

Stage = Literal["pictures", "prompt"]
"""What is done for a request before its first token: its pictures are encoded, its prompt is read."""


class PromptTooLong(UsageError):
    """A prompt that leaves no room for an answer.

    Attributes:
        tokens: of the prompt, those of its pictures included.
        limit: what the model's context or the reserved memory holds.
        place: of the request among those given at once.
    """

    tokens: int = 0
    limit: int = 0
    place: int = 0


class EngineFull(PumiceError):
    """The queue holds all that it may.

    Attributes:
        retry_after: seconds after which there is probably room.
    """

    retry_after: float = 1.0


class EngineClosed(PumiceError):
    """The engine takes no more requests."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine may use; all of it is counted in tokens and requests, and pictures are tokens.

    Attributes:
        running: answers that are computed at once (each of ``n`` counts).
        tokens: places for keys and values, reserved at the start.
        queue: answers that may wait.
        queue_tokens: tokens of the prompts that may wait.
        chunk: the most prompt tokens of one step, so that answers under way wait no longer than this takes.
        features_bytes: of the pictures' embeddings that are kept for the next request that shows them.
        most_bytes: where given, the memory of keys and values is not reserved: it begins with ``tokens``
            places and grows with what is asked, up to so many bytes, and beyond them for an answer that is
            alone.
    """

    running: int = 16
    tokens: int = 16384
    queue: int = 128
    queue_tokens: int = 1 << 18
    chunk: int = 512
    features_bytes: int = 1 << 28
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("running", 1), ("tokens", 2), ("queue", 1), ("queue_tokens", 1), ("chunk", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, got {getattr(self, name)}", where=name)
        if self.features_bytes < 0:
            raise UsageError(
                f"features_bytes must be 0 or more, got {self.features_bytes}", where="features_bytes"
            )


@dataclass(frozen=True)
class EngineRequest:
    """One prompt and how to answer it.

    Attributes:
        messages: a conversation whose last message is the user's; rendered by the engine's template.
        prompt: plain text in its place, which no template touches; pictures stand before it.
        images: files, pictures or videos, by the index that the messages use.
        sampling: how tokens are drawn and where an answer ends.
        n: answers to the same prompt, which is computed once; answer i draws with the seed plus i.
    """

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    images: tuple[ImageSource, ...] = ()
    sampling: Sampling = GREEDY
    n: int = 1

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise UsageError("a request has either messages or a prompt", where="messages")
        if self.n < 1:
            raise UsageError(f"n must be 1 or more, got {self.n}", where="n")


@dataclass(frozen=True, slots=True)
class Likely:
    """A token and the natural logarithm of its probability by the model, before any setting of
    ``Sampling``."""

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The token that was drawn, and the most likely ones at its place, most likely first."""

    chosen: Likely
    top: tuple[Likely, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """More of one answer.

    Attributes:
        index: which of the ``n`` answers.
        text: what has become certain; "" while a character or a stop string is open.
        token_ids: the new ids, an end token included.
        logprobs: one for each new id where they were asked for, else empty.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer took.

    Attributes:
        prompt_tokens: of the prompt, those of its pictures included.
        cached_tokens: of these, the ones whose keys and values were there already.
        completion_tokens: that were generated, an end token included.
        queue_seconds: from submitting to the first work on it.
        image_seconds: of encoding its pictures; 0 where their embeddings were kept.
        first_token_seconds: from submitting to the first token; 0 without one.
        seconds: from submitting to the end.
    """

    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_seconds: float = 0.0
    image_seconds: float = 0.0
    first_token_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of one answer.

    Attributes:
        index: which of the ``n`` answers.
        reason: ``stop`` at an end token or stop string, ``length`` when cut, ``abort``, ``error``.
        usage: what it took.
        error: what went wrong; None otherwise.
    """

    index: int
    reason: Reason
    usage: Usage
    error: BaseException | None = None


Event = Delta | Finished


class Running:
    """A submitted request.

    Its events come in order: for each answer pieces, then one ``Finished``. They are put on a queue that
    ``events`` reads, or given to the function that ``submit`` was called with, from the engine's thread.

    Attributes:
        id: counts up from 0.
        n: how many answers there will be.
        prompt_tokens: those of its pictures included.
    """

    def __init__(
        self,
        number: int,
        n: int,
        prompt_tokens: int,
        wake: Callable[[], None],
        sink: Callable[[Event], None] | None = None,
        watch: Callable[[Stage], None] | None = None,
    ) -> None:
        self.id = number
        self.n = n
        self.prompt_tokens = prompt_tokens
        self._wake = wake
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._sink = sink or self._events.put
        self._watch = watch
        self._stage: Stage | None = None
        self._aborted = threading.Event()

    @property
    def aborted(self) -> bool:
        """Whether ``abort`` was called."""
        return self._aborted.is_set()

    def abort(self) -> None:
        """End all answers before the next step; each gets its ``Finished``. Any thread may call this."""
        self.drop()
        self._wake()

    def drop(self) -> None:
        """Mark it as aborted; the engine calls this where it is awake already."""
        self._aborted.set()

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """All events up to the last answer's ``Finished``.

        Args:
            timeout: the longest wait for one, in seconds.

        Raises:
            queue.Empty: none came in time.
        """
        left = self.n
        while left:
            event = self._events.get(timeout=timeout)
            left -= isinstance(event, Finished)
            yield event

    def reach(self, stage: Stage) -> None:
        """Tell who watches that this begins; the engine calls this. None is told twice in a row."""
        if self._watch is None or stage == self._stage:
            return
        self._stage = stage
        try:
            self._watch(stage)
        except Exception:
            _LOG.warning("the watcher of request %d failed; it is told no more", self.id, exc_info=True)
            self._watch = None

    def put(self, event: Event) -> None:
        """Hand an event out; the engine calls this. A reader that fails has given up."""
        try:
            self._sink(event)
        except Exception:
            _LOG.warning("the reader of request %d failed; the request is aborted", self.id, exc_info=True)
            self.drop()
