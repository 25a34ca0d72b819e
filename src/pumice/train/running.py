"""What all stages of a run share, and what a stage keeps and asks on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pumice.files import write_json
from pumice.model import Checkpoint, VisionLanguageModel
from pumice.model.adapter import BasePart
from pumice.model.attach import Attached
from pumice.model.save import save_model
from pumice.recipes.schema import Recipe, Stage
from pumice.train.adapters import made_of, write_adapter
from pumice.train.best import Ask, Asking, Best
from pumice.train.lean import Lean
from pumice.train.lineage import StageLineage
from pumice.train.observe import RunObserver
from pumice.train.parallel import Ranks
from pumice.train.record import close
from pumice.train.reuse import Reuse


@dataclass(frozen=True, slots=True)
class Running:
    """What all stages of a run share; of its files the first rank alone writes any."""

    recipe: Recipe
    folder: Path
    whole: Checkpoint
    record: dict[str, Any]
    observer: RunObserver
    stop: Callable[[], bool]
    ranks: Ranks
    ask: Ask | None = None
    restart: bool = False
    reuse: Reuse | None = None

    def keep(self) -> None:
        """Write the record."""
        if self.ranks.lead:
            write_json(self.folder / "run.json", self.record)

    def note_best(self, stage: Stage, facts: Mapping[str, Any]) -> None:
        """Record which model of a stage is kept as its best."""
        self.record["best"][stage.name] = {**facts, "model": f"stages/{stage.name}/best"}
        self.keep()

    def close(self, status: str) -> None:
        """Note how a run ended that did not finish."""
        if self.ranks.lead:
            close(self.folder, self.record, status)


def best_of(
    running: Running,
    stage: Stage,
    worker: VisionLanguageModel,
    attached: Attached | None,
    base: Callable[[], dict[str, BasePart]],
    lean: Lean,
    lineage: StageLineage | None,
) -> Best | None:
    """What keeps the best model of a stage, where its recipe asks for one."""
    if stage.validation is None or not stage.validation.keep_best:
        return None
    recipe, whole = running.recipe, running.whole

    def write(folder: Path, step: int) -> None:
        record = None if lineage is None else lineage.of("best", step)
        with lean.exact():
            if attached is None:
                save_model(*whole, folder, dtype="float32", lineage=record)
            else:
                made, tower = made_of(recipe, stage, step), "vision" in stage.parts
                write_adapter(attached, whole, folder, base(), made, record, tower=tower)

    place = running.folder / "stages" / stage.name / "best"
    before = running.record["best"].get(stage.name)
    note = partial(running.note_best, stage)
    figure = stage.validation.figure
    value = before and before["loss" if figure is None else "value"]
    return Best(whole.model, worker, write, note, place, running.ranks, figure, value)


def never_asked(running: Running, stage: Stage, steps: int) -> list[str]:
    """What of the evaluation on the way a stage of so many steps never comes to, as sentences."""
    plan = running.recipe.evaluation
    return [] if plan is None or running.ask is None else plan.never(stage.name, steps)


def asking_of(running: Running, stage: Stage, worker: VisionLanguageModel) -> Asking | None:
    """What asks the model in training, where the recipe and the caller want it."""
    plan = running.recipe.evaluation
    if plan is None or plan.every is None or running.ask is None:
        return None
    return Asking(running.whole, worker, running.ask, stage, plan.every, running.ranks)
