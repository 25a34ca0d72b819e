"""VQAv2, VizWiz and TextVQA: ten people's answers, and how many of them a model agrees with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.errors import DataError
from pumice.files import write_text
from pumice.score.answers import Answer, by_id, match, read_answers, row_id, said
from pumice.score.files import Row, rows_or_under, strings_of, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, means
from pumice.score.words import (
    evaluation_answer,
    one_line,
    process_digit_article,
    process_punctuation,
    submission_answer,
)

PEOPLE = 10
_TOKENS = "Reference OCR token: "


def agreement(answer: str, truths: Sequence[str]) -> float:
    """The soft accuracy of an answer: over each person left out, min(1, others that say it / 3), averaged.

    Both sides are compared as they are. Of ten people, 4 that agree make 1, 3 make 0.9, 2 0.6, 1 0.3.

    >>> agreement("red", ["red"] * 3 + ["blue"] * 7)
    0.9
    """
    same = sum(truth == answer for truth in truths)
    if not truths:
        return 0.0
    with_one_out = min(1.0, (same - 1) / 3) if same else 0.0
    others = len(truths) - same
    return round((same * with_one_out + others * min(1.0, same / 3)) / len(truths), 12)


def vqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """VQAv2's official accuracy (vqaEval.py), and VizWiz's.

    Both sides go through ``evaluation_answer``, but only where the people differ: what all ten wrote alike
    is compared as it is, letter by letter.
    """
    truths = [one_line(truth) for truth in truths]
    answer = one_line(answer)
    if len(set(truths)) > 1:
        truths = [process_digit_article(process_punctuation(truth)) for truth in truths]
        answer = evaluation_answer(answer)
    return agreement(answer, truths)


def textvqa_accuracy(answer: str, truths: Sequence[str]) -> float:
    """TextVQA's soft accuracy (M4C's evaluator): both sides always through ``submission_answer``.

    An empty answer, as "a" becomes one, agrees with a person whose answer became empty, too.
    """
    return agreement(submission_answer(answer), [submission_answer(truth) for truth in truths])


def vqav2(inputs: Inputs) -> Result:
    """VQAv2 with labels at hand (the validation set); answers are processed as for a submission first."""
    answers = read_answers(inputs.said)
    rows = by_id(rows_or_under(inputs.truth, "annotations", "annotation file"))
    items = []
    for name in match(answers, inputs.wanted(rows), inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        given = None if text is None else submission_answer(text)
        score = 0.0 if given is None else vqa_accuracy(given, _people(row))
        kind = (str(row.value["answer_type"]),) if "answer_type" in row.value else ()
        items.append(Item(name, given or "", score, kind))
    return means("vqav2", items)


def vizwiz(inputs: Inputs) -> Result:
    """VizWiz with labels at hand (the validation set), by picture."""
    by_image = _images(inputs.questions) if inputs.labels is not None else {}
    answers = read_answers(
        inputs.said, lambda answer, row: by_image.get(answer.id) or str(row.value.get("image", answer.id))
    )
    rows = by_id(_vizwiz_rows(inputs.truth), _image)
    items = []
    for name in match(answers, inputs.wanted(rows, _image), inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        given = None if text is None else submission_answer(text)
        score = 0.0 if given is None else vqa_accuracy(given, _people(row))
        kind = (str(row.value["answer_type"]),) if "answer_type" in row.value else ()
        items.append(Item(name, given or "", score, kind))
    return means("vizwiz", items)


def textvqa(inputs: Inputs) -> Result:
    """TextVQA's validation set. LLaVA's answers have the picture's id and the prompt to find it by."""
    rows = by_id(rows_or_under(inputs.truth, "data", "question file"))
    wanted = inputs.wanted(rows, _Finder(rows).question)
    finder = _Finder(rows)
    answers = read_answers(inputs.said, finder.answer)
    items = []
    for name in match(answers, wanted, inputs.missing, str(inputs.said)):
        text, truths = said(answers, name), _people(rows[finder.last[name]])
        score = 0.0 if text is None else textvqa_accuracy(text, truths)
        items.append(Item(name, "" if text is None else submission_answer(text), score))
    return means("textvqa", items)


