"""What the pretraining of both embedded parts shares: optimiser, schedule, states, the loop."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from pumice.errors import RunError
from pumice.files import replacing

if TYPE_CHECKING:
    from pumice.world.pretrain_lm import LanguagePlan
    from pumice.world.pretrain_tower import TowerPlan

REPORT_EVERY = 25


class Trainer(ABC):
    """A pretraining that can be stopped; every step is a function of the plan, the data and its number.

    Args:
        plan: sizes and schedule.
        data: numbers that say which data it learns from; a state of other data is refused.
        modules: all that is trained, by name, on the CPU in float32.

    ``step`` counts the steps done and ``seconds`` the time they took over all starts.
    """

    FILE: ClassVar[str]
    """The state's name in the work folder."""
    UNIT: ClassVar[str]
    """The figure of a step whose rate is shown."""
    FLOOR: ClassVar[float]
    """Share of the learning rate that is left at the end."""

    def __init__(
        self, plan: TowerPlan | LanguagePlan, data: Mapping[str, int], modules: Mapping[str, nn.Module]
    ) -> None:
        self.schedule, self.modules = plan, modules
        self.settings: dict[str, Any] = {**asdict(plan), **data}
        self.params = [p for module in modules.values() for p in module.parameters()]
        groups = [
            {"params": [p for p in self.params if p.ndim >= 2], "weight_decay": plan.weight_decay},
            {"params": [p for p in self.params if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.lr, betas=(0.9, 0.98))
        self.step, self.seconds = 0, 0.0

    @abstractmethod
    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns losses, and under ``UNIT`` how much was read."""

    def learning_rate(self, step: int) -> float:
        """Linear warmup times a cosine from ``lr`` down to ``FLOOR`` of it."""
        plan = self.schedule
        progress = min(1.0, max(0.0, (step - plan.warmup) / max(1, plan.steps - plan.warmup)))
        cosine = self.FLOOR + (1 - self.FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
        return plan.lr * min(1.0, (step + 1) / plan.warmup) * cosine

    def descend(self, loss: Tensor) -> None:
        """The optimiser's half of a step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        self.step += 1

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {
            **{name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "plan": self.settings,
        }

    def load(self, path: Path) -> None:
        """Go on from a saved state.

        Raises:
            RunError: the state is of another plan, of other data, or of another version's layout.
        """
        state = torch.load(path, weights_only=True)
        held, wanted = state.get("plan", {}), self.settings
        other = [
            f"{key} {held.get(key)!r}, not {wanted.get(key)!r}"
            for key in sorted(held.keys() | wanted.keys())
            if held.get(key) != wanted.get(key)
        ]
        missing = sorted(self.state().keys() - state.keys())
        if other or missing:
            said = "; ".join([*other, *(f"it lacks {key}" for key in missing)])
            raise RunError(
                f"the saved state is of another pretraining: {said}",
                where=str(path),
                remedy="delete the state or use another folder",
            )
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


def run(
    trainer: Trainer,
    work: Path,
    accuracy: Callable[[], dict[str, float]],
    report: Callable[[int, int, dict[str, float]], None],
) -> None:
    """Train to the plan's end from the state in ``work``, if there is one; save and measure on the way.

    Raises:
        RunError: the state there is of another pretraining.
    """
    saved, plan = work / trainer.FILE, trainer.schedule
    if saved.exists():
        trainer.load(saved)
    began, before, amount = time.monotonic(), trainer.seconds, 0.0
    while trainer.step < plan.steps:
        figures = trainer.train_step()
        amount += figures.pop(trainer.UNIT)
        trainer.seconds = before + time.monotonic() - began
        if trainer.step % REPORT_EVERY == 0:
            rate = amount / (trainer.seconds - before)
            report(trainer.step, plan.steps, {**figures, f"{trainer.UNIT}/s": rate})
        if trainer.step % plan.save_every == 0 or trainer.step == plan.steps:
            with replacing(saved) as partial:
                torch.save(trainer.state(), partial)
            report(trainer.step, plan.steps, accuracy())
