"""How much a step computes, as ``cost`` counts: with the time it took, the share of a machine's peak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pumice.cost.estimate import stage_flops
from pumice.cost.shape import DENSE, Additions, Load, Partly, Shape
from pumice.data.plan import Plan
from pumice.model.last_layer import MOST
from pumice.recipes.schema import Stage
from pumice.types import IntArray


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Counts the steps of one stage.

    Attributes:
        shape: of the model, without additions.
        stage: what trains and how.
        additions: those of a stage with ``lora``.
        kept: the tower's features were made before the first step.
        flat: rows are laid end to end, so that nothing pads them.
        partly: parts of which some trains (``optim.partly_of``).
        trimmed: parameters of the last layer that are computed at supervised places alone.
    """

    shape: Shape
    stage: Stage
    additions: Additions | None
    kept: bool
    flat: bool = False
    partly: Mapping[str, Partly] = field(default_factory=dict)
    trimmed: int = 0

    def step(self, plan: Plan, lengths: IntArray, step: int, tiles: float, image_tokens: float) -> float:
        """FLOP of a step over all ranks, what is computed twice counted twice.

        Args:
            plan: the stage's.
            lengths: tokens of each sample, int64 [samples].
            step: counted from 0.
            tiles: inputs of the tower, of all ranks.
            image_tokens: tokens that come out of the connector, likewise.
        """
        own = lengths[list(plan.samples(step))].astype(np.float64)
        squares = float((own**2).sum())
        if self.stage.dense:
            rows = len(plan.steps[step])
            squares = rows * DENSE * (plan.slots[step] / rows) ** 2
        load = Load(
            steps=1,
            tokens=float(plan.tokens[step] if self.flat else plan.slots[step]),
            squares=squares,
            logits=float(plan.supervised[step]),
            images=0.0 if self.kept else tiles,
            image_tokens=image_tokens,
            row=0,
            rows=len(plan.steps[step]),
            images_per_step=tiles,
            logits_per_row=0.0,
        )
        found = stage_flops(
            self.shape,
            load,
            self.stage.parts,
            checkpointing=self.stage.activation_checkpointing,
            additions=self.additions,
            partly=self.partly,
            trimmed=self.trimmed if load.logits <= MOST * load.tokens else 0,
        )
        return sum(found.values())
