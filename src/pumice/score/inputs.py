"""The files that a scorer is given, and the ones it needs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import DataError, UsageError
from pumice.score.answers import Missing, by_id, counted, names, row_id
from pumice.score.files import Row, rows_or_under


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
        known_as: what the file with the true answers is called where it is published, for errors.
    """

    answers: Path | None = None
    questions: Path | None = None
    labels: Path | None = None
    reviews: tuple[Path, ...] = ()
    grades: Path | None = None
    missing: Missing = "error"
    known_as: str = ""

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
        """The questions of a task whose question file has the true answers, too.

        Raises:
            UsageError: both options are given: one of them would not be read.
        """
        if self.questions is not None and self.labels is not None:
            raise UsageError(
                "questions and true answers are one file here, and two are given",
                where="--labels",
                remedy="leave out --labels",
            )
        return self.need(self.questions or self.labels, "questions")

    def wanted(self, labelled: Collection[str], name: Callable[[Row], str] = row_id) -> list[str]:
        """The questions that must be answered.

        They are those of the question file, where one is given beside the labels, or all that have labels.

        Args:
            labelled: the ids that have labels.
            name: the id of a row of the question file.

        Raises:
            DataError: a question has no label.
        """
        if self.questions is None or self.labels is None:
            return list(labelled)
        rows = rows_or_under(self.questions, "questions", "question file")
        found = by_id(rows, name)
        without = [own for own in found if own not in labelled]
        if without:
            raise DataError(
                f"{counted(len(without), 'question')} without a label: {names(without)}",
                where=found[without[0]].where,
                remedy="check that questions and labels are of the same split",
            )
        return list(found)

    def need(self, path: Path | None, name: str) -> Path:
        """A file that must be there.

        Raises:
            UsageError: it was not given.
        """
        if path is None:
            file = f": {self.known_as}" if self.known_as and name in ("labels", "questions") else ""
            raise UsageError(
                f"the file of {name} is missing", where=f"--{name}", remedy=f"say --{name} FILE{file}"
            )
        return path
