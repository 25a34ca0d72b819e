"""How an answer's tokens are chosen and where it ends: settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pumice.errors import UsageError

MIN_TEMPERATURE = 1e-4
"""Below this, but for 0, scores divided by the temperature may leave float32."""
SEEDS = 2**64
"""torch's generators know this many seeds."""
MOST_LOGPROBS = 20
REPETITION = (0.01, 100.0)
"""Bounds of the repetition penalty: beyond them scores leave float32, and what is barred could be drawn."""
MOST_PENALTY = 2.0
MOST_BIAS = 100.0
"""Bounds of the OpenAI API."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn and where an answer ends.

    Scores pass in this order: what a schema allows, repetition, presence and frequency penalties, bias, then
    as in transformers temperature, top_k, top_p.

    Attributes:
        temperature: 0 takes the most likely token; scores are divided by it otherwise (1e-4 or more).
        top_k: only this many most likely tokens can be drawn; 0 is no limit.
        top_p: only the fewest most likely tokens whose probabilities reach this sum can be drawn.
        seed: of this request's own generator, 0 to 2**64 - 1; a request's draws depend on nothing else in
            its batch.
        repetition_penalty: the score of every token that stands in prompt or answer is divided by it where it
            is positive and multiplied by it where it is negative, as in transformers; 0.01 to 100, and 1
            changes nothing.
        presence_penalty: taken from the score of every token that stands in the answer, -2 to 2.
        frequency_penalty: the same for each time that it stands there, -2 to 2.
        logit_bias: (token id, number) pairs; the number, -100 to 100, is added to the token's score.
        logprobs: how many of the most likely tokens are told at each place; None tells nothing, 0 the token
            that was drawn alone.
        stop: strings that end the answer beside the template's own; not part of it.
        max_new_tokens: the answer is cut after this many.
        json_schema: the answer is JSON that obeys this schema (itself JSON text).
        ignore_end: go on behind end tokens and the template's ends, up to ``max_new_tokens``; for measuring.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 512
    json_schema: str | None = None
    ignore_end: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature must be 0 or more, got {self.temperature}", where="temperature")
        if 0 < self.temperature < MIN_TEMPERATURE:
            raise UsageError(
                f"temperature {self.temperature} is too small to divide by",
                where="temperature",
                remedy=f"give 0 for the most likely words, or {MIN_TEMPERATURE} or more",
            )
        if self.top_k < 0:
            raise UsageError(f"top_k must be 0 (no limit) or more, got {self.top_k}", where="top_k")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1, got {self.top_p}", where="top_p")
        if not 0 <= self.seed < SEEDS:
            raise UsageError(f"seed must be 0 to 2**64 - 1, got {self.seed}", where="seed")
        self._check_penalties()
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise UsageError(f"logprobs must be 0 to {MOST_LOGPROBS}, got {self.logprobs}", where="logprobs")
        if "" in self.stop:
            raise UsageError("a stop string is empty", where="stop")
        if self.max_new_tokens < 1:
            raise UsageError(
                f"max_new_tokens must be 1 or more, got {self.max_new_tokens}", where="max_new_tokens"
            )

    @property
    def changes_scores(self) -> bool:
        """Whether the most likely token may be another than the model's."""
        penalties = self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        return penalties or bool(self.logit_bias) or self.json_schema is not None

    def _check_penalties(self) -> None:
        least, most = REPETITION
        if not least <= self.repetition_penalty <= most:
            raise UsageError(
                f"repetition_penalty must be {least:g} to {most:g}, got {self.repetition_penalty}",
                where="repetition_penalty",
            )
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            if not -MOST_PENALTY <= value <= MOST_PENALTY:
                raise UsageError(f"{name} must be -2 to 2, got {value}", where=name)
        for token, bias in self.logit_bias:
            if token < 0 or not -MOST_BIAS <= bias <= MOST_BIAS:
                raise UsageError(
                    f"logit_bias must be -100 to 100 for a token id, got {bias} for {token}",
                    where="logit_bias",
                )


GREEDY = Sampling()
"""Always the most likely token."""
