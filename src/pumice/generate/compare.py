"""Length and form of instruction data, side by side: what was generated, and what others wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import DataError
from pumice.types import PLACEHOLDER

NAMES = {"conv": "conversation", "complex": "reasoning"}
"""What LLaVA's files call kinds, and what they are called here."""
_SENTENCE = re.compile(r"[.!?](?=\s|$)")


@dataclass(frozen=True)
class Form:
    """Of one kind in one file.

    Attributes:
        rows: how many.
        turns: of a row, on average.
        question: words of a question, on average.
        answer: words of an answer, on average.
        spread: words of an answer that a tenth stays under, half, and nine tenths.
        sentences: of an answer, on average.
        paragraphs: of an answer, on average.
        different: share of questions that no other one equals.
        begins: the commonest first two words of answers, and their share.
    """

    rows: int
    turns: float
    question: float
    answer: float
    spread: tuple[float, float, float]
    sentences: float
    paragraphs: float
    different: float
    begins: tuple[str, float]


def read_forms(path: Path) -> dict[str, Form]:
    """The form of each kind in a file: rows of LLaVA JSON with ``type``, or ``instruction`` and ``output``.

    Raises:
        DataError: the file cannot be read, or a row is of neither form.
    """
    pairs: dict[str, list[Sequence[tuple[str, str]]]] = {}
    problems = Problems()
    for number, row in read_objects(path, problems):
        try:
            kind = str(row.get("type", "all"))
            pairs.setdefault(NAMES.get(kind, kind), []).append(list(_pairs(row, f"{path}, row {number}")))
        except DataError as error:
            problems.add(error)
    problems.raise_if_any(f"{path} has rows that cannot be used")
    return {kind: form_of(rows) for kind, rows in sorted(pairs.items())}


def form_of(rows: Sequence[Sequence[tuple[str, str]]]) -> Form:
    """The form of rows, each some questions with answers; there is at least one."""
    questions = [question for row in rows for question, _ in row]
    answers = [answer for row in rows for _, answer in row]
    lengths = [len(answer.split()) for answer in answers]
    tenths = quantiles(lengths, n=10, method="inclusive") if len(lengths) > 1 else [float(lengths[0])] * 9
    openings = Counter(" ".join(answer.split()[:2]) for answer in answers)
    opening, times = min(openings.items(), key=lambda pair: (-pair[1], pair[0]))
    return Form(
        len(rows),
        fmean(len(row) for row in rows),
        fmean(len(question.split()) for question in questions),
        fmean(lengths),
        (tenths[0], tenths[4], tenths[8]),
        fmean(max(len(_SENTENCE.findall(answer)), 1) for answer in answers),
        fmean(len([part for part in answer.split("\n") if part.strip()]) for answer in answers),
        len(set(questions)) / len(questions),
        (opening, times / len(answers)),
    )


def _pairs(row: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    if "instruction" in row and "output" in row:
        yield str(row["instruction"]), str(row["output"])
        return
    turns = row.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise DataError(
            "the row has neither conversations nor instruction and output",
            where=where,
            remedy="take LLaVA JSON, or rows of instruction, output and type",
        )
    values = [str(turn.get("value", "")) for turn in turns if turn.get("from") in ("human", "gpt")]
    for question, answer in zip(values[::2], values[1::2], strict=False):
        yield question.replace(PLACEHOLDER, "").strip(), answer
