"""The samples of a task as they are made, and what all tasks check of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.data.checks import image_name
from pumice.errors import DataError
from pumice.evaluate.samples import Picture, Sample, ordered
from pumice.score.answers import counted, names, row_id
from pumice.score.files import Row, read, text_of

NAMED = 20
"""Missing pictures that one error names."""


class Collected:
    """Takes samples one by one; gives them out when all are there and their pictures, too."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._places: dict[str, str] = {}

    def add(
        self,
        id: str,
        text: str,
        images: Sequence[Picture],
        row: Mapping[str, Any],
        where: str,
        *,
        truth: str = "",
        group: str = "",
    ) -> None:
        """Take one more.

        Args:
            id: of the sample.
            text: its prompt.
            images: its pictures.
            row: what its answer's row has.
            where: file and row that it comes from.
            truth: the right answer.
            group: its category.

        Raises:
            DataError: there is one of this id.
        """
        if id in self._places:
            raise DataError(
                f"question {id} stands twice, before in {self._places[id]}",
                where=where,
                remedy="take the file as it was published",
            )
        self._places[id] = where
        self._samples.append(Sample(id, text, tuple(images), row, truth, group, where))

    def done(self, path: Path) -> tuple[Sample, ...]:
        """All of them, those of one picture side by side.

        Args:
            path: the file of the questions, for errors.

        Raises:
            DataError: there are none, or a picture is missing.
        """
        if not self._samples:
            raise DataError(
                "there are no questions", where=str(path), remedy="check that it is the right file"
            )
        check_pictures(
            (image, self._places[sample.id])
            for sample in self._samples
            for image in sample.images
            if isinstance(image, Path)
        )
        return ordered(self._samples)


def check_pictures(pictures: Iterable[tuple[Path, str]]) -> None:
    """Look once whether all pictures are there, before anybody is asked.

    Args:
        pictures: each file, and the row that names it.

    Raises:
        DataError: some are missing or empty; at most 20 are named, each with its row.
    """
    first: dict[Path, str] = {}
    for path, where in pictures:
        first.setdefault(path, where)
    absent = [path for path in first if not path.is_file() or not path.stat().st_size]
    if not absent:
        return
    lines = [f"    {path}, of {first[path]}" for path in absent[:NAMED]]
    more = f"\n    and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
    raise DataError(
        f"pictures are missing or empty: {len(absent):,} of {len(first):,}, the first is {absent[0]}",
        where=first[absent[0]],
        remedy="put these there:\n" + "\n".join(lines) + more,
    )


def picture(folder: Path, row: Row, key: str = "image") -> Path:
    """The picture that a row names, inside a folder.

    Raises:
        DataError: the row names none, or one outside.
    """
    if key not in row.value:
        text_of(row.value, key, row.where)
    return folder / image_name(row.value[key], row.where, key)


def asked_by_llava(path: Path) -> dict[str, Row]:
    """The rows of a question file of LLaVA's evaluation by their id; ``text`` is the whole prompt.

    Raises:
        DataError: a row lacks an id or a text, or an id stands twice; the line is named.
    """
    found: dict[str, Row] = {}
    for row in read(path, "question file"):
        name = row_id(row)
        if name in found:
            raise DataError(
                f"question {name} stands twice, before in {found[name].where}",
                where=row.where,
                remedy="take the file as it was published",
            )
        text_of(row.value, "text", row.where)
        found[name] = row
    return found


def same_questions(asked: Mapping[str, Row], official: Mapping[str, Any], path: Path) -> None:
    """Refuse a question file of LLaVA's that asks others than the official file has.

    Raises:
        DataError: it does; names the row, or the questions that it lacks.
    """
    for name, row in asked.items():
        if name not in official:
            raise DataError(
                f"question {name} is not in the official file",
                where=row.where,
                remedy="take both files of one split, or take this one away: prompts are then made here",
            )
    lacks = [name for name in official if name not in asked]
    if lacks:
        raise DataError(
            f"{counted(len(lacks), 'question')} of the official file without a row here: {names(lacks)}",
            where=str(path),
            remedy="take the file as it was published, whole, or take it away: prompts are then made here",
        )


def commonest(answers: Sequence[str]) -> str:
    """What most people say; of equally many the first."""
    return Counter(answers).most_common(1)[0][0]
