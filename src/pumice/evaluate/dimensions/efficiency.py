"""What a score cost: hours of a GPU or of cores, tokens that were learnt, and arithmetic."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pumice.errors import UsageError
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.intervals import group
from pumice.evaluate.dimensions.records import RECORD, Training, curve, read_training
from pumice.evaluate.dimensions.yields import read_yield
from pumice.evaluate.results import Scores

SHORT = 600.0
"""Seconds: of a shorter training, points for an hour are said to be no rate that anybody has seen."""
MOST = 0.9
"""The share of what a run gained that is looked for on its way."""


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """Points above the floor for an hour of a device, a million supervised tokens, and a PFLOP."""
    run = run_of(subject)
    training, gained = read_training(run), read_yield(run)
    ends = [end - gained.floor for end in gained.interval]
    points = gained.score - gained.floor
    costs = {
        f"points_per_{training.device.lower()}_hour": training.hours,
        "points_per_million_supervised": training.supervised / 1e6,
        "points_per_pflop": training.flops / 1e15,
    }
    metrics, interval = {"score": gained.score}, {"score": list(gained.interval)}
    for name, cost in costs.items():
        if cost > 0:
            metrics[name], interval[name] = points / cost, [end / cost for end in ends]
    metrics |= {"floor": gained.floor, "hours": training.hours}
    notes = [
        f"points: the score on the run's own questions ({gained.score:.1f}) less what needs no sight"
        f" ({gained.floor:.1f}); hours: of one {training.device}, {training.seconds:,.0f} s times"
        f" {training.devices} ({training.machine})",
    ]
    notes += _cautions(training)
    way = curve(run)
    if len(way) > 1:
        last = 100 * way[-1][1]
        wanted = gained.floor + MOST * (last - gained.floor)
        met = next((seen for seen, value in way if 100 * value >= wanted), None)
        if met is not None and last > gained.floor:
            metrics["supervised_to_90"] = float(met)
            notes.append("supervised_to_90: tokens learnt until nine tenths of the last gain were there")
    n = len(gained.answers)
    counts = {"parameters": training.parameters, "tokens": training.tokens, "supervised": training.supervised}
    groups = {training.name: group(n, {"score": gained.score}, gained.interval)}
    return Measured(
        Scores(metrics=metrics, interval=interval, n=n, groups=groups, counts=counts, notes=[]),
        n,
        n,
        None,
        tuple(notes),
    )


def _cautions(training: Training) -> list[str]:
    """What a reader of points for an hour must know besides."""
    said = [training.caution] if training.caution else []
    if 0 < training.seconds < SHORT:
        said.append(
            f"the training took {training.seconds:,.0f} s: too short for points an hour to be a rate. They "
            f"are the gain divided by {training.hours:.2g} hours; first gains come fast, and nobody saw "
            "an hour of it. Hold them against runs of like length alone"
        )
    return said


def check(subject: Subject) -> None:
    """Make sure that there is a finished run with a score."""
    run = run_of(subject)
    read_training(run)
    read_yield(run)


def run_of(subject: Subject) -> Path:
    """The run that trained the subject.

    Raises:
        UsageError: there is none.
    """
    if subject.run is None:
        raise UsageError(
            "the model has no record of its training",
            where=subject.model["name"],
            remedy="give the folder of the run that trained it as MODEL, such as runs/NAME",
        )
    return subject.run


def records_digest(runs: tuple[Path, ...]) -> str:
    """Names the records and scores of runs."""
    digest = hashlib.sha256()
    for run in runs:
        for path in (run / RECORD, run / "eval" / "scores.json", *sorted(run.glob("stages/*/metrics.jsonl"))):
            digest.update(path.read_bytes() if path.is_file() else b"absent")
    return digest.hexdigest()


EFFICIENCY = Dimension(
    "efficiency",
    "Training efficiency",
    "Points above what needs no sight, for an hour of a device, a million supervised tokens and a PFLOP.",
    "",
    ("the folder of the run that trained the model: run.json, metrics and eval/scores.json",),
    measure,
    lambda subject, folder: records_digest(() if subject.run is None else (subject.run,)),
    check,
)
