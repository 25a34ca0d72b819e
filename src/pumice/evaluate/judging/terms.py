"""What is common to the judged tasks: how the judge is asked, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pumice.errors import UsageError

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


def run_file(first: Path, run: int) -> Path:
    """Where a run's reviews go: the first one's file, and beside it ``NAME-2``, ``NAME-3`` and so on."""
    return first if run == 0 else first.with_name(f"{first.stem}-{run + 1}{first.suffix}")


def counted(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
