"""What the server asks of whatever computes: asks in, pieces of answers out.

The server knows these types alone. ``engines`` gives them to a model's engine, tests to a script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import PIL.Image

from pumice.errors import PumiceError
from pumice.types import Message

StageName = Literal["pictures", "prompt"]
"""What is done before the first token: pictures are encoded, the prompt is read."""
Reason = Literal["stop", "length", "abort", "error"]
"""Why an answer ended: at its end or a stop string, cut by its limit, given up, or broken."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How an answer is drawn, checked for ranges where the request was read.

    Attributes:
        temperature: 0 takes the most likely token.
        top_p, top_k: which tokens can be drawn; 1 and 0 are no limit.
        repetition_penalty: scores of tokens that stood before are divided by it; 1 is none.
        presence_penalty, frequency_penalty: taken off scores of tokens in the answer, once or for each time.
        seed: the same seed and request give the same answer, whatever else runs.
        stop: strings that end the answer and are no part of it.
        max_new_tokens: the longest answer.
        logit_bias: added to scores, by token id.
        logprobs: how many likeliest tokens are told at each place; None tells nothing, 0 the chosen alone.
        shape: None, or what the answer must be: ``{"type": "json_object"}``, or
            ``{"type": "json_schema", "schema": {...}}``.
    """

    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    top_k: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    shape: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a conversation that ends with a question, or a text to go on with.

    Attributes:
        messages: the conversation; empty where there is ``prompt``.
        prompt: a text that is continued without any template; None for a conversation.
        images: RGB pictures by the index that messages use.
        settings: how answers are drawn.
        n: how many answers, each by a seed of its own.
        watch: tell the stages before the first token, too.
    """

    messages: tuple[Message, ...]
    prompt: str | None
    images: tuple[PIL.Image.Image, ...]
    settings: Settings
    n: int = 1
    watch: bool = False


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token, its logarithmic probability, and the likeliest tokens at its place with theirs."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of answer number ``index``, with the scores of its tokens where they were asked for."""

    index: int
    text: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took.

    Attributes:
        prompt_tokens: the prompt's length with the tokens that pictures fill.
        cached_tokens: how many of them were known from before.
        completion_tokens: tokens of this answer.
        queue_seconds, image_seconds, first_token_seconds: waiting, encoding pictures, and from the call to
            the first token.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    queue_seconds: float = 0.0
    image_seconds: float = 0.0
    first_token_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """Answer number ``index`` ended; nothing more of it follows.

    ``refused`` says, where the reason is ``error``, what of the request could not be carried out after all.
    """

    index: int
    reason: Reason
    usage: Usage
    refused: PumiceError | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage before the first token begins; told of answer 0 alone, for all share it."""

    index: int
    name: StageName


Event = Piece | Done | Stage


class Full(Exception):
    """No room for one more request; ``retry_after`` seconds are a good time to come back."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class TooLong(Exception):
    """A prompt that the model cannot take; the text says both numbers."""


class Unable(Exception):
    """A setting that this backend does not know; ``param`` names it."""

    def __init__(self, what: str, param: str) -> None:
        super().__init__(what)
        self.param = param


class Running(Protocol):
    """A request that was taken."""

    def abort(self) -> None:
        """Give it up; its answers end with ``abort``. Harmless when they have ended."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """What a backend is doing at this moment.

    Attributes:
        running, waiting: answers that are computed, and that wait.
        tokens_reserved, tokens_held, tokens_kept: places for keys and values in all, those of answers that
            run, and those of answers that ended, kept for prompts that begin like theirs.
        picture_cache_bytes: of the pictures' embeddings that are kept.
    """

    running: int
    waiting: int
    tokens_reserved: int = 0
    tokens_held: int = 0
    tokens_kept: int = 0
    picture_cache_bytes: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Heat:
    """Where in one picture an answer came from.

    Attributes:
        rows: the map, 0 or more, row by row; it sums to ``share``.
        share: of all that pictures did for the answer.
    """

    rows: list[list[float]]
    share: float


@dataclass(frozen=True, eq=False, slots=True)
class Looked:
    """What a model looked at for an answer, or for some words of it.

    Attributes:
        heats: one a picture.
        elsewhere: the share of what stands for no place of a picture.
        span: the characters of the answer that it is about, whole tokens.
        logprob: of these tokens.
        gain: what the pictures did for it.
        prompt_tokens, answer_tokens: of the conversation.
    """

    heats: tuple[Heat, ...]
    elsewhere: float
    span: tuple[int, int]
    logprob: float
    gain: float
    prompt_tokens: int
    answer_tokens: int


@runtime_checkable
class Looks(Protocol):
    """A backend that can say what its model looked at."""

    @property
    def takes_system(self) -> bool:
        """Whether a conversation may bring a system prompt."""
        ...

    def look(
        self, ask: Ask, answer: str, span: tuple[int, int] | None, stopped: Callable[[], bool]
    ) -> Looked | None:
        """What the model looked at, computed in the caller's thread; None where ``stopped`` ended it.

        Raises:
            TooLong, PumiceError: as they say.
        """
        ...


class Backend(Protocol):
    """A model that answers. All methods may be called from any thread."""

    def submit(self, ask: Ask, emit: Callable[[Event], None]) -> Running:
        """Take a request; ``emit`` is called from any thread with each event, until each answer is done.

        Raises:
            Full, TooLong, Unable: as they say.
            PumiceError: a conversation or setting that cannot be carried out.
        """
        ...

    def load(self) -> Load:
        """What it is doing."""
        ...

    def close(self) -> None:
        """Give up what runs and let the model go."""
        ...
