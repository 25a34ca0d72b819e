"""What is common to the judged tasks: how the judge is asked, and what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pumice.errors import UsageError
from pumice.evaluate.endpoint import Endpoint
from pumice.evaluate.judging.ask import Account

Temperature = float | Literal["task", "none"]
SHOWN = 5
"""Questions that a note names."""


@dataclass(frozen=True)
class Terms:
    """How a judge is asked.

    Attributes:
        runs: how often everything is judged.
        attempts: how often a reply that cannot be read is asked for, in all.
        both_orders: LLaVA-Bench: judge each pair in both orders and take the means.
        temperature: ``task`` takes that of the official script (0.2 and 0); ``none`` leaves it to the server.
        max_tokens: the longest reply; None takes that of the official script (1024 and 3), or what our own
            words need.
        extra: further members of the call, ``{"reasoning_effort": "low"}``.

    Raises:
        UsageError: a number is out of its range.
    """

    runs: int = 1
    attempts: int = 5
    both_orders: bool = False
    temperature: Temperature = "task"
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("runs", self.runs), ("attempts", self.attempts)):
            if value < 1:
                raise UsageError(f"{name} of the judge is {value}", where=name, remedy="it is at least 1")
        if isinstance(self.temperature, int | float) and not 0 <= self.temperature <= 2:
            raise UsageError(
                f"the judge's temperature is {self.temperature}",
                where="temperature",
                remedy="it is from 0 to 2, or none",
            )

    def warmth(self, usual: float, added: float = 0.0) -> float | None:
        """The temperature of a request: the task's usual one where nothing else was said."""
        if self.temperature == "none":
            return None
        return (usual if self.temperature == "task" else float(self.temperature)) + added


@dataclass(frozen=True)
class Verdicts:
    """What one judge said of one file of answers.

    Attributes:
        files: as the scorer takes them: one of each run (LLaVA-Bench), or one of all (MM-Vet).
        scores: by question, of the answers under test, the mean over the runs that could be read.
        record: who judged, how, and what it took; JSON values.
    """

    files: tuple[Path, ...]
    scores: Mapping[str, float]
    record: dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """Where the prompt of a judge comes from.

    Attributes:
        file: the official one; None: our own words.
        published: whether what it holds is what published figures were made with.
        judge: the model that made them; empty where nobody says which.
    """

    file: Path | None
    published: bool
    judge: str


def record_of(
    endpoint: Endpoint,
    terms: Terms,
    account: Account,
    rules: Rules,
    *,
    temperature: float | None,
    max_tokens: int,
    unread: int,
    judgements: int,
) -> dict[str, Any]:
    """The record of one judge; ``notes`` begin with whether its figures compare with published ones.

    Args:
        endpoint: who.
        terms: how.
        account: what it took.
        rules: where its prompt comes from.
        temperature: of the first attempt.
        max_tokens: of a reply.
        unread: judgements that could not be read.
        judgements: all of them.
    """
    differs = _differs(endpoint, terms, account, rules)
    verdict = f"not comparable with published figures: {'; '.join(differs)}"
    return {
        "model": endpoint.model,
        "host": endpoint.address.host,
        "answered_by": dict(account.models),
        "prompt": "own" if rules.file is None else "official" if rules.published else "given",
        "rules": None if rules.file is None else str(rules.file),
        "rules_sha256": None if rules.file is None else hashlib.sha256(rules.file.read_bytes()).hexdigest(),
        "comparable": not differs,
        "runs": terms.runs,
        "attempts": terms.attempts,
        "temperature": temperature,
        "max_tokens": max_tokens,
        "judgements": judgements,
        "unparsed": unread,
        "requests": account.asked,
        "reused": account.reused,
        "tokens": dict(account.tokens),
        "notes": [verdict if differs else f"prompt and judge are those of published figures ({rules.judge})"],
    }


def _differs(endpoint: Endpoint, terms: Terms, account: Account, rules: Rules) -> list[str]:
    """What is not as it was when the published figures were made."""
    found = []
    if rules.file is None:
        found.append("the rules are this program's own")
    elif not rules.published:
        found.append(f"the rules in {rules.file.name} are not the published ones")
    if rules.judge and {endpoint.model, *account.models} != {rules.judge}:
        found.append(f"the judge is {endpoint.model}, theirs was {rules.judge}")
    if terms.both_orders:
        found.append("scores are means of both orders")
    if terms.temperature != "task" or terms.max_tokens is not None or terms.extra:
        found.append("the settings are not the script's")
    return found


def run_file(first: Path, run: int) -> Path:
    """Where a run's reviews go: the first one's file, and beside it ``NAME-2``, ``NAME-3`` and so on."""
    return first if run == 0 else first.with_name(f"{first.stem}-{run + 1}{first.suffix}")


def counted(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
