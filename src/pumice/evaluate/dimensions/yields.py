"""What a run's own questions say of its model: the score that training is set against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import UsageError
from pumice.evaluate.dimensions.intervals import Interval, share
from pumice.evaluate.scores import columns, read_scores


@dataclass(frozen=True)
class Yield:
    """A run's score in per cent with its interval over pictures, the score without sight, and every answer.

    ``answers`` are, by question's id, its picture and whether it was right; ``questions`` is a digest.
    """

    score: float
    interval: Interval
    floor: float
    questions: str
    answers: dict[str, tuple[object, bool]]


def read_yield(run: Path) -> Yield:
    """The score of a run's measurement.

    Raises:
        UsageError: the run was not measured.
        DataError: its scores cannot be read.
    """
    path = run / "eval" / "scores.json"
    if not path.is_file():
        raise UsageError(
            "the run was not measured: there is no eval/scores.json",
            where=str(run),
            remedy=f"pumice eval {run} --questions FILE --out {run / 'eval'}",
        )
    scores = read_scores(path)
    main, _ = columns(scores)
    rows = [
        json.loads(line)
        for line in (path.parent / f"predictions-{main}.jsonl").read_text("utf-8").splitlines()
    ]
    answers = {
        str(row["question_id"]): (row["image"] or row["question_id"], bool(row["correct"])) for row in rows
    }
    value, ends = share([key for key, _ in answers.values()], [right for _, right in answers.values()])
    return Yield(value, ends, 100 * scores["floor_overall"], scores["digest"], answers)
