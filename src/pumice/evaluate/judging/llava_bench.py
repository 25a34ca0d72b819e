"""LLaVA-Bench: a judge reads the picture's description, the reference's answer and ours, and scores both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.lines import write_lines
from pumice.endpoint.request import Request
from pumice.errors import DataError, suggest
from pumice.evaluate.judging.ask import Case, Judgement
from pumice.evaluate.judging.prompts import SYSTEM, published, review_prompt, suspicious
from pumice.evaluate.judging.sitting import Sitting
from pumice.evaluate.judging.terms import Rules, Terms, Verdicts, counted, run_file
from pumice.score.answers import Answer, Missing, by_id, match, read_answers
from pumice.score.files import Row, need, object_rows, read, text_of
from pumice.score.llava_bench import PREFIX, UNREAD, parse_review

TEMPERATURE, MAX_TOKENS = 0.2, 1024
"""Of LLaVA's script."""
JUDGE = "gpt-4-0314"
"""The judge of LLaVA's published figures."""
ORDERS = ("reference first", "reference second")
CONTEXT, REFERENCE, RULES = "context.jsonl", "answers_gpt4.jsonl", "rule.json"
"""Files of the bench, beside its questions; the rules are LLaVA's llava/eval/table/rule.json."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class Material:
    """The files of the bench.

    Attributes:
        questions: ``questions.jsonl``.
        context: descriptions of the pictures.
        reference: the answers that ours are compared with.
        rules: LLaVA's prompts; None takes our own words.
    """

    questions: Path
    context: Path
    reference: Path
    rules: Path | None

    @staticmethod
    def beside(questions: Path) -> Material:
        """The files by their usual names, beside the questions."""
        folder = questions.parent
        rules = folder / RULES
        return Material(questions, folder / CONTEXT, folder / REFERENCE, rules if rules.is_file() else None)


@dataclass(frozen=True)
class _Pair:
    """A question with its two answers."""

    id: str
    row: Row
    category: str
    context: str
    rule: Mapping[str, str] | None
    reference: Answer
    ours: Answer

    def prompt(self, order: str) -> str:
        texts = (self.reference.text, self.ours.text)
        first, second = texts if order == ORDERS[0] else texts[::-1]
        question = text_of(self.row.value, "text", self.row.where)
        return review_prompt(self.context, question, first, second, self.rule)


def judge_reviews(material: Material, sitting: Sitting) -> Verdicts:
    """Have answers reviewed, and write what ``pumice score llava-bench --reviews`` reads.

    Args:
        material: the bench.
        sitting: its answers are LLaVA's rows; ``out`` is the first run's file, the second's has ``-2`` at the
            end of its name, and so on.

    Raises:
        DataError: a file is missing or wrong.
        EndpointError: the judge could not be asked.
    """
    terms = sitting.terms
    pairs = _pairs(material, sitting.answers, sitting.missing)
    orders = ORDERS if terms.both_orders else ORDERS[:1]
    cases = [
        Case(pair.id, run, partial(_request, pair, order, run, terms), parse_review, order)
        for run in range(terms.runs)
        for pair in pairs
        for order in orders
    ]
    judged, account = sitting.judge(cases)
    reviews = {(case.run, case.id, case.label): one for case, one in zip(cases, judged, strict=True)}
    files = []
    sums: dict[str, list[float]] = {}
    unread = 0
    for run in range(terms.runs):
        rows = []
        for number, pair in enumerate(pairs, 1):
            own = {order: reviews[run, pair.id, order] for order in orders}
            scores = _scores(own)
            unread += scores is None
            if scores is not None:
                sums.setdefault(pair.id, []).append(scores[1])
            rows.append(_review(number, pair, own, scores))
        path = run_file(sitting.out, run)
        write_lines(path, rows)
        files.append(path)
    record = sitting.record(
        account,
        _rules(pairs, material),
        temperature=terms.warmth(TEMPERATURE),
        max_tokens=terms.max_tokens or MAX_TOKENS,
        unread=unread,
        judgements=terms.runs * len(pairs),
    )
    record["both_orders"] = terms.both_orders
    record["position_bias"] = (
        _bias(reviews, terms.runs, [pair.id for pair in pairs]) if terms.both_orders else None
    )
    record["notes"] += _notes(pairs)
    return Verdicts(tuple(files), {name: float(np.mean(own)) for name, own in sums.items()}, record)


def _pairs(material: Material, answers: Path, missing: Missing) -> list[_Pair]:
    questions = by_id(read(material.questions, "question file"))
    ours = read_answers(answers)
    references = read_answers(material.reference)
    contexts = _contexts(material.context)
    rules = None if material.rules is None else dict(object_rows(material.rules, "", "rule file"))
    found = []
    for name in match(ours, questions, "skip" if missing == "skip" else "error", str(answers)):
        row = questions[name]
        if name not in references:
            raise DataError(
                f"question {name} has no reference answer",
                where=str(material.reference),
                remedy="take the file as it was published",
            )
        image = text_of(row.value, "image", row.where)
        if image not in contexts:
            raise DataError(
                f"the picture {image} has no description",
                where=str(material.context),
                remedy=suggest(image, contexts),
            )
        category = text_of(row.value, "category", row.where)
        category = category if category.startswith(PREFIX) else PREFIX + category
        rule = None if rules is None or material.rules is None else _rule(rules, category, material.rules)
        found.append(_Pair(name, row, category, contexts[image], rule, references[name], ours[name]))
    return found


def _contexts(path: Path) -> dict[str, str]:
    """Descriptions by picture; several captions of one stand on lines of their own."""
    found = {}
    for row in read(path, "file of descriptions"):
        captions = need(row.value, "caption", row.where)
        lines = [captions] if isinstance(captions, str) else captions
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise DataError(
                "the caption is no text", where=row.where, remedy="write it as text, or a list of texts"
            )
        found[text_of(row.value, "image", row.where)] = "\n".join(lines)
    return found


def _rule(rules: Mapping[str, Row], category: str, path: Path) -> dict[str, str]:
    if category not in rules:
        raise DataError(
            f"there is no rule for the category {category}", where=str(path), remedy=suggest(category, rules)
        )
    row = rules[category]
    return {key: text_of(row.value, key, row.where) for key in ("role", "prompt")}


def _request(pair: _Pair, order: str, run: int, terms: Terms, attempt: int) -> Request:
    return Request(
        pair.prompt(order),
        system=SYSTEM,
        max_tokens=terms.max_tokens or MAX_TOKENS,
        temperature=terms.warmth(TEMPERATURE),
        seed=1000 * run + attempt,
        extra=terms.extra,
    )


def _scores(own: Mapping[str, Judgement[Pair]]) -> Pair | None:
    """The reference's score and ours; of two orders the means, None where one of them cannot be read."""
    turned = []
    for order, judgement in own.items():
        if judgement.score is None:
            return None
        turned.append(judgement.score if order == ORDERS[0] else judgement.score[::-1])
    first, second = np.mean(turned, axis=0)
    return float(first), float(second)


