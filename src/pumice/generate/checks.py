"""Whether a turn that a teacher wrote can be kept: form, length, language, leaks, repetition, grounding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pumice.generate.evidence import Evidence
from pumice.generate.grounding import (
    correction_fault,
    existence_fault,
    statement_fault,
    text_fault,
)
from pumice.generate.language import is_in, sentences_of, word_count
from pumice.generate.objects import singular, word_set
from pumice.generate.spec import Spec
from pumice.generate.wording import LEAD, SAME_WORDS, leak_in, refusal_in
from pumice.text.leaks import COORDINATES
from pumice.types import PLACEHOLDER, VIDEO_PLACEHOLDER

CHECKS = (
    "refused",
    "format",
    "cut",
    "length",
    "language",
    "leak",
    "repeated",
    "balance",
    "grounding",
    "agreement",
)
"""Names of what a row may be rejected for, in the order in which they are looked at."""
SAME = 0.8
"""Share of words that two questions have in common from which one is a repetition of the other."""

YES = ("yes", "ja", "oui", "sí", "si", "sì", "sim", "是", "有", "はい")

_IDLE = word_set(
    "a an the is are was do does can could you i we it this that there in of to on at what which how "
    "tell me see seen visible picture image photo please any have has and or be"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something is rejected: the check, one of ``CHECKS``, and its reason in words."""

    check: str
    reason: str


def turn_fault(
    question: str,
    answer: str,
    spec: Spec,
    language: str,
    evidence: Evidence,
) -> Fault | None:
    """What is wrong with one question and its answer; None where nothing is.

    Args:
        question: without response-format prompt.
        answer: as it would be learnt.
        spec: its kind.
        language: that was asked for.
        evidence: of its scene, or scenes.
    """
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            return Fault("format", f"the {name} is empty")
        if PLACEHOLDER in text or VIDEO_PLACEHOLDER in text:
            return Fault("format", f"the {name} holds {PLACEHOLDER} or {VIDEO_PLACEHOLDER}")
    least, most = spec.words
    count = word_count(answer, language)
    if not least <= max(count, 1) <= most:
        return Fault("length", f"the answer has {count} words; {least} to {most} are wanted")
    own = () if spec.questions else (question,)
    for text in (" ".join((*own, answer)), *own, answer, *sentences_of(answer)):
        if not is_in(text, language):
            return Fault("language", f"it is not in the language {language}: {text[:60]!r}")
    if refusal := refusal_in(answer, language):
        return Fault("refused", f"it says {refusal!r}")
    known = " ".join(evidence.sentences + evidence.texts).lower()
    for text in (*own, answer):
        leak = leak_in(text, language)
        if leak and leak.lower() not in known:
            return Fault("leak", f"it says {leak!r}")
        if COORDINATES.search(text):
            return Fault("leak", "it holds coordinates")
    fault = _ungrounded(question, answer, spec, language, evidence)
    return Fault("grounding", fault) if fault else None


def _ungrounded(question: str, answer: str, spec: Spec, language: str, evidence: Evidence) -> str | None:
    if spec.grounding == "text":
        return text_fault(question, answer, evidence)
    if language != "en" or spec.grounding in ("none", "phrase"):
        return None
    if spec.grounding == "existence":
        return existence_fault(question, answer, evidence)
    if spec.grounding == "absent":
        return correction_fault(question, answer, evidence)
    asked = "" if spec.questions else question
    return statement_fault(asked, answer, evidence, guesses=spec.grounding == "asserted")


class Asked:
    """The questions about one scene so far, of all kinds, so that none is asked twice."""

    def __init__(self) -> None:
        self._said: list[tuple[str, list[str]]] = []

    def repeats(self, question: str) -> str | None:
        """The earlier question that this one repeats; else it is remembered, and None."""
        plain = LEAD.sub("", question.strip().lower())
        for way, same in SAME_WORDS:
            plain = way.sub(same, plain)
        stems = [singular(word) for word in re.findall(r"\w+", plain)]
        content = [word for word in stems if word not in _IDLE] or stems
        for earlier, words in self._said:
            both = {*words} & {*content}
            # The order counts, too: a left of b is not b left of a.
            in_order = [word for word in words if word in both] == [word for word in content if word in both]
            if in_order and len(both) >= SAME * len({*words, *content}):
                return earlier
        self._said.append((question, content))
        return None


def unbalanced(turns: Sequence[tuple[str, str]]) -> list[int]:
    """The turns that are too many of yes or of no, the last ones first to go; by their places."""
    yes = [n for n, (_, answer) in enumerate(turns) if answer.lower().startswith(YES)]
    no = [n for n in range(len(turns)) if n not in yes]
    keep = min(len(yes), len(no))
    return sorted([*yes[keep:], *no[keep:]])