class _Finder:
    """Finds questions of TextVQA, each row of a file another one where a picture is asked the same twice.

    ``last`` names, for each question, the one whose answers it is scored with: LLaVA's evaluation looks
    annotations up by picture and question, so of equal ones the last stands for all.
    """

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self.rows = rows
        self.same: dict[tuple[str, str], list[str]] = {}
        for name, row in rows.items():
            question = text_of(row.value, "question", row.where).lower()
            self.same.setdefault((str(row.value.get("image_id")), question), []).append(name)
        self.last = {name: every[-1] for every in self.same.values() for name in every}
        self.given: dict[tuple[str, str], int] = {}

    def answer(self, answer: Answer, row: Row) -> str:
        """The question of an answer."""
        return self._find(answer.id, str(row.value.get("prompt", "")), row.where)

    def question(self, row: Row) -> str:
        """The question of a row of LLaVA's question file."""
        return self._find(row_id(row), text_of(row.value, "text", row.where), row.where)

    def _find(self, id: str, prompt: str, where: str) -> str:
        if id in self.rows:
            return id
        asked = prompt_question(prompt, where)
        key = (id, asked.lower())
        if key not in self.same:
            raise DataError(
                f"no question {asked!r} is asked about the picture {id!r}",
                where=where,
                remedy="check that answers and questions are of the same split",
            )
        number = self.given.get(key, 0)
        self.given[key] = number + 1
        return self.same[key][min(number, len(self.same[key]) - 1)]


def prompt_question(prompt: str, where: str) -> str:
    """The question inside one of LLaVA's three prompts for TextVQA (eval_textvqa.py).

    Raises:
        DataError: the prompt has another form.
    """
    lines = prompt.split("\n")
    if prompt.startswith("OCR tokens: "):
        found = re.search(r"Question: (.*?) Short answer:", prompt, re.S)
        if found is not None:
            return found[1]
    elif _TOKENS in prompt and len(lines) == 3:
        return lines[1] if prompt.startswith(_TOKENS.strip()) else lines[0]
    elif len(lines) == 2:
        return lines[0]
    raise DataError(
        "the question cannot be found in the prompt",
        where=where,
        remedy="a prompt is the question, perhaps a line 'Reference OCR token: ...', and the instruction; or "
        "let question_id be that of the question file",
    )


def submit_vqav2(inputs: Inputs, target: Path) -> int:
    """Write the JSON that VQAv2's server takes: every question of the split, with its processed answer."""
    answers = read_answers(inputs.said)
    rows = [row_id(row) for row in rows_or_under(inputs.asked, "questions", "question file")]
    found = [
        {"question_id": int(name) if name.isdecimal() else name, "answer": _given(answers, name)}
        for name in match(answers, rows, inputs.missing, str(inputs.said))
    ]
    return _write(target, found)


def submit_vizwiz(inputs: Inputs, target: Path) -> int:
    """Write the JSON that VizWiz's server takes: picture and processed answer, in the order of the split."""
    images = _images(inputs.asked)
    answers = read_answers(inputs.said)
    found = [
        {"image": images[name], "answer": _given(answers, name)}
        for name in match(answers, images, inputs.missing, str(inputs.said))
    ]
    return _write(target, found)


def _given(answers: dict[str, Answer], name: str) -> str:
    text = said(answers, name)
    return "" if text is None else submission_answer(text)


def _write(target: Path, rows: list[dict[str, Any]]) -> int:
    write_text(target, json.dumps(rows))
    return len(rows)


def _image(row: Row) -> str:
    return text_of(row.value, "image", row.where)


def _vizwiz_rows(path: Path) -> list[Row]:
    return rows_or_under(path, "data", "annotation file")


def _images(path: Path | None) -> dict[str, str]:
    """Pictures by question: LLaVA's question file, or VizWiz's own, where the picture is the id."""
    found: dict[str, str] = {}
    for row in [] if path is None else _vizwiz_rows(path):
        image = text_of(row.value, "image", row.where)
        found[str(row.value.get("question_id", image))] = image
    return found


def people_of(row: Row) -> list[str]:
    """What people answered to a question.

    Published test splits tell nothing: TextVQA's has no ``answers``, and programs that read it put an empty
    list or ten empty texts there. Scored against these, an empty answer would be right.

    Raises:
        DataError: nobody answered, or ``answers`` is no list of texts.
    """
    answers = row.value.get("answers")
    silent = isinstance(answers, list) and all(isinstance(one, str) and not one.strip() for one in answers)
    if silent or ("answers" not in row.value and row.value.get("set_name") == "test"):
        raise DataError(
            "the question has no answers of people to be scored by, as those of a test split, which only the "
            "benchmark's server can score",
            where=row.where,
            remedy="take the file of the validation split, such as TextVQA_0.5.1_val.json",
        )
    return strings_of(row.value, "answers", row.where)


def _people(row: Row) -> list[str]:
    truths = people_of(row)
    if len(truths) != PEOPLE:
        raise DataError(
            f"the question has {len(truths)} true answers, not {PEOPLE}",
            where=row.where,
            remedy="take the annotation file as it was published",
        )
    return truths
