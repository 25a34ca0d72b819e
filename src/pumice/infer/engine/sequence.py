"""One answer under way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from torch import Tensor

from pumice.infer.engine.arena import Extent
from pumice.infer.engine.prefix import alike, as_keys, common
from pumice.infer.engine.prompt import Picture, Prompt
from pumice.infer.engine.requests import Running, Usage
from pumice.infer.engine.sampler import Sampler
from pumice.infer.text import TextStream
from pumice.types import IntArray


@dataclass(eq=False)
class Sequence:
    """A prompt and what was generated behind it.

    Decoding and reading a prompt are one thing: ``ids`` are all tokens known, the keys and values of the
    first ``computed`` of them are there, and a step computes more. When none is left, the next one is drawn.
    After a preemption ``computed`` is 0 again, and nothing else changes.

    Attributes:
        running: what it belongs to.
        index: which of its answers.
        prompt: the prompt.
        limit: the most tokens that are generated.
        sampler: draws them.
        stream: makes text of them.
        ids: the prompt's and those generated.
        computed: how many of them are in ``extent``.
        cached: how many of the prompt's were copied, when it was first admitted.
        leader: the running sequence whose beginning it waits for, up to the place ``awaited``.
        features: embeddings [T, D] of the prompt's pictures that are at hand, by digest.
    """

    running: Running
    index: int
    prompt: Prompt
    limit: int
    sampler: Sampler
    stream: TextStream
    ids: list[int] = field(default_factory=list)
    extent: Extent | None = None
    cached: int | None = None
    leader: Sequence | None = None
    awaited: int = 0
    features: dict[bytes, Tensor] = field(default_factory=dict)
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    first_token: float | None = None
    image_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.ids = self.prompt.ids.tolist()

    @property
    def computed(self) -> int:
        """How many keys and values there are."""
        return 0 if self.extent is None else self.extent.filled

    @property
    def left(self) -> int:
        """How many known tokens are to be computed before the next one can be drawn."""
        return len(self.ids) - self.computed

    @property
    def generated(self) -> int:
        """How many tokens were drawn."""
        return len(self.ids) - int(self.prompt.ids.size)

    @property
    def longest(self) -> int:
        """Places that the whole answer takes at most; the last token is drawn and never computed."""
        return int(self.prompt.ids.size) + self.limit - 1

    def keys(self) -> IntArray:
        """Keys of all known tokens."""
        size = int(self.prompt.ids.size)
        return as_keys(self.prompt.keys, self.ids[size:]) if self.generated else self.prompt.keys

    def shared(self, keys: IntArray, place: int) -> int:
        """How many keys another prompt has in common with it from the beginning on (``prefix.telling``)."""
        return common(self.keys(), keys) if alike(self.prompt.keys, keys, place) else 0

    def pictures(self, start: int, stop: int) -> list[Picture]:
        """Those that have tokens between two places."""
        return [one for one in self.prompt.pictures if one.start < stop and one.start + one.length > start]

    def usage(self) -> Usage:
        """What it took so far."""
        now = time.monotonic()
        first = self.first_token
        return Usage(
            prompt_tokens=int(self.prompt.ids.size),
            cached_tokens=self.cached or 0,
            completion_tokens=self.generated,
            queue_seconds=(self.started or now) - self.submitted,
            image_seconds=self.image_seconds,
            first_token_seconds=0.0 if first is None else first - self.submitted,
            seconds=now - self.submitted,
        )
