"""What the pretraining of both parts shares: optimiser, schedule, and how the step loop sees them."""

from __future__ import annotations

import hashlib
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pumice.errors import RunError
from pumice.files import write_json
from pumice.train.checkpoint import UnreadableState, list_states
from pumice.train.faults import StepWords
from pumice.train.loop import Terms, run_steps

if TYPE_CHECKING:
    from pumice.world.pretrain_lm import LanguagePlan
    from pumice.world.pretrain_tower import TowerPlan

REPORT_EVERY = 25
CLIP_NORM = 1.0


class Trainer(ABC):
    """A part in training; every step is a function of the plan, the data and its number.

    Args:
        plan: sizes and schedule.
        data: numbers that say which data it learns from; a state of other data is refused.
        modules: all that is trained, by name, on the CPU in float32.

    ``seconds`` is the time that training took over all starts.
    """

    NAME: ClassVar[str]
    """Of its folder in the work folder, and of the stage in errors."""
    UNIT: ClassVar[str]
    """The figure of a step whose rate is shown."""
    FIGURES: ClassVar[tuple[str, ...]]
    """The losses that are shown."""
    FLOOR: ClassVar[float]
    """Share of the learning rate that is left at the end."""

    def __init__(
        self, plan: TowerPlan | LanguagePlan, data: Mapping[str, int], modules: Mapping[str, nn.Module]
    ) -> None:
        self.schedule, self.seconds = plan, 0.0
        self.settings: dict[str, Any] = {**asdict(plan), **data}
        self.weights = {
            f"{part}.{name}": p for part, module in modules.items() for name, p in module.named_parameters()
        }
        shared = {"lr": plan.lr, "peak": plan.lr, "part": self.NAME}
        matrices = [p for p in self.weights.values() if p.ndim >= 2]
        vectors = [p for p in self.weights.values() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": plan.weight_decay, **shared},
            {"params": vectors, "weight_decay": 0.0, **shared},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))

    @abstractmethod
    def gradients(self, step: int) -> dict[str, float]:
        """As ``Training.gradients``: losses, ``loss`` among them, and under ``UNIT`` how much was read."""

    @abstractmethod
    def drawn(self, step: int) -> list[str]:
        """What a step learns from, in words."""

    def factor(self, step: int) -> float:
        """Linear warmup times a cosine from 1 down to ``FLOOR``."""
        plan = self.schedule
        progress = min(1.0, max(0.0, (step - plan.warmup) / max(1, plan.steps - plan.warmup)))
        cosine = self.FLOOR + (1 - self.FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
        return min(1.0, (step + 1) / plan.warmup) * cosine


class Pretraining:
    """A trainer as the step loop sees it (``train.loop.Training``), with its folder in the work folder.

    Args:
        trainer: what trains.
        folder: for its states, its rows and its settings.
        accuracy: measured whenever a state is saved.
        stop: asked before each step.

    Raises:
        RunError: the folder holds the states of another pretraining.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        accuracy: Callable[[], dict[str, float]],
        stop: Callable[[], bool],
    ) -> None:
        self._trainer, self._accuracy, plan = trainer, accuracy, trainer.schedule
        self.weights, self.optimizer = trainer.weights, trainer.optimizer
        self.factor, self.gradients = trainer.factor, trainer.gradients
        _check_settings(folder, trainer.settings)
        self.terms = Terms(
            name=trainer.NAME,
            folder=folder,
            steps=plan.steps,
            seed=plan.seed,
            digest=hashlib.sha256(json.dumps(trainer.settings, sort_keys=True).encode()).hexdigest(),
            device=torch.device("cpu"),
            clip_norm=CLIP_NORM,
            stop_norm=None,
            checkpoint_every=plan.save_every,
            keep=2,
            stop=stop,
            to_restart=f"delete {folder} to begin again",
        )

    def measure(self, step: int) -> Iterator[dict[str, Any]]:
        """A row of kind ``accuracy`` before each state that holds steps."""
        plan = self._trainer.schedule
        if step and (step % plan.save_every == 0 or step == plan.steps):
            row = {"kind": "accuracy", "stage": self.terms.name, "step": step, "steps": plan.steps}
            yield {**row, "accuracy": self._accuracy()}

    def in_words(self, step: int) -> StepWords:
        """What it drew, and what takes memory."""
        drawn = self._trainer.drawn(step)
        return StepWords(drawn, f"{len(drawn):,} {self._trainer.UNIT}", "free memory, or use fewer --workers")


def _check_settings(folder: Path, wanted: dict[str, Any]) -> None:
    """Write down what a pretraining is of, or compare with what its states are of."""
    file = folder / "settings.json"
    if list_states(folder / "state") and file.exists():
        held = json.loads(file.read_text(encoding="utf-8"))
        other = [
            f"{key} {held.get(key)!r}, not {wanted.get(key)!r}"
            for key in sorted(held.keys() | wanted.keys())
            if held.get(key) != wanted.get(key)
        ]
        if other:
            raise RunError(
                f"the saved state is of another pretraining: {'; '.join(other)}",
                where=str(folder),
                remedy="delete the folder or use another",
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, wanted)


class Progress:
    """An ``Observer`` that reports every few steps, with the rate since this start."""

    def __init__(self, trainer: Trainer, report: Callable[[int, int, dict[str, float]], None]) -> None:
        self._trainer, self._report = trainer, report
        self._began, self._amount = time.monotonic(), 0.0

    def on_step(self, row: dict[str, Any]) -> None:
        """Losses and rate, every ``REPORT_EVERY`` steps."""
        unit = self._trainer.UNIT
        self._amount += row[unit]
        if row["step"] % REPORT_EVERY == 0:
            figures = {name: row[name] for name in self._trainer.FIGURES if name in row}
            rate = self._amount / (time.monotonic() - self._began)
            self._report(row["step"], row["steps"], {**figures, f"{unit}/s": rate})

    def on_validation(self, row: dict[str, Any]) -> None:
        """The accuracies."""
        self._report(row["step"], row["steps"], row["accuracy"])

    def on_damaged(self, error: UnreadableState, step: int) -> None:
        """Back to the step of the state before; the end is the same."""
        self._report(step, self._trainer.schedule.steps, {})

    def on_notice(self, text: str) -> None:
        """Nothing: what is reported is counts."""

    def on_resume(self, row: dict[str, Any]) -> None:
        """Nothing: the next report tells how far it is."""


def run(
    trainer: Trainer,
    work: Path,
    accuracy: Callable[[], dict[str, float]],
    report: Callable[[int, int, dict[str, float]], None],
    stop: Callable[[], bool],
) -> None:
    """Train to the plan's end, from the newest state in ``work/NAME`` if there is one.

    Raises:
        RunError: as ``train.loop.run_steps``, or the states there are of another pretraining.
        Interrupted: ``stop()`` said so; the state is saved.
    """
    pretraining = Pretraining(trainer, work / trainer.NAME, accuracy, stop)
    trainer.seconds = run_steps(pretraining, Progress(trainer, report))
