"""MMBench: a judge says which option an answer means where no rule can tell.

The benchmark's server does so, too. What is written is the file of answers again, with a letter for each that
the judge could match, so the scorer's rule reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pumice.data.lines import write_lines
from pumice.endpoint.request import Request
from pumice.evaluate.judging.ask import Case, Judgement
from pumice.evaluate.judging.prompts import match_prompt
from pumice.evaluate.judging.sitting import Sitting
from pumice.evaluate.judging.terms import Rules, Terms, Verdicts
from pumice.score.answers import TEXTS, Answer, by_id, match, read_answers
from pumice.score.files import Row, read, text_of
from pumice.score.mmbench import LETTERS, asked_of, mmbench_letter, round_key, shown_options

TEMPERATURE, MAX_TOKENS = 0.0, 16
NONE = "Z"
"""What a judge says where an answer chooses no option."""
SAID, BY = "said", "matched_by"
"""Keys of ours in a row: what was answered, and which judge took it for its letter."""


@dataclass(frozen=True)
class Material:
    """The benchmark: its table."""

    questions: Path


@dataclass(frozen=True)
class _Unread:
    """An answer that names no option by rule; the options by the letters that the model saw."""

    name: str
    question: str
    options: dict[str, str]
    letters: list[str]
    truth: str
    answer: Answer


def parse_letter(text: str, letters: str) -> str | None:
    """The letter of a judge's reply, Z among them; None where it is none.

    >>> [parse_letter(text, "AB") for text in (" B.", "(z)", "C", "A or B")]
    ['B', 'Z', None, None]
    """
    said = text.strip().strip("().").strip().upper()
    return said if len(said) == 1 and said in letters + NONE else None


def judge_choices(material: Material, sitting: Sitting) -> Verdicts:
    """Have answers that no rule reads matched with the options, and write what ``pumice score`` reads.

    Args:
        material: the benchmark.
        sitting: its answers are LLaVA's rows, and ``out`` has them again; a row that was matched keeps what
            was answered under ``said``.

    Raises:
        DataError: a file is missing or wrong.
        EndpointError: the judge could not be asked.
    """
    terms = sitting.terms
    found = read_answers(sitting.answers, round_key)
    rows = by_id(read(material.questions, "question table"))
    names = match(found, asked_of(rows, found), sitting.missing, str(sitting.answers))
    unread = [one for name in names if (one := _unread(name, found[name], rows[name.partition("#")[0]]))]
    cases = [
        Case(one.name, 0, partial(_request, one, terms), partial(parse_letter, letters="".join(one.options)))
        for one in unread
    ]
    judged, account = sitting.judge(cases)
    by_name = {one.name: judgement for one, judgement in zip(unread, judged, strict=True)}
    written = [_row(found[name], by_name.get(name)) for name in names]
    write_lines(sitting.out, written)
    record = sitting.record(
        account,
        Rules(None, False, ""),
        temperature=terms.warmth(TEMPERATURE),
        max_tokens=terms.max_tokens or MAX_TOKENS,
        unread=sum(one.score is None for one in judged),
        judgements=len(judged),
    )
    record["none"] = sum(one.score == NONE for one in judged)
    scores = {
        one.name: float(judgement.score != NONE and one.letters[LETTERS.index(judgement.score)] == one.truth)
        for one, judgement in zip(unread, judged, strict=True)
        if judgement.score is not None and one.truth
    }
    return Verdicts((sitting.out,), scores, record)


def _unread(name: str, answer: Answer, row: Row) -> _Unread | None:
    """What a judge is asked of an answer; None where a rule reads it, or nothing was answered."""
    options, letters = shown_options(answer, row)
    if not answer.text.strip() or mmbench_letter(answer.text, options) is not None:
        return None
    return _Unread(
        name,
        text_of(row.value, "question", row.where),
        dict(zip(LETTERS, options, strict=False)),
        letters,
        str(row.value.get("answer", "")).strip(),
        answer,
    )


def _request(one: _Unread, terms: Terms, attempt: int) -> Request:
    return Request(
        match_prompt(one.question, one.options, one.answer.text),
        max_tokens=terms.max_tokens or MAX_TOKENS,
        temperature=terms.warmth(TEMPERATURE),
        seed=attempt,
        extra=terms.extra,
    )


def _row(answer: Answer, judgement: Judgement[str] | None) -> dict[str, Any]:
    row = dict(answer.row)
    if judgement is None or judgement.score in (None, NONE):
        return row
    key = next(key for key in TEXTS if key in row)
    return row | {key: judgement.score, SAID: answer.text, BY: judgement.model}
