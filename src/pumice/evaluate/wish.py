"""What is wanted of a trial: a task with its files and options, how it is asked, and that it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pumice.evaluate.answers import AnswersFile
from pumice.evaluate.samples import Benchmark, Loaded, Sample
from pumice.score.answers import Missing


@dataclass(frozen=True)
class Wish:
    """A task as it was asked for: where its files lie, and its options, all of them.

    ``source`` names what is no folder: the hub.
    """

    benchmark: Benchmark
    folder: Path
    choices: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Terms:
    """How all tasks of a trial are asked.

    Attributes:
        limit: ask a drawn part, about so many questions; None for all.
        seed: decides which.
        max_new_tokens: the longest answer; each task's own when None.
        blind: whether the model without sight is measured, too.
        allow_bad: so many questions of each task may be left out, for their pictures cannot be decoded.
        missing: what becomes of questions that a file of answers lacks.
    """

    limit: int | None = None
    seed: int = 0
    max_new_tokens: int | None = None
    blind: bool = False
    allow_bad: int = 0
    missing: Missing = "error"


@dataclass
class Ready:
    """A task whose files are there and right."""

    wish: Wish
    loaded: Loaded
    samples: tuple[Sample, ...]
    own: AnswersFile
    blind: AnswersFile | None

    @property
    def name(self) -> str:
        return self.wish.benchmark.name
