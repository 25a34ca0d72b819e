"""The files that a scorer is given, and the ones it needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pumice.errors import UsageError
from pumice.score.answers import Missing


@dataclass(frozen=True)
class Inputs:
    """Paths by what they hold, as the options of ``pumice score`` name them.

    Attributes:
        answers: what the model said.
        questions: the benchmark's questions.
        labels: the true answers: a file, or a folder of the benchmark.
        reviews: files of a judge's reviews, one a run.
        grades: a judge's grades.
        missing: what becomes of questions without an answer.
    """

    answers: Path | None = None
    questions: Path | None = None
    labels: Path | None = None
    reviews: tuple[Path, ...] = ()
    grades: Path | None = None
    missing: Missing = "error"

    def given(self) -> list[str]:
        """Which there are."""
        names = ("answers", "questions", "labels", "reviews", "grades")
        return [name for name in names if getattr(self, name)]

    @property
    def said(self) -> Path:
        """The answer file, which must be there."""
        return self.need(self.answers, "answers")

    @property
    def truth(self) -> Path:
        """The true answers, whichever of the two options named them."""
        return self.need(self.labels or self.questions, "labels")

    @property
    def asked(self) -> Path:
        """The questions, whichever of the two options named them."""
        return self.need(self.questions or self.labels, "questions")

    def need(self, path: Path | None, name: str) -> Path:
        """A file that must be there.

        Raises:
            UsageError: it was not given.
        """
        if path is None:
            raise UsageError(f"the file of {name} is missing", where=f"--{name}", remedy=f"say --{name} FILE")
        return path
