"""What a dimension is: a side of a model that no single benchmark shows, measured on files of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumice.evaluate.results import Baseline, ModelRecord, Prediction, Scores
from pumice.infer import Generator

Progress = Callable[[str, int, int], None]
"""Called as (what, done, all of it)."""


@dataclass(frozen=True)
class Subject:
    """The model that is measured, and what is known of it.

    Attributes:
        model: who it is, for the record.
        load: gives the model; called when it is first needed, and not where all answers are there.
        settings: whatever else decides an answer: the template, the type.
        run: the folder of the run that trained it; None where there is none.
        others: folders of runs to compare with it.
        text_side: a checkpoint with the tower's own text encoder (a CLIP or SigLIP model); None without one.
    """

    model: ModelRecord
    load: Callable[[], Generator]
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Path | None = None
    others: tuple[Path, ...] = ()
    text_side: Path | None = None


@dataclass(frozen=True)
class Terms:
    """How all dimensions are measured.

    Attributes:
        limit: about so many questions (or pictures) at most; None for all.
        seed: decides which, and all that is drawn.
        rows: questions that are answered at once.
        max_new_tokens: the longest answer.
    """

    limit: int | None = None
    seed: int = 0
    rows: int = 64
    max_new_tokens: int = 64

    def as_json(self) -> dict[str, Any]:
        """What of it decides a figure."""
        return {"limit": self.limit, "seed": self.seed, "max_new_tokens": self.max_new_tokens}


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        scores: figures; the first of ``metrics`` stands for the dimension.
        asked: questions that were put, or pictures that were looked at.
        total: how many there are.
        chance: the same figures of somebody who sees nothing, where they can be told.
        notes: what a reader must know.
        predictions: a row for each question; empty where there are no questions.
    """

    scores: Scores
    asked: int
    total: int
    chance: Baseline | None = None
    notes: tuple[str, ...] = ()
    predictions: Sequence[Prediction] = ()


@dataclass(frozen=True)
class Dimension:
    """A side of a model that can be measured.

    Attributes:
        name: as it is asked for.
        title: for people.
        about: what it says, in one sentence.
        folder: its files lie in ``DATA/FOLDER``; empty for one that needs none.
        files: what must lie there, for people.
        measure: from the subject, the files' folder, a folder to write to (answers are kept there and not
            asked for twice), the terms and somebody to tell how far it is.
        digest: of all that the figures depend on besides the model and the terms; equal digests need no
            second measurement.
        check: refuses a subject that lacks what it takes, before anything is measured; errors as ``measure``.

    ``measure`` raises UsageError where something is missing that the user can give, and DataError for a file
    that cannot be used.
    """

    name: str
    title: str
    about: str
    folder: str
    files: tuple[str, ...]
    measure: Callable[[Subject, Path, Path, Terms, Progress], Measured]
    digest: Callable[[Subject, Path], str]
    check: Callable[[Subject], None] = lambda subject: None
