"""One kind about one scene: what is asked, what comes of the replies, why something is rejected.

``work`` is a generator: it yields what it wants to ask and is sent the reply. So the same code runs against a
server, against the replies of an earlier sitting, and in the writing of the file.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from pumice.data.llava_mix.base import box_text
from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request
from pumice.generate.checks import Fault, turn_fault, unbalanced
from pumice.generate.evidence import Evidence
from pumice.generate.grounding import phrase_faults
from pumice.generate.objects import Vocabulary
from pumice.generate.prompt import area, ask, box_words, largest
from pumice.generate.protocol import Instance, SceneText
from pumice.generate.reply import Unread, read_dialogue, read_phrases, read_text, read_verdicts
from pumice.generate.spec import Spec

SMALLEST = 0.005
"""Share of the picture that a box must fill to be asked for."""


@dataclass(frozen=True)
class Job:
    """One kind about one scene, or two, in one language.

    Attributes:
        spec: the kind.
        scenes: as many as the kind has pictures.
        language: a code of ``LANGUAGES``.
        several: whether other languages are written, too, so that ids must tell them apart.
    """

    spec: Spec
    scenes: tuple[SceneText, ...]
    language: str = "en"
    several: bool = False

    @property
    def id(self) -> str:
        """Of the row that comes of it."""
        parts = [self.scenes[0].id, self.spec.name, *([self.language] if self.several else [])]
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job wants to ask, and whom: 0 the teacher, 1 whoever makes the second pass."""

    request: Request
    whom: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that was written and is not kept.

    Attributes:
        fault: why.
        attempt: at which attempt it came, from 0.
        question: of the turn; empty where a whole reply is meant.
        answer: of the turn, or the reply.
    """

    fault: Fault
    attempt: int
    question: str
    answer: str


@dataclass
class Outcome:
    """What came of a job.

    Attributes:
        turns: questions and answers that are kept; none where the job came to nothing.
        rejected: what was written and is not kept.
        model: who wrote, as the server says; empty where nobody was asked.
        least: with fewer turns it is no row.
    """

    turns: list[tuple[str, str]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    model: str = ""
    least: int = 1


Work: TypeAlias = "Generator[Wish, Reply, Outcome]"


@dataclass(frozen=True)
class Terms:
    """How jobs are done.

    Attributes:
        vocabulary: kinds of things and their words.
        seed: of what is drawn: which fixed question is asked.
        attempts: how often a reply that gives nothing to keep is asked for.
        agreement: the second pass; None where there is none.
        second: whether another teacher makes it.
    """

    vocabulary: Vocabulary
    seed: int = 0
    attempts: int = 3
    agreement: Spec | None = None
    second: bool = False


def work(job: Job, terms: Terms) -> Work:
    """Do one job."""
    outcome = Outcome()
    evidence = Evidence(job.scenes, terms.vocabulary)
    things = numbered(job)
    boxed = job.spec.form in ("describe", "locate")
    if boxed and job.scenes[0].regions:
        outcome.turns = _boxed(job, dict(enumerate((one.category for one in things), 1)), things, terms)
        return outcome
    if boxed and not things:
        return outcome
    for attempt in range(terms.attempts):
        request = ask(
            job.spec, job.scenes, language=job.language, attempt=attempt, numbered=things if boxed else ()
        )
        reply = yield Wish(request, 0, attempt)
        try:
            _complete(reply)
            turns = _read(job, reply.text, things, terms, attempt, outcome)
        except _Fails as failure:
            outcome.rejected.append(Rejected(failure.fault, attempt, "", reply.text))
            continue
        turns = _kept(job, turns, evidence, attempt, outcome)
        if len(turns) >= job.spec.turns[0]:
            outcome.model = reply.model
            outcome.turns = turns
            outcome.least = job.spec.turns[0]
            break
        too_few(turns, job.spec.turns[0], attempt, outcome)
    if outcome.turns and terms.agreement is not None and not boxed:
        yield from _agreed(job, terms, terms.agreement, outcome)
    return outcome


class _Fails(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.reason)


def _complete(reply: Reply) -> None:
    if reply.finish_reason == "content_filter":
        raise _Fails(Fault("refused", "the server's filter kept the reply back"))
    if reply.finish_reason == "length":
        raise _Fails(Fault("cut", "the reply was cut off at its longest length"))


def _read(
    job: Job, text: str, things: Sequence[Instance], terms: Terms, attempt: int, outcome: Outcome
) -> list[tuple[str, str]]:
    """The turns of a reply, of whatever form it is."""
    try:
        if job.spec.form == "dialogue":
            return read_dialogue(text)
        if job.spec.form == "text":
            return [(_question(job, terms, 0), read_text(text))]
        phrases = read_phrases(text, len(things))
    except Unread as error:
        raise _Fails(Fault("format", str(error))) from error
    others = [one for one in job.scenes[0].instances if one not in things]
    faults = phrase_faults(phrases, things, terms.vocabulary, job.language, others)
    for number, reason in sorted(faults.items()):
        place = box_words(things[number - 1].box)
        fault = Fault("grounding", reason)
        outcome.rejected.append(Rejected(fault, attempt, place, phrases.pop(number)))
    return _boxed(job, phrases, things, terms)


def _kept(
    job: Job, turns: list[tuple[str, str]], evidence: Evidence, attempt: int, outcome: Outcome
) -> list[tuple[str, str]]:
    """The turns that pass the checks. In a conversation nothing is kept behind one that does not."""
    kept: list[tuple[str, str]] = []
    for question, answer in turns[: job.spec.turns[1]]:
        fault = None
        if job.spec.form not in ("describe", "locate"):
            fault = turn_fault(question, answer, job.spec, job.language, evidence)
        if fault is None:
            kept.append((question, answer))
            continue
        outcome.rejected.append(Rejected(fault, attempt, question, answer))
        if not job.spec.independent:
            break
    if job.spec.balanced:
        balance(kept, attempt, outcome)
    return kept


def balance(turns: list[tuple[str, str]], attempt: int, outcome: Outcome) -> None:
    """Take turns away until as many are answered by yes as by no."""
    for place in reversed(unbalanced(turns)):
        question, answer = turns.pop(place)
        fault = Fault("balance", "there are more answers of this kind than of the other")
        outcome.rejected.append(Rejected(fault, attempt, question, answer))


def too_few(turns: list[tuple[str, str]], least: int, attempt: int, outcome: Outcome) -> None:
    """Reject what is left of a reply that has too few turns."""
    for question, answer in turns:
        fault = Fault("format", f"only {len(turns)} of at least {least} turns are left")
        outcome.rejected.append(Rejected(fault, attempt, question, answer))


def _agreed(job: Job, terms: Terms, spec: Spec, outcome: Outcome) -> Work:
    """Have what was kept read a second time, and keep what is borne out."""
    turns = outcome.turns
    written = "\n".join(f"{n}. {question}\n{answer}" for n, (question, answer) in enumerate(turns, 1))
    whom = 1 if terms.second else 0
    verdicts: dict[int, tuple[bool, str]] | None = None
    for attempt in range(terms.attempts):
        request = ask(spec, job.scenes, attempt=attempt, written=written)
        reply = yield Wish(request, whom, attempt)
        try:
            _complete(reply)
            verdicts = read_verdicts(reply.text, len(turns))
            break
        except (_Fails, Unread):
            continue
    outcome.turns = []
    for number, (question, answer) in enumerate(turns, 1):
        good, reason = (False, "the second pass cannot be read") if verdicts is None else verdicts[number]
        if good:
            outcome.turns.append((question, answer))
            continue
        fault = Fault("agreement", reason or "the second pass says no")
        outcome.rejected.append(Rejected(fault, 0, question, answer))
        if not job.spec.independent:
            break
    if len(outcome.turns) < job.spec.turns[0]:
        too_few(outcome.turns, job.spec.turns[0], 0, outcome)
        outcome.turns = []
    return outcome


def numbered(job: Job) -> list[Instance]:
    """The boxes that are asked for one by one: regions, or else things of which there are few."""
    if job.spec.form not in ("describe", "locate"):
        return []
    scene = job.scenes[0]
    most = job.spec.turns[1]
    if scene.regions:
        return largest([one for one in scene.regions if area(one.box) >= SMALLEST], most)
    counts: dict[str, int] = {}
    for one in scene.instances:
        counts[one.category] = counts.get(one.category, 0) + 1
    fit = [
        one
        for one in scene.instances
        if not one.crowd and counts[one.category] <= 3 and area(one.box) >= SMALLEST
    ]
    return largest(fit, most)


def _boxed(
    job: Job, phrases: dict[int, str], things: Sequence[Instance], terms: Terms
) -> list[tuple[str, str]]:
    """Questions about boxes: the box always is the scene's own, and never written by a teacher."""
    turns = []
    for number, phrase in sorted(phrases.items()):
        box = llava_box(things[number - 1], job.scenes[0])
        words = phrase.strip().rstrip(".").strip()
        if box is None or not words:
            continue
        lead = _question(job, terms, number)
        if job.spec.form == "locate":
            turns.append((f"{lead}: {words}.", box))
        else:
            turns.append((f"{lead}: {box}.", f"{words[0].upper()}{words[1:]}."))
    return turns


def llava_box(one: Instance, scene: SceneText) -> str | None:
    """A box as LLaVA writes it: fractions of the picture padded to a square, where its size is known.

    Where it is not, they are fractions of width and height. None where rounding leaves nothing of it.
    """
    x1, y1, x2, y2 = one.box
    width, height = scene.size or (1, 1)
    if scene.size is None:
        corners = [round(side, 2) for side in one.box]
        return (
            f"[{', '.join(map(str, corners))}]"
            if corners[0] < corners[2] and corners[1] < corners[3]
            else None
        )
    return box_text(x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height, (width, height))


def _question(job: Job, terms: Terms, number: int) -> str:
    """One of the kind's fixed questions, drawn for this job."""
    choices = job.spec.questions[job.language]
    rng = np.random.default_rng([terms.seed, number, *job.id.encode()])
    return choices[int(rng.integers(len(choices)))]
