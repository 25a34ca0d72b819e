"""What becomes of a task that has no figures, or not all: the words for it, and what is to be done."""

from __future__ import annotations

from pumice.errors import PumiceError, RunError
from pumice.evaluate.answers import MOST_PROBLEMS, PROBLEM
from pumice.evaluate.results import REFUSED, RESULT, State, TaskState, write_predictions
from pumice.evaluate.scored import predictions
from pumice.evaluate.wish import Ready
from pumice.score import task_of
from pumice.score.answers import Missing, names

SUBMITTED = {"mmbench": ".xlsx", "mmbench-cn": ".xlsx"}
"""Endings of the files that servers take, where they are not JSON."""


def waiting(one: Ready, problem: str, remedy: str) -> TaskState:
    """The state of a task that has answers and no figures; figures that were there before go."""
    (one.own.folder / RESULT).unlink(missing_ok=True)
    write_predictions(
        one.own.folder, predictions(one.samples, one.own.text, None, one.wish.folder, one.own.left_out)
    )
    return TaskState(state="answered", result=None, problem=problem, remedy=remedy)


def left_out(one: Ready, missing: Missing) -> str:
    """The note about questions that have no answer."""
    bad = one.own.left_out
    count = f"{len(bad):,} of {len(one.samples):,} questions"
    if one.own.record["model"]["kind"] == "file":
        how = "count as wrong" if missing == "wrong" else "were left out: no official figure"
        return f"{count} have no answer in the file and {how} ({REFUSED}): {names(bad)}"
    why = "were left out, for their pictures cannot be decoded: no official figure"
    return f"{count} {why} ({REFUSED}): {names(bad)}"


def check_problems(one: Ready) -> None:
    """Refuse to score a task of which many questions could not be put.

    Raises:
        RunError: the first of them says why.
    """
    problems = one.own.problems
    if len(problems) > MOST_PROBLEMS * len(one.samples):
        first = problems[0]
        raise RunError(
            f"{len(problems):,} of {len(one.samples):,} questions could not be put",
            where=f"{one.own.path}, question {first}: {one.own.rows[first][PROBLEM]}",
            remedy="mend the cause and run the same command again: these are put again, and no others; to be "
            f"rid of the task, remove {one.own.folder}",
        )


def submission(one: Ready) -> tuple[str, str]:
    """Write what the task's server takes; what there is to tell, and what to do."""
    what = "only the benchmark's server has the true answers"
    if one.own.left_out:
        left = f"; {len(one.own.left_out):,} questions have no answer ({one.own.folder / REFUSED})"
        return what + left, "a submission needs all: mend their pictures and run the same command again"
    if len(one.samples) < len(one.loaded.samples):
        return what, "ask all questions for a submission: leave out --limit"
    task = task_of(one.loaded.task)
    assert task.submit is not None, f"{task.name} has no server"
    target = one.own.folder / f"submission{SUBMITTED.get(task.name, '.json')}"
    count = task.submit(one.loaded.inputs(one.own.path), target)
    return what, f"upload {target} ({count:,} answers)"


def told(state: State, error: PumiceError | None) -> TaskState:
    """The state of a task that was not reached, or not finished because of an error."""
    if error is None:
        return TaskState(
            state=state, result=None, problem="it was not reached", remedy="run the same command again"
        )
    return TaskState(state=state, result=None, problem=error.line, remedy=error.remedy or "")
