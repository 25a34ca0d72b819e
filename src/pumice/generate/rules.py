"""Teachers that write by rule, in this process: the same checks, no requests."""

from __future__ import annotations

from pumice.generate.checks import turn_fault
from pumice.generate.evidence import Evidence
from pumice.generate.protocol import KINDS, Teacher
from pumice.generate.work import Job, Outcome, Rejected, Terms


def rules_outcome(job: Job, teacher: Teacher, terms: Terms) -> Outcome:
    """What a teacher of rules writes for a job: nothing where it does not know the kind.

    How long and how many its turns are is its own affair; all else is checked as a model's turns are.
    """
    outcome = Outcome(model=teacher.name)
    if job.spec.name not in KINDS or job.language != "en":
        return outcome
    spec = job.spec.model_copy(update={"words": (1, 1000)})
    evidence = Evidence(job.scenes, terms.vocabulary)
    for turn in teacher.write(job.scenes[0], job.spec.name):
        fault = turn_fault(turn.question, turn.answer, spec, job.language, evidence)
        if fault is None:
            outcome.turns.append((turn.question, turn.answer))
        else:
            outcome.rejected.append(Rejected(fault, 0, turn.question, turn.answer))
    return outcome
