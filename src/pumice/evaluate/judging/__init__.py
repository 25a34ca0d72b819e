"""Judges: models that score answers where no rule can, through any OpenAI-compatible endpoint."""

from pumice.evaluate.judging.agreement import Agreement, agreement
from pumice.evaluate.judging.task import Judged, judge_file, judge_task, judged_inputs
from pumice.evaluate.judging.terms import Terms, Verdicts

__all__ = [
    "Agreement",
    "Judged",
    "Terms",
    "Verdicts",
    "agreement",
    "judge_file",
    "judge_task",
    "judged_inputs",
]
