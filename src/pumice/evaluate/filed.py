"""Answers that are there already: the rows of a file, matched to the questions of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumice.data.rows import kind
from pumice.errors import DataError, UsageError
from pumice.evaluate.answers import Said
from pumice.evaluate.results import ModelRecord
from pumice.evaluate.samples import Sample
from pumice.score.answers import TEXTS, Missing, counted, names, row_id
from pumice.score.files import Row, missing_file, read

NO_ANSWER = "the file of answers has none to this question"
APART = ("round_id", "prompt")
"""Keys that tell apart rows of one question's id: rounds of MMBench, MME's two questions to a picture."""


@dataclass
class FileAnswerer:
    """Answers with what a file says.

    Attributes:
        path: rows of ``question_id`` and ``text``, as ``pumice score`` reads them.
        name: who answered.
        missing: what becomes of questions that the file does not answer: an error, or they are ``bad``.

    Raises:
        DataError: there is no such file, or a row of it has no id.
    """

    path: Path
    name: str
    missing: Missing = "error"
    digest: str = field(init=False)
    rows: dict[str, list[Row]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise missing_file(self.path, "answer file")
        with self.path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.rows = {}
        for row in read(self.path, "answer file"):
            self.rows.setdefault(row_id(row), []).append(row)

    @property
    def model(self) -> ModelRecord:
        """Who is said to have answered; the digest is the file's."""
        return ModelRecord(kind="file", name=self.name, digest=self.digest)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"answers": self.path.name}

    def ready(self) -> None:
        """Nothing is to be loaded."""

    def answers(
        self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
    ) -> Iterator[tuple[int, Said]]:
        """The file's answers in the order of the questions.

        Raises:
            DataError: a question has no answer (unless ``missing`` says otherwise), or two, or its row is the
                answer to another one, too.
            UsageError: answers of a model without sight are asked for: a file cannot give them.
        """
        if blind:
            raise UsageError(
                "a file of answers cannot answer without the pictures",
                where="--blind",
                remedy="leave it out, or measure the model itself",
            )
        found: list[tuple[int, Row]] = []
        missing: list[int] = []
        used: dict[str, str] = {}
        for place, sample in enumerate(samples):
            row = self._row(sample)
            if row is None:
                missing.append(place)
                continue
            if row.where in used:
                raise DataError(
                    f"the row would answer two questions, {used[row.where]} and {sample.id}",
                    where=row.where,
                    remedy=f"give each its own row, told apart by {' or '.join(APART)}",
                )
            used[row.where] = sample.id
            found.append((place, row))
        if missing and self.missing == "error":
            without = names(samples[place].id for place in missing)
            raise DataError(
                f"{len(missing):,} of {len(samples):,} questions have no answer: {without}",
                where=str(self.path),
                remedy="check that answers and questions are of the same split; or say --missing skip (leave "
                "them out) or --missing wrong (count them as wrong)",
            )
        said = [(place, _text(row)) for place, row in found]
        for place in missing:
            yield place, Said("", bad=DataError(NO_ANSWER, where=str(self.path)))
        for place, text in said:
            yield place, Said(text)

    def remarks(self, asked: int) -> list[str]:
        """What a reader of the figures must know: rows that were not used."""
        left = sum(map(len, self.rows.values())) - asked
        if left <= 0:
            return []
        rows = f"{left:,} row{'s' if left > 1 else ''} of {self.path.name}"
        return [f"{rows} answer{'' if left > 1 else 's'} no question that was asked"]

    def _row(self, sample: Sample) -> Row | None:
        """The row that answers a sample: the only one of its id, or the one that also agrees in the rest.

        An id may be the picture's (TextVQA); then the prompt must agree.
        """
        rows = self.rows.get(str(sample.row.get("question_id", sample.id)), [])
        if len(rows) == 1:
            return rows[0]
        same = [row for row in rows if _agrees(sample, row)] if rows else self._by_picture(sample)
        if len(same) > 1:
            raise DataError(
                f"{counted(len(same), 'answer')} to question {sample.id}",
                where=same[1].where,
                remedy="keep one answer to each question (two runs may have been written into one file)",
            )
        return same[0] if same else None

    def _by_picture(self, sample: Sample) -> list[Row]:
        """The rows whose id is that of a picture, and whose prompt is the sample's: without one, a row of
        another question that is numbered as the picture is would do."""
        stems = [image.stem for image in sample.images if isinstance(image, Path)]
        found = [row for stem in stems for row in self.rows.get(stem, []) if "prompt" in row.value]
        return [row for row in found if "prompt" in sample.row and _agrees(sample, row)]


def _agrees(sample: Sample, row: Row) -> bool:
    for key in APART:
        own, theirs = sample.row.get(key), row.value.get(key)
        if own is not None and theirs is not None and _plain(own) != _plain(theirs):
            return False
    return True


def _plain(value: Any) -> str:
    return " ".join(str(value).split())


def _text(row: Row) -> str:
    for key in TEXTS:
        if key in row.value:
            text = row.value[key]
            if not isinstance(text, str):
                raise DataError(
                    f"{key} is {kind(text)}, not a string", where=row.where, remedy="an answer is text"
                )
            return text
    raise DataError("the row has no answer", where=row.where, remedy='write {"question_id": 1, "text": "…"}')