def _review(
    number: int, pair: _Pair, own: Mapping[str, Judgement[Pair]], scores: Pair | None
) -> dict[str, Any]:
    """A row in LLaVA's layout. Of two orders there are no words that say the mean, so both stand by name."""
    said = [judgement.text for judgement in own.values()]
    return {
        "id": number,
        "question_id": pair.row.value.get("question_id", pair.id),
        "answer1_id": pair.reference.row.get("answer_id", pair.id),
        "answer2_id": pair.ours.row.get("answer_id", pair.id),
        "category": pair.category,
        **({"content": said[0]} if len(said) == 1 else {"contents": said}),
        "tuple": list(scores or UNREAD),
        "judge": next(iter(own.values())).model,
        "attempts": max(judgement.attempts for judgement in own.values()),
    }


def _bias(
    reviews: Mapping[tuple[int, str, str], Judgement[Pair]], runs: int, names: Sequence[str]
) -> dict[str, Any]:
    """What the place is worth: of the same answer, its score in the first place minus that in the second.

    ``points``: the mean over both answers of every question that can be read in both orders. ``turned``: of
    these questions, the share where another answer is ahead when they change places. ``reference_first``
    and ``reference_second``: the relative score, by each order alone.
    """
    both = [
        (first, second)
        for run in range(runs)
        for name in names
        if (first := reviews[run, name, ORDERS[0]].score) and (second := reviews[run, name, ORDERS[1]].score)
    ]
    if not both:
        return {"n": 0, "points": None, "turned": None, "reference_first": None, "reference_second": None}
    scores_N22 = np.asarray(both)
    gains = (scores_N22[:, 0, 0] - scores_N22[:, 1, 1] + scores_N22[:, 1, 0] - scores_N22[:, 0, 1]) / 2
    ahead_N2 = np.sign(scores_N22[:, :, 0] - scores_N22[:, :, 1]) * [1, -1]
    means_22 = scores_N22.mean(axis=0)
    return {
        "n": len(both),
        "points": float(gains.mean()),
        "turned": float((ahead_N2[:, 0] * ahead_N2[:, 1] < 0).mean()),
        "reference_first": _percent(means_22[0, 1], means_22[0, 0]),
        "reference_second": _percent(means_22[1, 0], means_22[1, 1]),
    }


def _percent(ours: float, reference: float) -> float | None:
    return float(100 * ours / reference) if reference else None


def _rules(pairs: Sequence[_Pair], material: Material) -> Rules:
    texts = {pair.rule["prompt"] for pair in pairs if pair.rule is not None}
    return Rules(material.rules, all(published("llava-bench", text) for text in texts), JUDGE)


def _notes(pairs: Sequence[_Pair]) -> list[str]:
    odd = [pair.id for pair in pairs if pair.rule is not None and suspicious(pair.ours.text, "llava-bench")]
    if not odd:
        return []
    return [f"{len(odd)} answers hold pieces of the prompt's layout, which has no fence: {counted(odd)}"]
