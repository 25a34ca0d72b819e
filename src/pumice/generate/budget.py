"""What a sitting may cost and how fast it may ask: counted before anything is sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request
from pumice.errors import RunError

TOKENS_PER_BYTE = 0.25
"""Of English prompts, about; replaced by what a server counts."""
MOST_PER_BYTE = 0.5
"""More than any server was seen to count for such prompts, until it has told."""


class BudgetSpent(RunError):
    """The next request could cost more than what is left."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits, each None where there is none, and prices.

    Attributes:
        max_cost: of all replies in the folder, those of earlier sittings too, in the money of the prices.
        max_requests: replies in the folder and calls of this sitting, repeated ones counted.
        price_in: of a million tokens that are sent.
        price_out: of a million tokens that come back.
        per_minute: calls a minute.
        tokens_per_minute: tokens a minute, sent and received.
    """

    max_cost: float | None = None
    max_requests: int | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    per_minute: float | None = None
    tokens_per_minute: float | None = None

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def part(self, parts: int) -> Budget:
        """What each of so many shards may take, so that all together stay within these limits."""
        return Budget(
            None if self.max_cost is None else self.max_cost / parts,
            None if self.max_requests is None else self.max_requests // parts,
            self.price_in,
            self.price_out,
            None if self.per_minute is None else self.per_minute / parts,
            None if self.tokens_per_minute is None else self.tokens_per_minute / parts,
        )


class Meter:
    """Counts what is sent, and says no before a limit is passed.

    A request is allowed only if it, and all that are on their way, fit into the budget at their worst:
    prompts by the most tokens a byte that the server has counted so far, and replies at their longest.

    Args:
        budget: the limits.
        before: replies that are there.
        tokens: of these, by name.
        clock: seconds; for tests.
        wait: waits seconds; for tests.
    """

    def __init__(
        self,
        budget: Budget,
        before: int = 0,
        tokens: Counter[str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.budget = budget
        self.before = before
        self.sent = 0
        self.answered = 0
        self.tokens: Counter[str] = Counter(tokens or {})
        self._clock, self._wait = clock, wait
        self._rate = 0.0
        self._reserved: dict[str, tuple[float, int]] = {}
        self._next_call = self._next_token = 0.0

    @property
    def cost(self) -> float:
        """Of all replies so far."""
        return self.budget.cost(self.tokens["prompt_tokens"], self.tokens["completion_tokens"])

    def reserve(self, key: str, request: Request) -> bool:
        """Set the worst cost of a request aside; False where the budget does not hold it."""
        size = size_of(request)
        per_byte = self._rate * 1.1 if self._rate else MOST_PER_BYTE
        worst = self.budget.cost(size * per_byte, request.max_tokens or 0)
        aside = sum(cost for cost, _ in self._reserved.values())
        most = self.budget.max_cost
        if most is not None and self.cost + aside + worst > most:
            return False
        calls = self.budget.max_requests
        if calls is not None and self.before + max(self.sent, self.answered + len(self._reserved)) >= calls:
            return False
        self._reserved[key] = worst, size
        return True

    def settle(self, key: str, reply: Reply | None) -> None:
        """What was set aside is free again; of a reply its real tokens count."""
        _, size = self._reserved.pop(key)
        if reply is None:
            return
        self.answered += 1
        usage = usage_of(reply, size)
        self.tokens.update(usage)
        self._rate = max(self._rate, usage["prompt_tokens"] / size)

    async def admit(self, content: bytes) -> None:
        """Wait until a call may be sent; for ``Endpoint.admit``.

        Raises:
            BudgetSpent: it would be one more than ``max_requests``.
        """
        limits = self.budget
        if limits.max_requests is not None and self.before + self.sent >= limits.max_requests:
            raise BudgetSpent("the number of requests is spent")
        self.sent += 1
        now = self._clock()
        due = now
        if limits.per_minute is not None:
            due = max(due, self._next_call)
            self._next_call = due + 60 / limits.per_minute
        if limits.tokens_per_minute is not None:
            due = max(due, self._next_token)
            used = len(content) * (self._rate or TOKENS_PER_BYTE)
            used += self.tokens["completion_tokens"] / max(self.answered, 1)
            self._next_token = max(self._next_token, now) + used * 60 / limits.tokens_per_minute
        if due > now:
            await self._wait(due - now)


def usage_of(reply: Reply, size: int) -> Counter[str]:
    """The tokens of a reply, guessed from lengths where the server does not count."""
    prompt = reply.usage.get("prompt_tokens") or round(size * TOKENS_PER_BYTE)
    completion = reply.usage.get("completion_tokens")
    if completion is None:
        completion = round(len(reply.text.encode()) * TOKENS_PER_BYTE)
    return Counter(prompt_tokens=prompt, completion_tokens=completion)


def size_of(request: Request) -> int:
    """Bytes of the words of a request."""
    return len(json.dumps(request.body("")["messages"], ensure_ascii=False).encode())
