"""DocVQA (ANLS) and ChartQA (relaxed accuracy)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pumice.errors import DataError
from pumice.files import write_text
from pumice.score.answers import by_id, match, read_answers, row_id, said
from pumice.score.files import Row, need, read, rows_or_under, strings_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, mean_interval, means, percent

THRESHOLD = 0.5
TOLERANCE = 0.05


def distance(first: str, second: str) -> int:
    """Levenshtein's: insertions, deletions and substitutions of characters.

    >>> distance("kitten", "sitting")
    3
    """
    before = list(range(len(second) + 1))
    for row, letter in enumerate(first, 1):
        now = [row]
        for place, other in enumerate(second, 1):
            now.append(min(before[place] + 1, now[-1] + 1, before[place - 1] + (letter != other)))
        before = now
    return before[-1]


def anls(raw: str, truths: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one question, by the challenge's own script.

    Lower case and single spaces are compared, but the longer of both texts as they are is what the distance
    is divided by. The best of the true answers counts; below 0.5 it is 0, and 0.5 itself stays.

    >>> anls("Hello", ["hello"]), anls("abcd", ["abxy"]), anls("abcd", ["axyz"])
    (1.0, 0.5, 0.0)
    """
    given = " ".join(raw.strip().lower().split())
    values = []
    for truth in truths:
        longest = max(len(truth), len(raw))
        wanted = " ".join(truth.strip().lower().split())
        values.append(distance(wanted, given) / longest if longest else 0.0)
    best = 1 - min(values)
    return best if best >= THRESHOLD else 0.0


def relaxed_correct(raw: str, truth: str) -> bool:
    """ChartQA's rule: a number within 5% of the true one, or else the same text in lower case.

    A per cent sign divides by 100, so "5%" is not 5. A true 0 allows no tolerance and is compared as text.

    >>> [relaxed_correct(*pair) for pair in (("104", "100"), ("106", "100"), ("5%", "5"), ("Yes", "yes"))]
    [True, False, False, True]
    """
    given, wanted = _number(raw), _number(truth)
    if given is not None and wanted:
        return abs(given - wanted) / abs(wanted) <= TOLERANCE
    return raw.lower() == truth.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def docvqa(inputs: Inputs) -> Result:
    """ANLS over all questions and by their types, and how many answers are exactly a true one."""
    answers = read_answers(inputs.said)
    rows = by_id(rows_or_under(inputs.truth, "data", "annotation file"))
    items, exact = [], []
    for name in match(answers, inputs.wanted(rows), inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name)
        truths = strings_of(row.value, "answers", row.where)
        value = 0.0 if text is None else anls(text, truths)
        kinds = row.value.get("question_types") or ()
        items.append(Item(name, (text or "").strip(), value, tuple(str(kind) for kind in kinds)))
        exact.append(value == 1.0)
    result = means("docvqa", items, metric="anls")
    return Result(
        "docvqa",
        result.n,
        {**result.metrics, "accuracy": percent(exact)},
        {**result.intervals, "accuracy": mean_interval(exact)},
        result.groups,
        items=result.items,
    )


def submit_docvqa(inputs: Inputs, target: Path) -> int:
    """Write the JSON that the Robust Reading server takes."""
    answers = read_answers(inputs.said)
    asked = [row_id(row) for row in rows_or_under(inputs.asked, "data", "question file")]
    found = [
        {"questionId": int(name) if name.isdecimal() else name, "answer": said(answers, name) or ""}
        for name in match(answers, asked, inputs.missing, str(inputs.said))
    ]
    write_text(target, json.dumps(found))
    return len(found)


def chartqa(inputs: Inputs) -> Result:
    """Relaxed accuracy over all questions, over those that people wrote and over the generated ones.

    Labels are the folder (or a file) of ``test_human.json`` and ``test_augmented.json``, or the hub's rows.
    Rows without an id are named by file and number: ``test_human/0``.
    """
    answers = read_answers(inputs.said)
    rows = chart_rows(inputs.truth)
    items = []
    for name in match(answers, inputs.wanted(rows), inputs.missing, str(inputs.said)):
        (row, kind), text = rows[name], said(answers, name)
        truth = chart_label(row)
        correct = text is not None and relaxed_correct(text, truth)
        items.append(Item(name, text or "", float(correct), (kind,) if kind else ()))
    return means("chartqa", items, metric="relaxed_accuracy")


def chart_rows(path: Path) -> dict[str, tuple[Row, str]]:
    """Row and kind of every question by its id, of ChartQA's folder or of one file.

    Raises:
        DataError: there is no file, a row is wrong, or an id stands twice.
    """
    files = sorted(path.glob("test_*.json")) if path.is_dir() else [path]
    if not files:
        raise DataError(
            "the folder holds no test_*.json", where=str(path), remedy="give the folder of the test set"
        )
    found: dict[str, tuple[Row, str]] = {}
    for file in files:
        for number, row in enumerate(read(file, "label file")):
            has_id = any(key in row.value for key in ("question_id", "id"))
            name = row_id(row) if has_id else f"{file.stem}/{number}"
            if name in found:
                raise DataError(f"{name!r} stands twice", where=row.where, remedy="give each its own id")
            found[name] = (row, chart_kind(row, file))
    return found


def chart_kind(row: Row, file: Path) -> str:
    """``human`` or ``augmented``, as a row or the name of its file says; empty where neither does."""
    told = str(row.value.get("type", row.value.get("human_or_machine", file.stem)))
    if told in ("0", "1"):  # the hub's rows number them
        return "human" if told == "0" else "augmented"
    return next((kind for kind in ("human", "augmented") if kind in told), "")


def chart_label(row: Row) -> str:
    """The true answer of a row of ChartQA.

    Raises:
        DataError: it has none.
    """
    value = need(row.value, "label" if "label" in row.value else "answer", row.where)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str | int | float):
        raise DataError("the label is no text", where=row.where, remedy="take the file as it was published")
    return str(value)
