"""What a stage measures besides its loss: the best model so far, and answers to a few questions.

The best model is that of the lowest validation loss, or that of the best figure of a task that is asked on
the way. Of equal ones the earliest is kept, and a run that goes on after a stop decides as it would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pumice.errors import RecipeError, RunError
from pumice.model import Checkpoint, VisionLanguageModel
from pumice.recipes.schema import Evaluation, Stage
from pumice.train.losses import autocast
from pumice.train.parallel import Ranks, bring_back

Ask = Callable[[Checkpoint], Mapping[str, Any]]
"""Asks a model in training and returns what goes into the metrics file: ``value``, ``n`` and the like.

Where a recipe chooses best models by figures of tasks, ``keep_best`` has them by ``TASK.FIGURE``, each with
its ``value``, and ``higher``: whether more is better.
"""


@dataclass(slots=True)
class Best:
    """Keeps the best model of a stage in ``stages/STAGE/best``.

    Attributes:
        model: the whole model.
        worker: what trains: the same, or its split copy.
        write: writes the model after so many steps into a folder, whole or not at all.
        note: records the step, and the loss or the figure.
        folder: where it goes.
        ranks: all of them come here together.
        figure: ``TASK.FIGURE`` that decides; None: the validation loss.
        value: the best so far, None without one.
    """

    model: VisionLanguageModel
    worker: VisionLanguageModel
    write: Callable[[Path, int], None]
    note: Callable[[Mapping[str, Any]], None]
    folder: Path
    ranks: Ranks
    figure: str | None = None
    value: float | None = None

    def offer(self, step: int, loss: float) -> bool:
        """Keep the model after ``step`` steps if its loss is lower than any before; whether it was.

        A loss that is not a number is never the lowest.
        """
        return self._keep({"step": step, "loss": loss}, loss, higher=False)

    def weigh(self, step: int, row: Mapping[str, Any]) -> bool:
        """Keep the model after ``step`` steps if its figure is better than any before; whether it was.

        All ranks come here; the first one alone has the figure in its row of the metrics.

        Raises:
            RunError: nobody measured the figure.
        """
        assert self.figure is not None
        found = row.get("keep_best", {}).get(self.figure)
        own = (0.0, 0.0, 0.0) if found is None else (1.0, float(found["value"]), float(found["higher"]))
        # One rank has numbers and the others zeros, so that sums are exact.
        told = self.ranks.total(dict(zip(("there", "value", "higher"), own, strict=True)))
        if not told["there"]:
            raise RunError(
                f"the best model is chosen by {self.figure}, and what was asked has no such figure",
                where=str(self.folder),
                remedy="choose another figure of evaluation.tasks, or keep_best: true",
            )
        value = told["value"]
        facts = {"step": step, "figure": self.figure, "value": value}
        return self._keep(facts, value, higher=bool(told["higher"]))

    def _keep(self, facts: Mapping[str, Any], value: float, *, higher: bool) -> bool:
        sign = -1.0 if higher else 1.0
        if not (sign * value < (float("inf") if self.value is None else sign * self.value)):
            return False
        self.value = value
        bring_back(self.model, self.worker)
        if self.ranks.lead:
            self.write(self.folder, facts["step"])
            self.note(facts)
        self.ranks.wait()
        return True


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks the model in training, every so many steps.

    Of several ranks the first one asks the whole model, on the CPU, and the others wait.

    Attributes:
        whole: the whole model, its tokenizer and image processor.
        worker: what trains.
        ask: gives the answers' score.
        stage: of the recipe.
        every: steps between.
        ranks: all of them come here together.
    """

    whole: Checkpoint
    worker: VisionLanguageModel
    ask: Ask
    stage: Stage
    every: int
    ranks: Ranks

    def __call__(self, step: int) -> dict[str, Any]:
        """The row of the metrics file; of other ranks than the first without a score."""
        bring_back(self.whole.model, self.worker)
        row: dict[str, Any] = {"kind": "evaluation", "stage": self.stage.name, "step": step}
        if self.ranks.lead:
            model = self.whole.model
            modes = {module: module.training for module in model.modules()}
            model.eval()
            # Answers go token by token and with a cache: what is compiled for training is not for them.
            eager = torch.compiler.set_stance("force_eager")
            with torch.no_grad(), autocast(self.stage, model.device), eager:
                row |= self.ask(self.whole)
            for module, mode in modes.items():
                module.training = mode
        self.ranks.wait()
        return row


def check_kept(asked: Evaluation | None, stage: Stage, steps: int) -> None:
    """Refuse to keep the best model by a figure that nobody would measure.

    Args:
        asked: what the model in training is asked; None where nothing is.
        stage: of the recipe.
        steps: how many it has.

    Raises:
        RecipeError: nothing is asked on the way of the stage.
    """
    figure = None if stage.validation is None else stage.validation.figure
    if figure is None or (asked is not None and asked.asked(steps)):
        return
    key = f"stages.{stage.name}.validation.keep_best"
    if asked is None:
        what, remedy = "nothing is asked on the way", "measure on the way, without --no-eval"
    else:
        what = f"evaluation.every is {asked.every:,} and the stage has {steps:,} steps"
        remedy = f"set evaluation.every={max(1, steps // 4)}, say"
    raise RecipeError(
        f"the best model is to be chosen by {figure}, and {what}",
        where=key,
        remedy=f"{remedy}; or set {key}=false",
    )
