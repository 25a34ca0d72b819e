"""Evaluation questions: LLaVA's JSONL layout with a type and an answer, read strictly.

One row: {"question_id": int | str, "image": "relative/path.png" | null, "text": "...", "type": "colour",
"answer": "red"} and, where they apply, "setting" (random | popular | adversarial: a POPE question) and
"present" (the values of the asked attribute in the picture, one per object: the guess floor needs them) and
"facts" (an object of names and words or whole numbers: what else is known of the question, such as
{"steps": 3}; dimensions group scores by them).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pumice.data.checks import bad, check_keys, identity, image_name, words
from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import DataError, suggest
from pumice.evaluate.predictor import Prompt
from pumice.image.decode import image_size
from pumice.types import Origin

Setting = Literal["random", "popular", "adversarial"]
SETTINGS: tuple[str, ...] = get_args(Setting)
"""POPE's three ways to choose objects that are not there (Li et al. 2023, arXiv 2305.10355)."""

EXAMPLE = (
    '{"question_id": 1, "image": "a.png", "text": "What color is it?", "type": "color", "answer": "red"}'
)
"""A row, for those who have no file yet."""
REQUIRED = ("question_id", "image", "text", "type", "answer")
OPTIONAL = ("setting", "present", "facts")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its true answer. ``image`` is relative to the set's image root."""

    id: int | str
    image: str | None
    text: str
    type: str
    answer: str
    origin: Origin
    setting: Setting | None = None
    present: tuple[str, ...] | None = None
    facts: Mapping[str, str | int] | None = None

    def fields(self) -> dict[str, Any]:
        """The question as its row in the file."""
        row: dict[str, Any] = {
            "question_id": self.id,
            "image": self.image,
            "text": self.text,
            "type": self.type,
            "answer": self.answer,
        }
        if self.setting is not None:
            row["setting"] = self.setting
        if self.present is not None:
            row["present"] = list(self.present)
        if self.facts is not None:
            row["facts"] = dict(self.facts)
        return row


@dataclass(frozen=True)
class QuestionSet:
    """The questions of one file, in the order of their pictures, and the folder of the pictures."""

    questions: tuple[Question, ...]
    image_root: Path
    digest: str

    def __len__(self) -> int:
        return len(self.questions)

    def prompts(self) -> list[Prompt]:
        """What a model is asked: the text, with the picture before it."""
        return [
            Prompt(question.text, () if question.image is None else (self.image_root / question.image,))
            for question in self.questions
        ]


def read_questions(file: Path, image_root: Path | None = None, *, max_errors: int = 20) -> QuestionSet:
    """Reads a question file; every row and every picture's header is checked before any model runs.

    Args:
        file: the JSONL file.
        image_root: the folder "image" is relative to; the file's own folder when None.
        max_errors: how many bad rows the error lists; it always says how many there are.

    Raises:
        DataError: rows that are not as the layout says, each with the file and row; no rows at all.
        ImageError: a picture that the decoder would refuse, with the question's file and row.
    """
    root = file.parent if image_root is None else image_root
    questions: list[Question] = []
    rows_by_id: dict[str, int] = {}
    problems = Problems(max_errors)
    remedy = f"make a JSONL file in UTF-8 with a line for each question: {EXAMPLE}"
    for number, row in read_objects(file, problems, what="question file", remedy=remedy):
        try:
            question = _parse(row, Origin(str(file), number))
            # 1 and "1" are one id: the prediction files are matched by it
            first = rows_by_id.setdefault(str(question.id), number)
            if first != number:
                raise bad(
                    f"question_id {question.id!r} was already used in row {first}",
                    str(question.origin),
                    "give every question its own question_id",
                )
            questions.append(question)
        except DataError as error:
            problems.add(error)
    problems.raise_if_any(f"{file} has rows that cannot be used")
    contents = _check_pictures(questions, root)
    ordered = tuple(question for group in by_picture(questions).values() for question in group)
    return QuestionSet(ordered, root, _digest(ordered, contents))


def by_picture(questions: list[Question] | tuple[Question, ...]) -> dict[str | None, list[Question]]:
    """Questions grouped by picture, both in order of first appearance, so that a picture is encoded once."""
    groups: dict[str | None, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.image, []).append(question)
    return groups


def _parse(row: Mapping[str, Any], origin: Origin) -> Question:
    where = str(origin)
    check_keys(row, REQUIRED + OPTIONAL, where, required=REQUIRED)
    setting = row.get("setting")
    if setting is not None and setting not in SETTINGS:
        raise bad(f"unknown setting {setting!r}", where, suggest(str(setting), SETTINGS))
    answer = words(row["answer"], "answer", where)
    if setting is not None and answer not in ("yes", "no"):
        raise bad(f"a {setting} existence question has the answer {answer!r}", where, "answer yes or no")
    return Question(
        id=identity(row["question_id"], "question_id", where),
        image=None if row["image"] is None else image_name(row["image"], where),
        text=words(row["text"], "text", where),
        type=words(row["type"], "type", where),
        answer=answer,
        origin=origin,
        setting=cast("Setting | None", setting),
        present=_present(row.get("present"), where),
        facts=_facts(row.get("facts"), where),
    )


def _facts(value: Any, where: str) -> dict[str, str | int] | None:
    if value is None:
        return None
    right = isinstance(value, dict) and all(
        isinstance(entry, str | int) and not isinstance(entry, bool) for entry in value.values()
    )
    if not right:
        raise bad(f"facts is {value!r}", where, 'give an object such as {"steps": 3, "domain": "seen"}')
    return dict(value)


def _present(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise bad(f"present is {value!r}", where, "give a list of the values in the picture, one per object")
    return tuple(value)


def _check_pictures(questions: list[Question], root: Path) -> dict[str, str]:
    """The SHA-256 of every picture, after the decoder agreed to its header."""
    contents: dict[str, str] = {}
    for question in questions:
        if question.image is None or question.image in contents:
            continue
        path = root / question.image
        image_size(path, where=str(question.origin))
        contents[question.image] = hashlib.sha256(path.read_bytes()).hexdigest()
    return contents


def _digest(questions: tuple[Question, ...], contents: Mapping[str, str]) -> str:
    """Names what is asked: the rows and the bytes of the pictures (two worlds share file names)."""
    rows = [[question.fields(), contents.get(question.image or "")] for question in questions]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
