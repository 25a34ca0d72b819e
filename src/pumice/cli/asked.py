"""What a run's model is asked, on the way and at the end: questions of one's own, tasks, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumice.errors import DataError

if TYPE_CHECKING:
    from pumice.cli.measure_tasks import RunTask
    from pumice.evaluate import QuestionSet
    from pumice.model import Checkpoint
    from pumice.recipes import Recipe
    from pumice.recipes.evaluation import Evaluation
    from pumice.train.best import Ask


@dataclass(frozen=True)
class Asked:
    """The questions and tasks of a recipe's evaluation, their files read."""

    plan: Evaluation
    questions: QuestionSet | None
    tasks: tuple[RunTask, ...]

    def on_the_way(self) -> Ask | None:
        """Asks a model in training a few of them; None where the recipe does not want that."""
        if self.plan.every is None:
            return None
        asks: list[Ask] = []
        if self.questions is not None:
            from pumice.cli.measure import asker

            asks.append(asker(self.questions, self.plan.every_limit, self.plan.max_new_tokens))
        if self.tasks:
            from pumice.cli.measure_tasks import tasks_asker

            asks.append(tasks_asker(self.tasks))

        def ask(checkpoint: Checkpoint) -> Mapping[str, Any]:
            row: dict[str, Any] = {}
            for one in asks:
                row |= one(checkpoint)
            return row

        return ask


def open_asked(recipe: Recipe, without: str) -> Asked | None:
    """What the evaluation asks, read before anything trains: nothing of it may fail hours in.

    Args:
        recipe: whose evaluation.
        without: the option that leaves the measurement out, for those who have no such file.

    Returns:
        None where the recipe measures nothing.

    Raises:
        PumiceError: a file is missing or wrong, or there is no such task.
    """
    plan = recipe.evaluation
    if plan is None:
        return None
    questions = None if plan.questions is None else _questions(plan, plan.questions, recipe.seed, without)
    tasks: tuple[RunTask, ...] = ()
    if plan.tasks:
        from pumice.cli.measure_tasks import open_tasks

        tasks = tuple(open_tasks(plan, recipe.seed, recipe.figures))
    return Asked(plan, questions, tasks)


def _questions(plan: Evaluation, file: str, seed: int, without: str) -> QuestionSet:
    from pumice.cli.measure import open_questions

    images = Path(plan.images) if plan.images else None
    try:
        return open_questions(Path(file), images, plan.limit, plan.variants, seed)
    except DataError as error:
        if not Path(file).exists():
            error.remedy = f"{error.remedy}; or train without measuring: {without}"
        raise


def measure_asked(recipe: Recipe, folder: Path, final: Path, asked: Asked) -> None:
    """Measure the finished model of a run; scores, answers and results go to ``folder/eval``.

    Raises:
        PumiceError: as ``pumice.evaluate.evaluate``, or a task could not be asked or scored.
    """
    from pumice.cli.console import out
    from pumice.recipes.values import RANDOM

    own = recipe.model
    parts = (own.checkpoint, own.vision, own.language)
    if asked.questions is not None:
        _measure_questions(recipe, folder, final, asked.questions)
    if asked.tasks:
        _measure_tasks(recipe, folder, final, asked)
    if any(part is not None and part.startswith(RANDOM) for part in parts):
        out.print("\nThe parts began with random weights: these scores mean nothing.", style="yellow")


def _measure_questions(recipe: Recipe, folder: Path, final: Path, questions: QuestionSet) -> None:
    from pumice.cli.console import out
    from pumice.cli.measure import measure, print_answers, print_scores

    plan = recipe.evaluation
    assert plan is not None
    aligned = folder / "stages" / recipe.aligned / "model" if recipe.aligned else None
    out.print(f"\n{len(questions):,} questions to {', '.join(plan.variants)}")
    scores = measure(
        questions,
        folder / "eval",
        final,
        aligned,
        plan.variants,
        max_new_tokens=plan.max_new_tokens,
        seed=recipe.seed,
    )
    print_scores(scores)
    print_answers(folder / "eval" / f"predictions-{next(iter(scores['variants']))}.jsonl")


def _measure_tasks(recipe: Recipe, folder: Path, final: Path, asked: Asked) -> None:
    from pumice.cli.console import note
    from pumice.cli.measure_tasks import measure_tasks
    from pumice.cli.tasks_view import print_results
    from pumice.report import write_evaluation_page

    results = measure_tasks(asked.plan, asked.tasks, final, folder / "eval", recipe.seed)
    print_results(results, [task.wish.benchmark.name for task in asked.tasks])
    loaded = {task.wish.benchmark.name: task.loaded for task in asked.tasks}
    note(f"Their page: {write_evaluation_page(folder / 'eval', loaded=loaded)}")
