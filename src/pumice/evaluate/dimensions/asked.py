"""Questions of a dimension: read, asked with every answer kept, and written as predictions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pumice.errors import DataError
from pumice.evaluate.dimensions.dimension import Progress, Subject, Terms
from pumice.evaluate.predictor import Prompt
from pumice.evaluate.questions import Question, QuestionSet, read_questions
from pumice.evaluate.results import Prediction
from pumice.evaluate.run import Pictures, Variant, evaluate
from pumice.evaluate.scorers import NUMBERS, exact_match, normalise
from pumice.infer import Generator

QUESTIONS = "questions.jsonl"
INTACT = "intact"

Change = Callable[[Generator, QuestionSet], AbstractContextManager[object]]
"""Changes a model while questions are put to it."""


@dataclass(frozen=True)
class Way:
    """A way to put the questions: as they are, with other pictures, or to a changed model."""

    name: str
    pictures: Pictures = "own"
    change: Change | None = None


@dataclass
class _Changed:
    """A model of ours as the measurement sees it; the change lasts while it answers."""

    name: str
    load: Callable[[], Generator]
    questions: QuestionSet
    max_new_tokens: int
    change: Change | None = field(default=None, repr=False)

    def predict(self, prompts: Sequence[Prompt]) -> list[str]:
        """One answer for each prompt, greedy."""
        generator = self.load()
        around = nullcontext() if self.change is None else self.change(generator, self.questions)
        with around:
            return generator.answer([(p.text, p.images) for p in prompts], self.max_new_tokens)


def read(folder: Path, needed: Sequence[str] = ()) -> QuestionSet:
    """The questions of a dimension's folder.

    Args:
        folder: holds ``questions.jsonl``; pictures are relative to it.
        needed: facts that every question must have.

    Raises:
        DataError: there are no such questions, or one lacks a fact; its row is named.
    """
    questions = read_questions(folder / QUESTIONS)
    for question in questions.questions:
        lacking = [name for name in needed if name not in (question.facts or {})]
        if lacking:
            raise DataError(
                f"the question has no fact {lacking[0]!r}",
                where=str(question.origin),
                remedy=f'add "facts": {{"{lacking[0]}": ...}} to its row',
            )
    return questions


def file_digest(folder: Path) -> str:
    """Names a dimension's questions without reading pictures: the file's bytes, and sizes of all pictures."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
            if path.suffix in (".json", ".jsonl"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def some_of(questions: QuestionSet, limit: int | None, seed: int, unit: str = "") -> QuestionSet:
    """A drawn part of the questions, at least ``limit`` of them; those of one unit stay together.

    Args:
        questions: all of them.
        limit: how many; None for all.
        seed: decides which.
        unit: the fact that names the unit; the picture when empty.
    """
    if limit is None or limit >= len(questions):
        return questions
    units: dict[object, list[int]] = {}
    for place, question in enumerate(questions.questions):
        key = (question.facts or {}).get(unit) if unit else question.image
        units.setdefault(key, []).append(place)
    kept: set[int] = set()
    every = list(units.values())
    for number in np.random.default_rng(seed).permutation(len(every)):
        if len(kept) >= limit:
            break
        kept.update(every[number])
    chosen = tuple(question for place, question in enumerate(questions.questions) if place in kept)
    named = hashlib.sha256(f"{questions.digest} {json.dumps([str(q.id) for q in chosen])}".encode())
    return dataclasses.replace(questions, questions=chosen, digest=named.hexdigest())


def ask(
    name: str,
    questions: QuestionSet,
    ways: Sequence[Way],
    subject: Subject,
    out: Path,
    terms: Terms,
    progress: Progress,
) -> dict[str, list[str]]:
    """The answers by way, in the order of the questions; those that are there are not asked for again.

    Args:
        name: of the dimension, for progress.
        questions: what is asked.
        ways: how; names are parts of files' names.
        subject: who is asked.
        out: where ``predictions-WAY.jsonl`` grows, row by row.
        terms: how many at once, how long answers are.
        progress: told how far each way is.

    Raises:
        RunError: the folder holds answers of another model, of other settings or to other questions.
        Interrupted: Ctrl-C; the answers so far are kept.
    """
    settings = {**subject.settings, "max_new_tokens": terms.max_new_tokens}
    variants = [
        Variant(
            way.name,
            _Changed(way.name, subject.load, questions, terms.max_new_tokens, way.change),
            way.pictures,
            subject.model["digest"] or subject.model["name"],
            settings,
        )
        for way in ways
    ]

    def tell(way: str, done: int, total: int) -> None:
        progress(name if way == INTACT else f"{name}, {way}", done, total)

    evaluate(questions, variants, out, tell, batch_size=terms.rows, seed=terms.seed)
    return {way.name: _raws(out / f"predictions-{way.name}.jsonl") for way in ways}


def _raws(path: Path) -> list[str]:
    return [str(json.loads(line)["raw"]) for line in path.read_text("utf-8").splitlines()]


def fact(question: Question, name: str) -> str | int:
    """What is known of a question under a name; it is there (``read``)."""
    assert question.facts is not None, question.origin
    return question.facts[name]


def conclusion(raw: str) -> str:
    """What a chain of reasoning ends with: the last number, or the last yes or no; empty without one.

    >>> conclusion("There are two rings and one star, so yes."), conclusion("... so three would be left.")
    ('yes', '3')
    """
    words = "".join(c if c.isalnum() else " " for c in raw.lower()).split()
    found = ["0" if word == "none" else NUMBERS.get(word, word) for word in words]
    return next((word for word in reversed(found) if word.isdecimal() or word in ("yes", "no")), "")


def correct(question: Question, raw: str) -> bool:
    """Whether an answer is the truth, after ``normalise`` on both; of a chain of reasoning, whose truth is a
    number, yes or no, what it concludes."""
    truth = normalise(question.answer)
    if exact_match(raw, question.answer):
        return True
    closed = truth.isdecimal() or truth in ("yes", "no")
    return closed and question.type == "reasoning" and conclusion(raw) == truth


def predictions(
    questions: QuestionSet,
    raws: Sequence[str],
    scores: Sequence[float] | Sequence[bool],
    groups: Sequence[str],
) -> list[Prediction]:
    """A row for each question."""
    return [
        Prediction(
            id=str(question.id),
            question_id=question.id,
            prompt=question.text,
            images=[] if question.image is None else [question.image],
            raw=raw,
            parsed=normalise(raw),
            score=float(score),
            truth=question.answer,
            group=group,
        )
        for question, raw, score, group in zip(questions.questions, raws, scores, groups, strict=True)
    ]
