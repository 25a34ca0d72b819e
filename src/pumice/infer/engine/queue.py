"""What waits: how much was let in and has not started, and when to ask again where that is too much."""

from __future__ import annotations

import time

from pumice.infer.engine.requests import EngineFull, Limits

LONGEST_RETRY = 60.0
"""Seconds; what a full engine advises at most."""


class Queue:
    """Counts answers from the moment they are let in until they start or end; its owner's lock guards it.

    Attributes:
        answers: that wait.
        tokens: of their prompts.
    """

    def __init__(self) -> None:
        self.answers = self.tokens = 0
        self._pace = 1.0  # seconds between two ends of answers, a running mean
        self._last_end: float | None = None

    def enter(self, answers: int, tokens: int, limits: Limits, running: int) -> None:
        """Let answers in; ``running`` others are computed.

        What can start at once does not count as waiting, and one request may always enter an empty queue.

        Raises:
            EngineFull: too much waits already.
        """
        free = max(0, limits.running - running)
        many = self.answers + answers > limits.queue + free
        long = self.tokens + tokens > limits.queue_tokens and self.answers
        if many or long:
            error = EngineFull(
                f"{self.answers} answers with {self.tokens} prompt tokens wait already",
                where=f"limits: {limits.queue} answers, {limits.queue_tokens} tokens",
                remedy="ask again later",
            )
            error.retry_after = min(LONGEST_RETRY, max(1.0, self._pace * self.answers))
            raise error
        self.answers += answers
        self.tokens += tokens

    def leave(self, answers: int, tokens: int) -> None:
        """They wait no more."""
        self.answers -= answers
        self.tokens -= tokens

    def ended(self) -> None:
        """An answer ended now, by whatever reason."""
        now = time.monotonic()
        if self._last_end is not None:
            self._pace = 0.8 * self._pace + 0.2 * (now - self._last_end)
        self._last_end = now
