"""Answers of a model by question, and the certainty that each question has one and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pumice.data.checks import identity
from pumice.data.rows import kind
from pumice.errors import DataError
from pumice.score.files import Row, read

Missing = Literal["error", "skip", "wrong"]
"""What becomes of questions without an answer: an error, left out of the score, or counted as wrong."""

IDS = ("question_id", "questionId", "id", "qid", "index")
TEXTS = ("raw", "text", "prediction", "answer", "response", "output")
"""Names of the two keys that matter, by precedence: LLaVA's, this program's, and those of official files."""
QUOTED = 120
"""Characters of a judge's reply that are quoted."""
SHOWN = 5
"""Ids that an error names."""

Key = Callable[["Answer", Row], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to one question. ``row`` is its row in the file, with what else stands there."""

    id: str
    text: str
    where: str
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_answers(path: Path, key: Key | None = None) -> dict[str, Answer]:
    """The answers of a file, by the id of their question.

    Args:
        path: JSONL (LLaVA's ``{"question_id", "prompt", "text"}``) or a JSON list.
        key: what to find an answer by where that is not its question's id.

    Raises:
        DataError: a row without an id or a text, two answers to one question; the line is named.
    """
    found: dict[str, Answer] = {}
    twice: list[tuple[Answer, Answer]] = []
    for row in read(path, "answer file"):
        answer = _answer(row)
        name = answer.id if key is None else key(answer, row)
        if name in found:
            twice.append((found[name], answer))
        else:
            found[name] = answer
    if twice:
        first, second = twice[0]
        raise DataError(
            f"{counted(len(twice), 'question')} answered twice; the first is {second.id!r}, "
            f"answered before in {first.where}",
            where=second.where,
            remedy="keep one answer to each question (two runs may have been written into one file)",
        )
    return found


def match(answers: Mapping[str, Answer], questions: Iterable[str], missing: Missing, place: str) -> list[str]:
    """The questions that are scored, in their order.

    Args:
        answers: from ``read_answers``.
        questions: the ids of all questions.
        missing: what becomes of those without an answer.
        place: the file of the answers, for errors.

    Returns:
        The answered ones; with ``missing="wrong"`` all.

    Raises:
        DataError: answers to questions that are not there, or questions without an answer.
    """
    asked = list(questions)
    known = set(asked)
    unknown = [answer for name, answer in answers.items() if name not in known]
    if unknown:
        raise DataError(
            f"{counted(len(unknown), 'answer')} to no question of the file: {names(a.id for a in unknown)}",
            where=unknown[0].where,
            remedy="check that answers and questions are of the same split",
        )
    absent = [name for name in asked if name not in answers]
    if absent and (missing == "error" or len(absent) == len(asked)):
        raise DataError(
            f"{len(absent):,} of {len(asked):,} questions have no answer: {names(absent)}",
            where=place,
            remedy="answer them, or say --missing skip (leave them out) or --missing wrong (count as wrong)",
        )
    return asked if missing == "wrong" else [name for name in asked if name in answers]


def said(answers: Mapping[str, Answer], name: str) -> str | None:
    """What was said to a question; None where nothing was."""
    answer = answers.get(name)
    return None if answer is None else answer.text


def counted(number: int, what: str) -> str:
    """``1 answer``, ``2 answers``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def names(found: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = list(found)
    more = f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def quoted(reply: str) -> str:
    """The beginning of a reply on one line, in quotes.

    >>> quoted("Both are\\ngood."), quoted(" ")
    ('"Both are good."', 'nothing')
    """
    line = " ".join(reply.split())
    if not line:
        return "nothing"
    return f'"{line if len(line) <= QUOTED else line[:QUOTED] + "…"}"'


def row_id(row: Row) -> str:
    """The id of a question's or an answer's row, as text: 1 and "1" are one id."""
    for key in IDS:
        if key in row.value:
            return str(identity(row.value[key], key, row.where))
    raise DataError("the row names no question", where=row.where, remedy="give it a question_id")


def by_id(
    rows: Iterable[Row], name: Callable[[Row], str] = row_id, *, numbered: bool = False
) -> dict[str, Row]:
    """Rows of questions or labels by their ids.

    Args:
        rows: the rows of a file.
        name: the id of a row.
        numbered: whether a row without an id is named by its number, from 0.

    Raises:
        DataError: two rows have one id; the second one's line is named.
    """
    found: dict[str, Row] = {}
    for number, row in enumerate(rows):
        bare = numbered and not any(key in row.value for key in IDS)
        own = str(number) if bare else name(row)
        if own in found:
            raise DataError(
                f"{own!r} stands twice, before in {found[own].where}",
                where=row.where,
                remedy="take the file as it was published",
            )
        found[own] = row
    return found


def _answer(row: Row) -> Answer:
    id = row_id(row)
    for key in TEXTS:
        if key in row.value:
            text = row.value[key]
            if not isinstance(text, str):
                raise DataError(
                    f"{key} of question {id} is {kind(text)}, not a string",
                    where=row.where,
                    remedy="write each answer as text; an empty one is allowed",
                )
            return Answer(id, text, row.where, row.value)
    raise DataError(
        f"the row of question {id} has no answer: its keys are {', '.join(map(repr, row.value))}",
        where=row.where,
        remedy='write it as {"question_id": 1, "text": "the answer"}',
    )
