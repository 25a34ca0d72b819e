"""MMBench and MMBench-CN: the dev sets scored here, every set written for the server."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pumice.errors import DataError, UsageError
from pumice.files import replacing
from pumice.score.answers import Answer, by_id, match, read_answers, row_id, said
from pumice.score.files import Row, read, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, mean_interval, means, percent
from pumice.score.xlsx import write_xlsx

LETTERS = ("A", "B", "C", "D")
ROTATIONS = 1_000_000
"""The index of a rotation of a question is its own plus a multiple of this."""
DROPPED = ("hint", "category", "source", "image", "comment", "l2-category")
"""Columns that LLaVA's converter takes out of what it submits."""
PLACE = 6
"""Of the column of predictions among the rest."""


def mmbench_letter(raw: str, options: Sequence[str]) -> str | None:
    """The option of an answer by LLaVA's rule (eval_mmbench.py); None where it would ask ChatGPT.

    A letter, in any case, with full stops around it; or "the answer is X." anywhere; or words that stand in
    exactly one option.

    >>> options = ["red car", "blue car"]
    >>> [mmbench_letter(text, options) for text in ("b", "A.", "So the answer is B.", "blue", "car", "C")]
    ['B', 'A', 'B', 'B', None, 'B']
    """
    letters = LETTERS[: len(options)]
    alone = raw.strip(".").strip().upper()
    if alone in letters:
        return alone
    words = raw.lower()
    for letter in letters:
        if f"the answer is {letter}.".lower() in words:
            return letter
    within = [letter for letter, option in zip(letters, options, strict=True) if words in option.lower()]
    return within[0] if len(within) == 1 else None


def options_of(row: Row) -> list[str]:
    """The options of a row, up to the first that is empty, "nan" or "none"."""
    found: list[str] = []
    for letter in LETTERS:
        text = str(row.value.get(letter, ""))
        if text.lower() in ("", "nan", "none"):
            break
        found.append(text)
    if not found:
        raise DataError("the question has no options", where=row.where, remedy="columns A to D hold them")
    return found


def scorer(task: str) -> Callable[[Inputs], Result]:
    """The scorer of one language; both are scored alike."""

    def score(inputs: Inputs) -> Result:
        return _score(task, inputs)

    return score


def _score(task: str, inputs: Inputs) -> Result:
    """Accuracy by the circular rule, a question being right when all its rotations are, and by the plain one.

    Rotations are rows of the table (index above a million) or rounds of LLaVA's --all-rounds.
    """
    rows = by_id(read(inputs.asked, "question table"))
    first = next(iter(rows.values()))
    if "answer" not in first.value:
        raise DataError(
            "the table has no answers",
            where=first.where,
            remedy="only the server can score this split: say --submission OUT.xlsx",
        )
    answers = read_answers(inputs.said, round_key)
    asked = asked_of(rows, answers)
    scored = set(match(answers, asked, inputs.missing, str(inputs.said)))
    verdicts: dict[str, list[tuple[str, float]]] = {}
    whole: dict[str, int] = {}
    unread = 0
    for name in asked:
        index = name.partition("#")[0]
        base = _base(rows[index])
        whole[base] = whole.get(base, 0) + 1
        if name in scored:
            letter = _letter(answers.get(name), rows[index])
            unread += name in answers and letter is None
            truth = text_of(rows[index].value, "answer", rows[index].where).strip()
            verdicts.setdefault(base, []).append((letter or "", float(letter == truth)))
    return _result(task, rows, verdicts, whole, unread)


