"""Scoring rules as pure functions: text in, verdict out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
NUMBERS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}


def normalise(text: str) -> str:
    """The form in which two answers are compared.

    Lower case; white space collapsed and stripped; one final full stop removed; leading articles
    removed unless nothing would be left (a sign may read "A"); number words zero to twenty as digits.

    >>> normalise(" A red  Circle. "), normalise("Two"), normalise("A")
    ('red circle', '2', 'a')
    """
    words = text.strip().lower().removesuffix(".").split()
    while len(words) > 1 and words[0] in ARTICLES:
        words.pop(0)
    return " ".join(NUMBERS.get(word, word) for word in words)


def exact_match(raw: str, truth: str) -> bool:
    """Whether an answer is the truth, after ``normalise`` on both. No substrings, no synonyms."""
    return normalise(raw) == normalise(truth)


def pope_answer(raw: str) -> Literal["yes", "no"]:
    """What an answer says, by POPE's own rule (evaluate.py of RUCAIBox/POPE, also LLaVA's eval_pope.py).

    The text up to the first full stop, without commas, is split at spaces; the words "No", "not" or
    "no" mean no, anything else yes. White space around the whole answer is not part of it.

    >>> pope_answer("No, there is none. Yes."), pope_answer("nothing"), pope_answer("")
    ('no', 'yes', 'yes')
    """
    words = raw.strip().split(".")[0].replace(",", "").split(" ")
    return "no" if any(word in ("No", "not", "no") for word in words) else "yes"


@dataclass(frozen=True, slots=True)
class PopeScore:
    """Counts of a yes/no task with yes as the positive class, and POPE's five figures, each 0..1.

    A ratio without a denominator is 0: no yes said, no precision.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def n(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def accuracy(self) -> float:
        return _ratio(self.true_positives + self.true_negatives, self.n)

    @property
    def precision(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        errors = self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, 2 * self.true_positives + errors)

    @property
    def yes_ratio(self) -> float:
        return _ratio(self.true_positives + self.false_positives, self.n)


def pope_score(answers: Sequence[str], truths: Sequence[str]) -> PopeScore:
    """Counts raw ``answers`` (read by ``pope_answer``) against ``truths``, each "yes" or "no"."""
    assert len(answers) == len(truths), f"{len(answers)} answers for {len(truths)} truths"
    counts = {("yes", "yes"): 0, ("yes", "no"): 0, ("no", "yes"): 0, ("no", "no"): 0}
    for answer, truth in zip(answers, truths, strict=True):
        counts[pope_answer(answer), truth] += 1
    return PopeScore(counts["yes", "yes"], counts["yes", "no"], counts["no", "yes"], counts["no", "no"])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
