"""What an engine is doing and has done."""

from __future__ import annotations

from dataclasses import dataclass, field

from pumice.infer.engine.requests import Reason


@dataclass(slots=True)
class Totals:
    """What an engine has done since it was made; it only grows."""

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    images_encoded: int = 0
    images_found: int = 0
    preemptions: int = 0
    finished: dict[Reason, int] = field(
        default_factory=lambda: {"stop": 0, "length": 0, "abort": 0, "error": 0}
    )


@dataclass(frozen=True, slots=True)
class Stats:
    """One moment of an engine.

    Attributes:
        running: answers that are computed.
        waiting: answers in the queue, and the tokens of their prompts.
        places: reserved for keys and values; how many answers hold, and how many are kept for prompts that
            begin alike, to be given up when needed.
        place_bytes: of one place.
        features: pictures whose embeddings are kept, and their bytes.
        totals: since the start.
    """

    running: int
    waiting: int
    waiting_tokens: int
    places: int
    places_held: int
    places_kept: int
    place_bytes: int
    features: int
    features_bytes: int
    totals: Totals
