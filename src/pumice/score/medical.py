"""VQA-RAD, SLAKE and PathVQA, as LLaVA-Med reports them: recall of open answers, accuracy of closed ones."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pumice.errors import DataError
from pumice.score.answers import by_id, match, read_answers, said
from pumice.score.files import Row, need, read, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, mean_interval, percent
from pumice.score.words import process_digit_article, process_punctuation

ORDERS = 4
_WORDS = re.compile(r"\b(yes|no)\b")

Form = Literal["open", "closed"]


def normalised(text: str) -> str:
    """Both sides as LLaVA-Med compares them: VQA's processor without its first step, then without commas."""
    return process_digit_article(process_punctuation(text.lower())).replace(",", "")


def overlap(raw: str, truth: str) -> tuple[float, float, float]:
    """F1, precision and recall of words.

    A word of the answer that the truth has counts as often as the answer has it (calculate_f1score), so an
    answer that repeats a true word gains recall.
    """
    given, wanted = Counter(normalised(raw).split()), Counter(normalised(truth).split())
    hits = sum(count for word, count in given.items() if word in wanted)
    if not hits:
        return 0.0, 0.0, 0.0
    precision = hits / given.total()
    recall = hits / (hits + sum(count for word, count in wanted.items() if word not in given))
    return 2 * precision * recall / (precision + recall), precision, recall


def bleu(raw: str, truth: str, orders: int = ORDERS) -> float:
    """Sentence BLEU with equal weights and no smoothing; 0 where an order has no match."""
    given, wanted = normalised(raw).split(), normalised(truth).split()
    if not given or not wanted:
        return 0.0
    logs = 0.0
    for order in range(1, orders + 1):
        own, true = _grams(given, order), _grams(wanted, order)
        hits = sum((own & true).values())
        if not hits:
            return 0.0
        logs += math.log(hits / own.total())
    penalty = 1.0 if len(given) > len(wanted) else math.exp(1 - len(wanted) / len(given))
    return penalty * math.exp(logs / orders)


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[place : place + order]) for place in range(len(words) - order + 1))


def closed_correct(raw: str, truth: str) -> bool:
    """Whether a closed answer is right: yes and no as a word, the first one that is said; anything else when
    the true words stand in the answer, in their order.

    >>> [closed_correct(*pair) for pair in (("No, it is.", "no"), ("It is normal.", "no"), ("an MRI", "MRI"))]
    [True, False, True]
    """
    given, wanted = normalised(raw), normalised(truth)
    if wanted in ("yes", "no"):
        found = _WORDS.search(given)
        return found is not None and found[1] == wanted
    return f" {wanted} " in f" {given} "


def closed_published(raw: str, truth: str) -> bool | None:
    """LLaVA-Med's own rule (run_eval.py): None is a question that its script drops.

    Parts of words count ("normal" says no), an answer without yes or no is wrong whatever the truth is, and
    a wrong yes or no is in neither sum: only right answers and those without yes or no are.
    """
    given, wanted = normalised(raw), normalised(truth)
    if "yes" not in given and "no" not in given:
        return False
    return True if wanted in given else None


def scorer(task: str) -> Callable[[Inputs], Result]:
    """The scorer of one of the three."""

    def score(inputs: Inputs) -> Result:
        return _score(task, inputs)

    return score


def _score(task: str, inputs: Inputs) -> Result:
    answers = read_answers(inputs.said)
    rows, foreign = _rows(inputs.truth)
    foreign_said = foreign & set(answers)
    answers = {name: answer for name, answer in answers.items() if name not in foreign}
    items: list[Item] = []
    extra: list[tuple[float, float, float, float, float]] = []
    published: list[bool] = []
    for name in match(answers, inputs.wanted(rows), inputs.missing, str(inputs.said)):
        row, text = rows[name], said(answers, name) or ""
        truth = truth_of(row)
        form = form_of(row, truth)
        if form == "closed":
            items.append(Item(name, normalised(text), float(closed_correct(text, truth)), (form,)))
            old = closed_published(text, truth)
            published += [] if old is None else [old]
        else:
            f1, precision, recall = overlap(text, truth)
            items.append(Item(name, normalised(text), recall, (form,)))
            extra.append(
                (
                    f1,
                    precision,
                    float(normalised(text) == normalised(truth)),
                    bleu(text, truth, 1),
                    bleu(text, truth),
                )
            )
    return _result(task, items, extra, published, len(foreign_said))


def _result(
    task: str,
    items: Sequence[Item],
    extra: Sequence[tuple[float, ...]],
    published: Sequence[bool],
    foreign: int,
) -> Result:
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}

    def add(name: str, scores: Sequence[float] | Sequence[bool]) -> None:
        if scores:
            metrics[name], intervals[name] = percent(scores), mean_interval(scores)

    add("open_recall", [item.score for item in items if item.groups == ("open",)])
    add("closed_accuracy", [item.score for item in items if item.groups == ("closed",)])
    for place, name in enumerate(("open_f1", "open_precision", "open_exact", "open_bleu_1", "open_bleu")):
        add(name, [row[place] for row in extra])
    add("closed_as_published", published)
    counts = {"open": sum(item.groups == ("open",) for item in items)}
    counts["closed"] = len(items) - counts["open"]
    if foreign:
        counts["not_english"] = foreign
    notes = ["closed_as_published drops wrong answers that say yes or no, as LLaVA-Med's script does"]
    return Result(
        task, len(items), metrics, intervals, {}, counts, tuple(notes) if published else (), tuple(items)
    )


def _rows(path: Path) -> tuple[dict[str, Row], set[str]]:
    """Questions by id, or by number where they have none; and the ids of those in another language.

    SLAKE has Chinese ones.
    """
    rows = by_id(read(path, "label file"), numbered=True)
    foreign = {own for own, row in rows.items() if row.value.get("q_lang", "en") != "en"}
    return {own: row for own, row in rows.items() if own not in foreign}, foreign


def truth_of(row: Row) -> str:
    """The true answer: ``answer``, or the second turn of LLaVA-Med's conversations.

    Some of its files write "conversatons".
    """
    for key in ("conversations", "conversatons"):
        turns = row.value.get(key)
        if isinstance(turns, list) and len(turns) > 1 and isinstance(turns[1], dict):
            return text_of(turns[1], "value", row.where)
    value = need(row.value, "answer", row.where)
    if not isinstance(value, str | int | float):
        raise DataError("the answer is no text", where=row.where, remedy="write it as text")
    return str(value)


def form_of(row: Row, truth: str) -> Form:
    """Whether a question is open, as the file says (VQA-RAD has "CLOSED " with a space).

    Without a word of it, yes and no are closed.
    """
    told = row.value.get("answer_type")
    if isinstance(told, str) and told.strip().upper() in ("OPEN", "CLOSED"):
        return "open" if told.strip().upper() == "OPEN" else "closed"
    return "closed" if truth.strip().lower() in ("yes", "no") else "open"
