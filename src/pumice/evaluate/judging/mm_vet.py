"""MM-Vet: a judge reads the question, the true answer and ours, and grades ours from 0 to 1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.rows import kind
from pumice.endpoint.request import Request
from pumice.errors import DataError
from pumice.evaluate.judging.ask import Case, Judgement
from pumice.evaluate.judging.prompts import grade_prompt, published, suspicious
from pumice.evaluate.judging.sitting import Sitting
from pumice.evaluate.judging.terms import Rules, Terms, Verdicts, counted
from pumice.files import write_text
from pumice.score.answers import Answer, Missing, match, read_answers
from pumice.score.files import is_object, object_rows, read_under, text_of
from pumice.score.mm_vet import parse_grade

TEMPERATURE, WARMER = 0.0, 0.5
"""Of MM-Vet's script: the first attempt's, and what each one after the second adds."""
MAX_TOKENS, OWN_MAX_TOKENS = 3, 16
"""The script's longest reply, and ours: a number in other tokens than GPT-4's."""
JUDGE = "gpt-4-0613"
"""The judge of MM-Vet's published figures."""
PROMPT = "prompt.txt"
"""The text of ``prompt`` in MM-Vet's mm-vet_evaluator.py, beside mm-vet.json."""


@dataclass(frozen=True)
class Material:
    """The files of the benchmark.

    Attributes:
        questions: ``mm-vet.json``.
        prompt: MM-Vet's own, with its examples; None takes our own words.
    """

    questions: Path
    prompt: Path | None

    @staticmethod
    def beside(questions: Path) -> Material:
        """The files by their usual names; MM-Vet's archive has a folder of its name inside the task's."""
        folders = [questions.parent, *questions.parent.parents[:1]]
        if questions.parent.name != "mm-vet":
            del folders[1:]
        found = [folder / PROMPT for folder in folders if (folder / PROMPT).is_file()]
        return Material(questions, found[0] if found else None)


@dataclass(frozen=True)
class _Graded:
    """A question with its truth and what was answered."""

    id: str
    question: str
    truth: str
    answer: str


def judge_grades(material: Material, sitting: Sitting) -> Verdicts:
    """Have answers graded, and write what ``pumice score mm-vet --grades`` reads.

    Args:
        material: the benchmark.
        sitting: its answers are LLaVA's rows, or MM-Vet's object of answers by id; all runs are in ``out``.

    Raises:
        DataError: a file is missing or wrong.
        EndpointError: the judge could not be asked.
    """
    terms = sitting.terms
    graded = _graded(material, sitting.answers, sitting.missing)
    official = None if material.prompt is None else material.prompt.read_text("utf-8")
    cases = [
        Case(one.id, run, partial(_request, one, official, run, terms), parse_grade)
        for run in range(terms.runs)
        for one in graded
    ]
    judged, account = sitting.judge(cases)
    by_run = [judged[run * len(graded) : (run + 1) * len(graded)] for run in range(terms.runs)]
    runs_by_id = {one.id: [run[place] for run in by_run] for place, one in enumerate(graded)}
    rows = {name: _row(runs) for name, runs in runs_by_id.items()}
    write_text(sitting.out, json.dumps(rows, indent=4) + "\n")
    record = sitting.record(
        account,
        Rules(material.prompt, official is not None and published("mm-vet", official.strip()), JUDGE),
        temperature=terms.warmth(TEMPERATURE),
        max_tokens=_longest(official, terms),
        unread=sum(one.score is None for one in judged),
        judgements=len(judged),
    )
    record["notes"] += _notes(graded) if official is not None else []
    read = {name: [one.score for one in runs if one.score is not None] for name, runs in runs_by_id.items()}
    return Verdicts((sitting.out,), {name: float(np.mean(own)) for name, own in read.items() if own}, record)


def _graded(material: Material, answers: Path, missing: Missing) -> list[_Graded]:
    questions = dict(object_rows(material.questions, "", "question file"))
    said = {_name(answer.id): answer for answer in _answers(answers)}
    names = match(said, questions, "skip" if missing == "skip" else "error", str(answers))
    return [
        _Graded(
            name,
            text_of(questions[name].value, "question", questions[name].where),
            text_of(questions[name].value, "answer", questions[name].where),
            said[name].text,
        )
        for name in names
    ]


def _answers(path: Path) -> list[Answer]:
    if not is_object(path, "answer file"):
        return list(read_answers(path).values())
    found = []
    for name, text in read_under(path, "", "answer file"):
        where = f"{path} ({name!r})"
        if not isinstance(text, str):
            raise DataError(
                f"the answer is {kind(text)}, not a string",
                where=where,
                remedy='write {"v1_0": "the answer"}',
            )
        found.append(Answer(name, text, where))
    return found


def _name(id: str) -> str:
    """MM-Vet's name of a question: LLaVA's rows have its number alone."""
    return id if id.startswith("v") else f"v1_{id}"


def _longest(official: str | None, terms: Terms) -> int:
    return terms.max_tokens or (OWN_MAX_TOKENS if official is None else MAX_TOKENS)


def _request(one: _Graded, official: str | None, run: int, terms: Terms, attempt: int) -> Request:
    """As the script asks: from the second attempt on with a line more, from the third on warmer."""
    return Request(
        grade_prompt(one.question, one.truth, one.answer, official, again=attempt > 0),
        max_tokens=_longest(official, terms),
        temperature=terms.warmth(TEMPERATURE, min(WARMER * max(attempt - 1, 0), 2.0)),
        seed=1000 * run + attempt,
        extra=terms.extra,
    )


def _row(runs: Sequence[Judgement[float]]) -> dict[str, list[Any]]:
    """A question in the layout of MM-Vet's grade files; where it has 0.0 for what it could not read, null."""
    return {
        "model": [one.model for one in runs],
        "content": [one.text for one in runs],
        "score": [one.score for one in runs],
    }


def _notes(graded: Sequence[_Graded]) -> list[str]:
    odd = [one.id for one in graded if suspicious(one.answer, "mm-vet")]
    if not odd:
        return []
    return [f"{len(odd)} answers hold pieces of the prompt's table, which has no fence: {counted(odd)}"]
