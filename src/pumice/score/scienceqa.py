"""ScienceQA: letters parsed out of answers, over all questions and over those with a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pumice.data.rows import kind
from pumice.errors import DataError
from pumice.score.answers import Answer, by_id, match, read_answers, said
from pumice.score.files import Row, is_object, missing_file, need, object_rows, read, read_under, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, mean_interval, percent

LETTERS = ("A", "B", "C", "D", "E")
SPLITS = "pid_splits.json"
SPLIT = "test"
_SAYS = re.compile(r"The answer is ([A-Z]).")


def scienceqa_letter(text: str) -> str | None:
    """The letter an answer gives, by LLaVA's rule (eval_science_qa.py); None where it gives none or several.

    The answer is a letter alone; or begins with a letter, a full stop and a space; or holds exactly once
    "The answer is X" with a character behind the letter, whichever that is.

    >>> [scienceqa_letter(text) for text in ("B", "B. Blue", "So. The answer is C.", "b")]
    ['B', 'B', 'C', None]
    """
    if text in LETTERS:
        return text
    if len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        return text[0]
    found = _SAYS.findall(text)
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Problem:
    """A question: the letter of its answer, how many choices it has, and whether it has a picture.

    None is what a file does not tell; the prompt of the answer then says whether there was a picture.
    """

    truth: str
    choices: int | None
    pictured: bool | None


def scienceqa(inputs: Inputs) -> Result:
    """Accuracy over all questions, and over those with a picture.

    The truth comes from ``problems.json`` (with ``pid_splits.json`` beside it, its test split), or from an
    output file of LLaVA's evaluation, which holds answers and truth both.
    """
    answers = _answers(inputs.said)
    problems = _problems(inputs)
    items, unread = [], 0
    for name in match(answers, inputs.wanted(problems), inputs.missing, str(inputs.said)):
        problem, text = problems[name], said(answers, name)
        letter = None if text is None else scienceqa_letter(text)
        choices = LETTERS if problem.choices is None else LETTERS[: problem.choices]
        if letter is None or letter not in choices:
            unread += text is not None
            letter = None
        pictured = problem.pictured
        if pictured is None:
            pictured = name in answers and "<image>" in str(answers[name].row.get("prompt", ""))
        groups = ("image",) if pictured else ("text",)
        items.append(Item(name, letter or "", float(letter == problem.truth), groups))
    return _result(items, unread)


def _result(items: Sequence[Item], unread: int) -> Result:
    scores = [item.score for item in items]
    pictured = [item.score for item in items if item.groups == ("image",)]
    metrics, intervals = {"accuracy": percent(scores)}, {"accuracy": mean_interval(scores)}
    if pictured:
        metrics["accuracy_img"], intervals["accuracy_img"] = percent(pictured), mean_interval(pictured)
    counts = {"unparsed": unread, "image": len(pictured)}
    return Result("scienceqa", len(items), metrics, intervals, {}, counts, items=tuple(items))


def _form(path: Path) -> Literal["analysis", "results", ""]:
    """Which of the two files that LLaVA's evaluation wrote this is, by how it begins; "" for neither."""
    if not path.is_file():
        raise missing_file(path, "file")
    with path.open("rb") as file:
        head = file.read(1 << 16).lstrip()
    if not head.startswith(b"{"):
        return ""
    if re.match(rb'\{\s*"(in)?correct"\s*:\s*\[', head):
        return "analysis"
    return "results" if re.search(rb'"(results|outputs)"\s*:\s*\{', head) else ""


def _answers(path: Path) -> dict[str, Answer]:
    """Rows of answers, or one of the two files that LLaVA's evaluation writes: analysis or results."""
    form = _form(path)
    if form == "analysis":
        return {
            name: Answer(name, text_of(row.value, "pred", row.where), row.where, row.value)
            for name, row in _analysis(path).items()
        }
    if form == "":
        return read_answers(path)
    found = {}
    for name, text in read_under(path, "outputs", "result file"):
        where = f"{path}, outputs of {name!r}"
        if not isinstance(text, str):
            raise DataError(f"the output is {kind(text)}", where=where, remedy="an output is text")
        found[name] = Answer(name, text, where)
    return found


def _analysis(path: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for part in ("correct", "incorrect"):
        for _, row in object_rows(path, part, "analysis"):
            name = str(need(row.value, "question_id", row.where))
            if name in rows:
                raise DataError(
                    f"question {name} stands twice, before in {rows[name].where}",
                    where=row.where,
                    remedy="take the file as it was written",
                )
            rows[name] = row
    return rows


def _problems(inputs: Inputs) -> dict[str, Problem]:
    path = inputs.labels or inputs.questions or inputs.said
    if path.is_dir():
        path = path / "problems.json"
    form = _form(path)
    if form == "analysis":
        return {name: _of_analysis(row) for name, row in _analysis(path).items()}
    if form == "results" or path == inputs.answers:
        raise DataError(
            "this file holds answers and no truth",
            where=str(path),
            remedy="say --labels problems.json of ScienceQA (with pid_splits.json beside it)",
        )
    if not is_object(path, "problem file"):
        return {name: _of_turns(row) for name, row in by_id(read(path, "problem file")).items()}
    problems = {name: _of_problem(row) for name, row in object_rows(path, "", "problem file")}
    splits = path.with_name(SPLITS)
    if not splits.is_file():
        return problems
    ids = [str(value) for _, value in read_under(splits, SPLIT, "file of splits")]
    absent = [name for name in ids if name not in problems]
    if absent:
        raise DataError(
            f"{len(absent):,} questions of the test split are not among the problems, as {absent[0]}",
            where=str(path),
            remedy=f"take {path.name} and {SPLITS} from the same release",
        )
    return {name: problems[name] for name in ids}


def _of_analysis(row: Row) -> Problem:
    pictured = need(row.value, "is_multimodal", row.where)
    return Problem(text_of(row.value, "ground_truth", row.where), None, bool(pictured))


def _of_problem(row: Row) -> Problem:
    choices, answer = need(row.value, "choices", row.where), need(row.value, "answer", row.where)
    if not isinstance(choices, list) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise DataError(
            f"the answer is {answer!r} of {len(choices) if isinstance(choices, list) else 'no'} choices",
            where=row.where,
            remedy="take problems.json as it was published",
        )
    return Problem(
        LETTERS[answer], len(choices), row.value["image"] is not None if "image" in row.value else None
    )


def _of_turns(row: Row) -> Problem:
    """A row of LLaVA's own question file: the second turn is the answer, "The answer is B."."""
    turns = need(row.value, "conversations", row.where)
    truth = None
    if isinstance(turns, list) and len(turns) > 1 and isinstance(turns[1], dict):
        truth = scienceqa_letter(text_of(turns[1], "value", row.where))
    if truth is None:
        raise DataError(
            "the second turn names no letter",
            where=row.where,
            remedy="say --labels problems.json of ScienceQA (with pid_splits.json beside it)",
        )
    return Problem(truth, None, "image" in row.value)
