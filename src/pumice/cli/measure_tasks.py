"""Benchmark tasks of a run: opened before it trains, asked on the way and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumice.cli.models import answer_settings, load_generator
from pumice.cli.tasks import ROWS, asking_progress, wanted
from pumice.errors import DataError, PumiceError, UsageError, suggest

if TYPE_CHECKING:
    from pumice.evaluate.results import Results
    from pumice.evaluate.samples import Loaded, Sample
    from pumice.evaluate.wish import Wish
    from pumice.model import Checkpoint
    from pumice.recipes.evaluation import Evaluation
    from pumice.score import Result
    from pumice.train.best import Ask


DECODERS = 4
"""Threads that decode pictures before a run."""


@dataclass(frozen=True)
class RunTask:
    """A task of a run, with its questions read and the part of them that is asked on the way.

    Attributes:
        wish: where its files lie, and its options.
        loaded: all of its questions.
        few: those that are asked on the way, whose pictures can be decoded.
        bad: how many others were drawn and cannot be asked.
        kept: by figures that decide which model is the best, whether more is better.
    """

    wish: Wish
    loaded: Loaded
    few: tuple[Sample, ...]
    bad: int = 0
    kept: Mapping[str, bool] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.wish.benchmark.name

    def figures(self, texts: Sequence[str]) -> Result:
        """The figures of answers to the part that is asked on the way."""
        from pumice.evaluate.scored import figures_of, score_texts

        return score_texts(self.few, texts, partial(figures_of, self.loaded, len(self.few)))


def open_tasks(plan: Evaluation, seed: int, kept: Mapping[str, str] | None = None) -> list[RunTask]:
    """The tasks of a recipe's evaluation, their files read: nothing of them may fail hours in.

    Args:
        plan: the evaluation.
        seed: decides which questions are asked on the way.
        kept: figures that decide which model is the best, ``TASK.FIGURE``, each with a stage of theirs.

    Raises:
        UsageError: there is no such task, option or figure, or no rule can score it.
        DataError: a file is missing or wrong, or more pictures of the part that is asked on the way cannot be
            decoded than the recipe allows.
    """
    from pumice.evaluate.asking import some_of
    from pumice.evaluate.pictures import check_pictures

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
        asked = some_of(loaded.samples, plan.limit, seed)
        check_pictures(asked, wish.folder)
        few = some_of(loaded.samples, plan.every_limit, seed)
        if plan.every is not None:
            check_pictures(few, wish.folder)
            good = _decodable(name, few, plan.allow_bad)
            opened.append(RunTask(wish, loaded, good, len(few) - len(good)))
        else:
            opened.append(RunTask(wish, loaded, few))
    return _with_kept(opened, kept or {})


def _decodable(name: str, few: Sequence[Sample], allow_bad: int) -> tuple[Sample, ...]:
    """The questions whose pictures can be decoded.

    Raises:
        DataError: more than ``allow_bad`` cannot, or none can.
    """
    from pumice.evaluate.pictures import why_bad

    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
        found = list(zip(few, pool.map(why_bad, few), strict=True))
    bad = [(sample, why) for sample, why in found if why]
    if len(bad) <= allow_bad and len(bad) < len(few):
        return tuple(sample for sample, why in found if not why)
    sample, why = bad[min(allow_bad, len(bad) - 1)]
    where = ", ".join(part for part in (sample.where, f"question {sample.id} of {name}") if part)
    raise DataError(
        f"pictures of {len(bad):,} of the {len(few):,} questions that are asked on the way cannot be "
        f"decoded, {allow_bad:,} may be left out: {why}",
        where=where,
        remedy="mend or fetch them again; or leave such questions out, up to N of each task: "
        "evaluation.allow_bad=N",
    )


def _with_kept(tasks: Sequence[RunTask], kept: Mapping[str, str]) -> list[RunTask]:
    """The tasks, with the figures by which best models are chosen.

    What figures there are is seen from an attempt: answers that say nothing are scored.

    Raises:
        UsageError: no such task is asked, it has no such figure, or neither more nor less of it is better.
    """
    found = {task.name: task for task in tasks}
    for word, stage in kept.items():
        where = f"stages.{stage}.validation.keep_best"
        name, _, figure = word.rpartition(".")
        if name not in found:
            raise UsageError(
                f"keep_best is {word}, and the evaluation asks no task {name!r}",
                where=where,
                remedy=suggest(name, found),
            )
        task = found[name]
        result = task.figures([""] * len(task.few))
        able = [one for one in result.metrics if result.higher(one) is not None]
        higher = result.higher(figure)
        if figure not in result.metrics or higher is None:
            no = "has no figure" if figure not in result.metrics else "says nothing of good or bad with"
            raise UsageError(
                f"keep_best is {word}, and {name} {no} {figure!r}",
                where=where,
                remedy=suggest(figure, able),
            )
        found[name] = replace(task, kept={**task.kept, figure: higher})
    return list(found.values())


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
    its value and interval, and how many questions there were. Under ``keep_best``, by ``TASK.FIGURE``, those
    that decide which model is the best, and whether more of them is better.
    """
    from pumice.evaluate.local import LocalAnswerer
    from pumice.evaluate.results import ModelRecord
    from pumice.infer import Generator

    def ask(checkpoint: Checkpoint) -> dict[str, Any]:
        generator = Generator(*checkpoint, max_rows=ROWS)
        record = ModelRecord(kind="local", name="in training", digest="")
        answerer = LocalAnswerer(record, lambda: generator, rows=ROWS)
        rows: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for task in tasks:
            texts = [""] * len(task.few)
            for place, said in answerer.answers(task.few, task.wish.benchmark.max_new_tokens, blind=False):
                if said.bad is not None:
                    raise said.bad
                texts[place] = said.text
            result = task.figures(texts)
            figure, value = next(iter(result.metrics.items()))
            low, high = result.intervals.get(figure, (value, value))
            found = {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
            rows[task.name] = {"figure": figure, **found, "n": result.n}
            if task.bad:
                rows[task.name]["left_out"] = task.bad
            for own, higher in task.kept.items():
                kept[f"{task.name}.{own}"] = {"value": round(result.metrics[own], 4), "higher": higher}
        return {"tasks": rows, **({"keep_best": kept} if kept else {})}

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
    settings = answer_settings(model, None, None)
    answerer = LocalAnswerer(record, lambda: load_generator(model, rows=ROWS), settings, ROWS)
    terms = Terms(plan.limit, seed, None, "blind" in plan.variants, plan.allow_bad)
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
