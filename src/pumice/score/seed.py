"""SEED-Bench: the letter, per type of question, over pictures and videos."""

from __future__ import annotations

from pumice.errors import DataError
from pumice.score.answers import by_id, match, read_answers, said
from pumice.score.files import object_rows, read_under, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, mean_interval, means, percent

LETTERS = ("A", "B", "C", "D")
KINDS = ("image", "video")


def seed(inputs: Inputs) -> Result:
    """Accuracy over all questions, over those on pictures and on videos, and by type.

    The answer is the letter, exactly: LLaVA's scorer takes neither "A." nor "a". What is no letter is counted
    as unparsed. Type names come from the official question file (``question_type``).
    """
    path = inputs.asked
    types = {str(value): name for name, value in read_under(path, "question_type", "question file")}
    answers = read_answers(inputs.said)
    rows = by_id(row for _, row in object_rows(path, "questions", "question file"))
    items: list[Item] = []
    unread = 0
    for name in match(answers, rows, inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        truth = text_of(row.value, "answer", row.where)
        if truth not in LETTERS:
            raise DataError(f"the answer is {truth!r}", where=row.where, remedy="an answer is A, B, C or D")
        number = str(row.value.get("question_type_id"))
        if number not in types:
            raise DataError(
                f"the type {number} has no name",
                where=row.where,
                remedy="question_type of the file names each question_type_id",
            )
        kind = str(row.value.get("data_type", KINDS[0]))
        unread += text is not None and text not in LETTERS
        items.append(Item(name, text or "", float(text == truth), (types[number], kind)))
    result = means("seed", items, counts={"unparsed": unread})
    kinds = {
        kind: [item.score for item in items if item.groups[1] == kind]
        for kind in KINDS
        if any(item.groups[1] == kind for item in items)
    }
    return Result(
        "seed",
        result.n,
        {**result.metrics, **{f"accuracy_{kind}": percent(scores) for kind, scores in kinds.items()}},
        {**result.intervals, **{f"accuracy_{kind}": mean_interval(scores) for kind, scores in kinds.items()}},
        {name: group for name, group in result.groups.items() if name not in kinds},
        result.counts,
        items=result.items,
    )
