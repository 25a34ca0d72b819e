"""What a stage measures besides its loss: the best model so far, and answers to a few questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pumice.model import Checkpoint, VisionLanguageModel
from pumice.recipes.schema import Stage
from pumice.train.losses import autocast
from pumice.train.parallel import Ranks, bring_back

Ask = Callable[[Checkpoint], Mapping[str, Any]]
"""Asks a model in training and returns what goes into the metrics file: ``score``, ``n`` and the like."""


@dataclass(slots=True)
class Best:
    """Keeps the model of the lowest validation loss of a stage in ``stages/STAGE/best``.

    Attributes:
        model: the whole model.
        worker: what trains: the same, or its split copy.
        write: writes the model after so many steps into a folder, whole or not at all.
        note: records the step and the loss.
        folder: where it goes.
        ranks: all of them come here together.
        loss: the lowest so far, None without one.
    """

    model: VisionLanguageModel
    worker: VisionLanguageModel
    write: Callable[[Path, int], None]
    note: Callable[[int, float], None]
    folder: Path
    ranks: Ranks
    loss: float | None = None

    def offer(self, step: int, loss: float) -> bool:
        """Keep the model after ``step`` steps if its loss is lower than any before; whether it was.

        A loss that is not a number is never the lowest.
        """
        if not (loss < (float("inf") if self.loss is None else self.loss)):
            return False
        self.loss = loss
        bring_back(self.model, self.worker)
        if self.ranks.lead:
            self.write(self.folder, step)
            self.note(step, loss)
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
