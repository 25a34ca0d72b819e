"""The rules of the published benchmarks for questions of one's own: one question, its truth, a score.

Each is the rule of a benchmark, with its quirks, so that figures mean what they mean there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pumice.score import pope
from pumice.score.answers import match, read_answers, said
from pumice.score.choice import ALPHABET, choice_letter
from pumice.score.documents import anls, relaxed_correct
from pumice.score.inputs import Inputs
from pumice.score.medical import normalised, overlap
from pumice.score.result import Floats, Group, Item, Result, means
from pumice.score.vqa import vqa_accuracy
from pumice.score.words import submission_answer

PEOPLE = 4
"""Answers that VQA's accuracy needs: three others must be able to agree with each."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is right: the true answers (of a choice its letter), and the options in their order."""

    answers: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How an answer is scored.

    Attributes:
        name: as it is asked for.
        figure: the name of the mean.
        meaning: in a few words, for people.
        score: from the raw answer and the truth to what was read and its worth, 0 to 1.
        wrong: why a truth cannot be scored so, and what to do; empty where it can.
    """

    name: str
    figure: str
    meaning: str
    score: Callable[[str, Truth], tuple[str, float]]
    wrong: Callable[[Truth], tuple[str, str] | None] = lambda truth: None


def plain(text: str) -> str:
    """Without case, spaces at the ends, double spaces and full stops at the end.

    >>> plain(" A  Dog. ")
    'a dog'
    """
    return " ".join(text.split()).rstrip(".").rstrip().lower()


def _exact(raw: str, truth: Truth) -> tuple[str, float]:
    return plain(raw), float(plain(raw) in {plain(one) for one in truth.answers})


def _people(raw: str, truth: Truth) -> tuple[str, float]:
    given = submission_answer(raw)
    return given, vqa_accuracy(given, truth.answers)


def _too_few(truth: Truth) -> tuple[str, str] | None:
    if len(truth.answers) >= PEOPLE:
        return None
    return (
        f"the question has {len(truth.answers)} true answers, and VQA's accuracy needs {PEOPLE} people's",
        "give more of them (VQAv2 has ten), or take the scorer exact",
    )


def _yes_no(raw: str, truth: Truth) -> tuple[str, float]:
    given = pope.pope_answer(raw)
    return given, float(given == truth.answers[0])


def _no_yes_or_no(truth: Truth) -> tuple[str, str] | None:
    if truth.answers in (("yes",), ("no",)):
        return None
    return f"the true answer is {', '.join(truth.answers)!r}", "write yes or no"


def _choice(raw: str, truth: Truth) -> tuple[str, float]:
    letter = choice_letter(raw, truth.options)
    return letter or "", float(letter == truth.answers[0])


def _no_option(truth: Truth) -> tuple[str, str] | None:
    if not 2 <= len(truth.options) <= len(ALPHABET):
        return f"the question has {len(truth.options)} options", f"give 2 to {len(ALPHABET)}"
    if len(truth.answers) == 1 and truth.answers[0] in ALPHABET[: len(truth.options)]:
        return None
    return (
        f"the true answer {', '.join(truth.answers)!r} is none of the {len(truth.options)} options",
        "write its letter, or the words of one option",
    )


def _anls(raw: str, truth: Truth) -> tuple[str, float]:
    return raw.strip(), anls(raw, truth.answers)


def _relaxed(raw: str, truth: Truth) -> tuple[str, float]:
    text = raw.strip()
    return text, float(any(relaxed_correct(text, one.strip()) for one in truth.answers))


def _recall(raw: str, truth: Truth) -> tuple[str, float]:
    return normalised(raw), max(overlap(raw, one)[2] for one in truth.answers)


RULES: Mapping[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("exact", "accuracy", "the same words; case, spaces and a full stop do not count", _exact),
        Rule("vqa", "accuracy", "VQAv2's: how many people said the same", _people, _too_few),
        Rule("yes-no", "f1", "POPE's: yes or no, F1 of yes", _yes_no, _no_yes_or_no),
        Rule("choice", "accuracy", "AI2D's: the letter of an option, or its words", _choice, _no_option),
        Rule("anls", "anls", "DocVQA's: likeness of letters, 0 below a half", _anls),
        Rule("relaxed", "relaxed_accuracy", "ChartQA's: a number within 5%, or the same text", _relaxed),
        Rule("recall", "recall", "LLaVA-Med's: the share of the true words that were said", _recall),
    )
}
"""By name."""


def by_rule(
    task: str, rule: Rule, truths: Mapping[str, tuple[Truth, Sequence[str]]], inputs: Inputs
) -> Result:
    """The figures of a file of answers.

    Args:
        task: its name.
        rule: how each is scored.
        truths: by the id of the question, in order: what is right, and the groups that it is in.
        inputs: the answers, and what becomes of questions without one.

    Raises:
        DataError: answers and questions do not match, or the file is wrong; the line is named.
    """
    answers = read_answers(inputs.said)
    items, unread = [], 0
    for name in match(answers, truths, inputs.missing, str(inputs.said)):
        truth, groups = truths[name]
        text = said(answers, name)
        if text is None:  # counts as wrong, whatever an empty answer would be read as
            parsed = {"yes": "no", "no": "yes"}.get(truth.answers[0], "") if rule.name == "yes-no" else ""
            score = 0.0
        else:
            parsed, score = rule.score(text, truth)
            unread += rule.name == "choice" and not parsed
        items.append(Item(name, parsed, score, tuple(groups)))
    counts = {"unparsed": unread} if rule.name == "choice" else {}
    if rule.name == "yes-no":
        return _of_yes_and_no(task, items)
    return means(task, items, metric=rule.figure, counts=counts)


def _of_yes_and_no(task: str, items: Sequence[Item]) -> Result:
    """POPE's five figures over all questions together, and of every group."""
    whole = pope.cells(items)
    groups = dict.fromkeys(group for item in items for group in item.groups)
    return Result(
        task,
        len(items),
        _five(whole),
        {name: pope.interval(name, [whole]) for name in pope.FIGURES},
        {name: _group(pope.cells([item for item in items if name in item.groups])) for name in groups},
        items=tuple(items),
        neither=pope.NEITHER,
    )


def _five(cells_N4: Floats) -> dict[str, float]:
    mean_14 = cells_N4.mean(axis=0)[None]
    return {name: float(pope.figure(name, mean_14)[0]) for name in pope.FIGURES}


def _group(cells_N4: Floats) -> Group:
    return Group(len(cells_N4), _five(cells_N4), pope.interval("f1", [cells_N4]))
