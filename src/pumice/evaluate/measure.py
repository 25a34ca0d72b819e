"""Benchmarks asked from Python: `pumice eval --tasks` without its command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pumice.evaluate.asking import Answerer, Progress
from pumice.evaluate.results import Results
from pumice.evaluate.samples import Benchmark
from pumice.evaluate.tasks import choices_of
from pumice.evaluate.trial import Trial
from pumice.evaluate.wish import Terms, Wish


def measure(
    benchmarks: Sequence[Benchmark],
    answerer: Answerer,
    out: Path,
    *,
    folder: Path = Path(),
    terms: Terms | None = None,
    progress: Progress | None = None,
) -> Results:
    """Ask and score benchmarks; called again after a stop, it goes on and asks nothing twice.

    Args:
        benchmarks: published ones (``pumice.evaluate.tasks.TASKS``) or your own, each with its own name.
        answerer: who is asked: ``local.LocalAnswerer``, ``served.EndpointAnswerer``, or your own.
        out: where the files of results go (``results.py``).
        folder: what each benchmark's ``load`` is given, and what pictures are named by.
        terms: how all are asked.
        progress: told how far each is.

    Returns:
        What became of each task.

    Raises:
        PumiceError: a benchmark's files are wrong (nobody was asked then), or the answerer cannot go on.
    """
    wishes = [Wish(one, folder, choices_of(one, {})) for one in benchmarks]
    trial = Trial(wishes, answerer, out, terms or Terms())
    ready, failed = trial.prepare()
    for error in failed.values():
        raise error
    return trial.carry_out(ready, failed, progress)