def _result(
    task: str,
    rows: Mapping[str, Row],
    verdicts: Mapping[str, list[tuple[str, float]]],
    whole: Mapping[str, int],
    unread: int,
) -> Result:
    items = []
    for base, each in verdicts.items():
        if len(each) < whole[base]:
            continue  # a rotation was not answered, and such questions are to be skipped
        row = rows[base] if base in rows else next(row for row in rows.values() if _base(row) == base)
        kinds = tuple(str(row.value[key]) for key in ("category", "l2-category") if row.value.get(key))
        items.append(
            Item(base, " ".join(letter for letter, _ in each), min(score for _, score in each), kinds)
        )
    result = means(task, items, counts={"unparsed": unread, "answers": sum(map(len, verdicts.values()))})
    plain = [verdicts[item.id][0][1] for item in items]
    circular = any(count > 1 for count in whole.values())
    notes = (
        [f"{unread} answers name no option by rule and count as wrong; the server asks a judge"]
        if unread
        else []
    )
    if not circular:
        notes.append("no rotations: this is plain accuracy, above what the server says by its circular rule")
    return Result(
        task,
        result.n,
        {**result.metrics, "vanilla": percent(plain)},
        {**result.intervals, "vanilla": mean_interval(plain)} if plain else {},
        result.groups,
        result.counts,
        tuple(notes),
        result.items,
    )


def _base(row: Row) -> str:
    index = row_id(row)
    return str(int(index) % ROTATIONS) if index.isdecimal() else index


def asked_of(rows: Mapping[str, Row], answers: Mapping[str, Answer]) -> list[str]:
    """The names of all that is to be answered: the rows', with LLaVA's rounds where an answer is of one."""
    if any("#" in name for name in answers):
        return [name for index, row in rows.items() for name in _rounds(index, row)]
    return list(rows)


def _rounds(index: str, row: Row) -> list[str]:
    """The rounds of a question, one for each option in the first place."""
    return [index, *(f"{index}#{number}" for number in range(1, len(options_of(row))))]


def round_key(answer: Answer, row: Row) -> str:
    """The name of an answer: its question's, with ``#1`` behind it of the second round, and so on."""
    number = row.value.get("round_id", 0)
    return f"{answer.id}#{number}" if number else answer.id


def shown_options(answer: Answer, row: Row) -> tuple[list[str], list[str]]:
    """The options as a model saw them, and the letter in the table of each.

    Answers of later rounds tell both in ``options`` and ``option_char``, as LLaVA's model_vqa_mmbench does.

    Raises:
        DataError: an answer of a later round does not tell them.
    """
    options, letters = answer.row.get("options"), answer.row.get("option_char")
    if isinstance(options, list) and isinstance(letters, list) and len(options) == len(letters):
        return [str(option) for option in options], [str(letter) for letter in letters]
    if answer.row.get("round_id", 0):
        raise DataError(
            "an answer of a later round does not tell its options",
            where=answer.where,
            remedy="write options and option_char as LLaVA's model_vqa_mmbench does",
        )
    own = options_of(row)
    return own, list(LETTERS[: len(own)])


def _letter(answer: Answer | None, row: Row) -> str | None:
    """The letter of the row's own options that an answer names."""
    if answer is None:
        return None
    options, letters = shown_options(answer, row)
    shown = mmbench_letter(answer.text, options)
    return None if shown is None else letters[LETTERS.index(shown)]


def submit_mmbench(inputs: Inputs, target: Path) -> int:
    """Write the table that MMBench's server takes: the questions without pictures, with a prediction each.

    Args:
        inputs: answers, and the TSV of questions.
        target: ``.xlsx``, or ``.tsv`` for the same as text.
    """
    if target.suffix not in (".xlsx", ".tsv"):
        raise UsageError(
            f"MMBench's server takes no {target.suffix or 'such file'}",
            where="--submission",
            remedy="name a file .xlsx (or .tsv)",
        )
    rows = by_id(read(inputs.asked, "question table"))
    answers = {k: v for k, v in read_answers(inputs.said, round_key).items() if "#" not in k}
    scored = match(answers, rows, inputs.missing, str(inputs.said))
    kept = [key for key in next(iter(rows.values())).value if key not in DROPPED]
    head = [*kept[:PLACE], "prediction", *kept[PLACE:]]
    table = []
    for name in scored:
        values = {**rows[name].value, "prediction": said(answers, name) or ""}
        table.append([int(name) if key == "index" and name.isdecimal() else str(values[key]) for key in head])
    if target.suffix == ".xlsx":
        write_xlsx(target, head, table)
    else:
        with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([head, *table])
    return len(table)
