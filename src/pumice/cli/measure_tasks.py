"""Benchmark tasks of a run: opened before it trains, asked on the way and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumice.cli.models import answer_dtype, load_generator
from pumice.cli.tasks import ROWS, asking_progress, wanted
from pumice.errors import PumiceError, UsageError

if TYPE_CHECKING:
    from pumice.evaluate.results import Results
    from pumice.evaluate.samples import Loaded, Sample
    from pumice.evaluate.wish import Wish
    from pumice.model import Checkpoint
    from pumice.recipes.evaluation import Evaluation
    from pumice.train.best import Ask


@dataclass(frozen=True)
class RunTask:
    """A task of a run, with its questions read and the part of them that is asked on the way."""

    wish: Wish
    loaded: Loaded
    few: tuple[Sample, ...]


def open_tasks(plan: Evaluation, seed: int) -> list[RunTask]:
    """The tasks of a recipe's evaluation, their files read: nothing of them may fail hours in.

    Raises:
        UsageError: there is no such task or option, or no rule can score it.
        DataError: a file is missing or wrong.
        ImageError: a picture that is shown on the way cannot be decoded.
    """
    from pumice.evaluate.asking import some_of
    from pumice.evaluate.pictures import check_pictures, open_sight

    opened = []
    for wish in _wanted(plan):
        name = wish.benchmark.name
        loaded = wish.benchmark.load(wish.folder, wish.choices)
        if wish.benchmark.judge or not loaded.scored:
            who = "a judge" if wish.benchmark.judge else "only its server"
            raise UsageError(
                f"{who} scores {name}: a run cannot measure it",
                where="evaluation.tasks",
                remedy=f"leave it out, and ask the finished model: pumice eval RUN --tasks {name}",
            )
        check_pictures(loaded.samples, wish.folder)
        few = some_of(loaded.samples, plan.every_limit, seed)
        for picture in dict.fromkeys(one for sample in few for one in sample.images) if plan.every else ():
            open_sight(picture)
        opened.append(RunTask(wish, loaded, few))
    return opened


def _wanted(plan: Evaluation) -> list[Wish]:
    """The tasks of the block; errors name its keys and not the options of a command."""
    try:
        return wanted(plan.tasks, None if plan.data is None else Path(plan.data), plan.task_options)
    except UsageError as error:
        option, _, rest = (error.where or "").partition(" ")
        key = {"--tasks": "tasks", "--set": "task_options", "--data": "data"}.get(option, "tasks")
        error.where = f"evaluation.{key}" + (f": {rest}" if rest else "")
        raise


def tasks_asker(tasks: Sequence[RunTask]) -> Ask:
    """Asks a model in training a part of each task.

    What it returns goes into the metrics file: under ``tasks``, by name, what the reported figure is called,
    its value and interval, and how many questions there were.
    """
    from pumice.evaluate.local import LocalAnswerer
    from pumice.evaluate.results import ModelRecord
    from pumice.evaluate.scored import figures_of, score_texts
    from pumice.infer import Generator

    def ask(checkpoint: Checkpoint) -> dict[str, Any]:
        generator = Generator(*checkpoint, max_rows=ROWS)
        record = ModelRecord(kind="local", name="in training", digest="")
        answerer = LocalAnswerer(record, lambda: generator, rows=ROWS)
        rows: dict[str, Any] = {}
        for task in tasks:
            texts = [""] * len(task.few)
            for place, said in answerer.answers(task.few, task.wish.benchmark.max_new_tokens, blind=False):
                if said.bad is not None:
                    raise said.bad
                texts[place] = said.text
            result = score_texts(task.few, texts, partial(figures_of, task.loaded, len(task.few)))
            figure, value = next(iter(result.metrics.items()))
            low, high = result.intervals.get(figure, (value, value))
            found = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
            rows[task.wish.benchmark.name] = {"figure": figure, **found, "n": result.n}
        return {"tasks": rows}

    return ask


def measure_tasks(plan: Evaluation, tasks: Sequence[RunTask], model: Path, out: Path, seed: int) -> Results:
    """Ask a finished model the tasks of its recipe; the files of results go to ``out``.

    Raises:
        PumiceError: a task could not be asked or scored; the others were.
    """
    from pumice.evaluate.local import LocalAnswerer
    from pumice.evaluate.results import ModelRecord
    from pumice.evaluate.run import model_digest
    from pumice.evaluate.trial import Trial
    from pumice.evaluate.wish import Terms

    record = ModelRecord(kind="local", name=str(model), digest=model_digest(model))
    settings = {"template": None, "dtype": answer_dtype()}
    answerer = LocalAnswerer(record, lambda: load_generator(model, rows=ROWS), settings, ROWS)
    terms = Terms(plan.limit, seed, None, "blind" in plan.variants)
    trial = Trial([task.wish for task in tasks], answerer, out, terms)
    ready, failed = trial.prepare()
    for error in failed.values():
        raise error
    with asking_progress() as progress:
        results = trial.carry_out(ready, failed, progress)
    for task in tasks:
        name = task.wish.benchmark.name
        state = results["tasks"][name]
        if state["state"] != "scored":
            raise PumiceError(f"{name}: {state['problem']}", where=str(out), remedy=state["remedy"])
    return results
