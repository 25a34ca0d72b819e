"""Evaluation questions: LLaVA's JSONL layout with a type and an answer, read strictly.

One row: {"question_id": int | str, "image": "relative/path.png" | null, "text": "...", "type": "colour",
"answer": "red"} and, where they apply, "setting" (random | popular | adversarial: a POPE question) and
"present" (the values of the asked attribute in the picture, one per object: the guess floor needs them).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pumice.errors import DataError, suggest
from pumice.evaluate.predictor import Prompt
from pumice.image.decode import image_size
from pumice.image.names import leaves_folder
from pumice.types import Origin

Setting = Literal["random", "popular", "adversarial"]
SETTINGS: tuple[str, ...] = get_args(Setting)
"""POPE's three ways to choose objects that are not there (Li et al. 2023, arXiv 2305.10355)."""

EXAMPLE = (
    '{"question_id": 1, "image": "a.png", "text": "What color is it?", "type": "color", "answer": "red"}'
)
"""A row, for those who have no file yet."""
REQUIRED = ("question_id", "image", "text", "type", "answer")
OPTIONAL = ("setting", "present")


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


def read_questions(file: Path, image_root: Path | None = None) -> QuestionSet:
    """Reads a question file; every row and every picture's header is checked before any model runs.

    Args:
        file: the JSONL file.
        image_root: the folder "image" is relative to; the file's own folder when None.

    Raises:
        DataError: a row that is not as the layout says, with the file and row; no rows at all.
        ImageError: a picture that the decoder would refuse, with the question's file and row.
    """
    root = file.parent if image_root is None else image_root
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the question file cannot be read ({getattr(error, 'strerror', None) or error})",
            where=str(file),
            remedy=f"make a JSONL file in UTF-8 with a line for each question: {EXAMPLE}",
        ) from error
    questions: list[Question] = []
    rows_by_id: dict[str, int] = {}
    for row, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        question = _parse(line, Origin(str(file), row))
        # 1 and "1" are one id: the prediction files are matched by it
        first = rows_by_id.setdefault(str(question.id), row)
        if first != row:
            raise DataError(
                f"question_id {question.id!r} was already used in row {first}",
                where=str(question.origin),
                remedy="give every question its own question_id",
            )
        questions.append(question)
    if not questions:
        raise DataError(
            "the question file holds no questions", where=str(file), remedy="add at least one row"
        )
    contents = _check_pictures(questions, root)
    ordered = tuple(question for group in by_picture(questions).values() for question in group)
    return QuestionSet(ordered, root, _digest(ordered, contents))


def by_picture(questions: list[Question] | tuple[Question, ...]) -> dict[str | None, list[Question]]:
    """Questions grouped by picture, both in order of first appearance, so that a picture is encoded once."""
    groups: dict[str | None, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.image, []).append(question)
    return groups


def _parse(line: str, origin: Origin) -> Question:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise _bad(f"the row is not JSON ({error})", origin, "write one JSON object per line") from error
    if not isinstance(row, dict):
        raise _bad(
            f"the row is a JSON {type(row).__name__}, not an object", origin, "write one JSON object per line"
        )
    for key in row:
        if key not in REQUIRED and key not in OPTIONAL:
            raise _bad(f"unknown key {key!r}", origin, suggest(key, REQUIRED + OPTIONAL))
    for key in REQUIRED:
        if key not in row:
            raise _bad(f"the key {key!r} is missing", origin, f"every row needs {', '.join(REQUIRED)}")
    identity = row["question_id"]
    if isinstance(identity, bool) or not isinstance(identity, int | str) or identity == "":
        raise _bad(f"question_id is {identity!r}", origin, "use a whole number or a string")
    setting = row.get("setting")
    if setting is not None and setting not in SETTINGS:
        raise _bad(f"unknown setting {setting!r}", origin, suggest(str(setting), SETTINGS))
    answer = _words(row, "answer", origin)
    if setting is not None and answer not in ("yes", "no"):
        raise _bad(f"a {setting} existence question has the answer {answer!r}", origin, "answer yes or no")
    return Question(
        id=identity,
        image=_image(row["image"], origin),
        text=_words(row, "text", origin),
        type=_words(row, "type", origin),
        answer=answer,
        origin=origin,
        setting=cast("Setting | None", setting),
        present=_present(row.get("present"), origin),
    )


def _words(row: Mapping[str, Any], key: str, origin: Origin) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise _bad(f"{key} is {value!r}", origin, f"{key} must be text and not empty")
    return value


def _image(value: Any, origin: Origin) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise _bad(f"image is {value!r}", origin, "give a path relative to the image folder, or null")
    if leaves_folder(value):
        raise _bad(f"image {value!r} leaves the image folder", origin, "give a path inside the image folder")
    return value


def _present(value: Any, origin: Origin) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise _bad(
            f"present is {value!r}", origin, "give a list of the values in the picture, one per object"
        )
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


def _bad(what: str, origin: Origin, remedy: str) -> DataError:
    return DataError(what, where=str(origin), remedy=remedy)
