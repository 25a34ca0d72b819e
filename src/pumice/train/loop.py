"""The step loop, the same for every kind of training: it reads top to bottom.

A run's stages (``stage``) and the pretraining of the embedded parts (``pumice.world``) go through it. What
differs, which losses of which rows, is a ``Training``. What must not differ is here: the resume, the save
that is tried before the first step, the order of things within a step, the stop, the states. Every chance in
a step comes from (seed, name, step), so a resumed run goes on exactly where the killed one was.
"""

from __future__ import annotations

import math
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from pumice.errors import Interrupted, RunError
from pumice.train.checkpoint import UnreadableState, list_states, load_state
from pumice.train.faults import KEPT, StepWords, Taken, check_step, step_faults
from pumice.train.metrics import MetricsFile, NoMetrics, last_step, peak_memory
from pumice.train.optim import set_rates
from pumice.train.parallel import ALONE, Ranks, whole
from pumice.train.saving import NoSaver, Saver


class Observer(Protocol):
    """Who watches a training (the command line's progress display, or nobody)."""

    def on_step(self, row: dict[str, Any]) -> None:
        """After each optimiser step, with the row that went into the metrics file."""

    def on_validation(self, row: dict[str, Any]) -> None:
        """After each measurement, likewise (of a stage: ``validation``, ``grounding`` or ``evaluation``)."""

    def on_damaged(self, error: UnreadableState, step: int) -> None:
        """A saved state is damaged, and the one before it, of step ``step``, is tried next."""

    def on_notice(self, text: str) -> None:
        """Something that the training gets over, and that its owner should know."""

    def on_resume(self, row: dict[str, Any]) -> None:
        """A training goes on from a state: ``stage``, ``step``, ``steps``, ``saved`` (seconds since 1970) and
        ``undone``, the steps after it that are done again."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every training tells the loop in the same words.

    Attributes:
        name: of the stage; it stands in rows and errors, and decides with ``seed`` every chance of a step.
        folder: where ``metrics.jsonl`` and ``state/`` go.
        steps: how many there are.
        seed: of the run.
        digest: of all that decides what the steps do; a state of another digest is refused.
        device: where it computes.
        clip_norm: gradients longer than this are cut to it; None leaves them.
        stop_norm: a longer gradient ends the run; None allows every finite one.
        checkpoint_every: steps between states; None saves at the end alone.
        keep: how many states stay; 0 writes none, of what is only timed.
        stop: asked before each step; True on any rank saves and raises ``Interrupted``.
        ranks: this process among those that train together.
        restart: begin again where steps were done and no state can be read; without it that is an error.
        to_restart: how one says so, for that error.
        lineage: where the weights come from, for the record of each state; None writes none.
    """

    name: str
    folder: Path
    steps: int
    seed: int
    digest: str
    device: torch.device
    clip_norm: float | None
    stop_norm: float | None
    checkpoint_every: int | None
    keep: int
    stop: Callable[[], bool]
    ranks: Ranks = ALONE
    restart: bool = False
    to_restart: str = "delete all of this training to begin it again"
    lineage: Mapping[str, Any] | None = None


class Training(Protocol):
    """One kind of training, as the loop sees it. All ranks call all of it together."""

    @property
    def terms(self) -> Terms:
        """How long it goes, and by which rules."""

    @property
    def weights(self) -> Mapping[str, nn.Parameter]:
        """What trains, by the names it has in a state; gradients are clipped in this order."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Over exactly these weights; each group says its ``peak`` rate and the ``part`` it is of."""

    def factor(self, step: int) -> float:
        """The share of the peak rates at which a step (from 0) is taken."""

    def gradients(self, step: int) -> dict[str, float]:
        """Put a step's gradients, summed over all its rows, into the weights, which have none.

        Returns:
            Its row's figures over all ranks; ``loss`` is what the gradients are of.
        """

    def measure(self, step: int) -> Iterator[dict[str, Any]]:
        """Rows of what is measured when ``step`` steps are done; none where nothing is due. It leaves the
        weights as they are."""

    def in_words(self, step: int) -> StepWords:
        """What a step (from 0) is made of, for errors."""


def run_steps(training: Training, observer: Observer) -> float:
    """Take a training to its end, from its newest state if it has one.

    Returns:
        Seconds trained, those before a resume included.

    Raises:
        RunError: a loss or a gradient that is not fit to learn from (named with its samples), memory that ran
            out, a state that cannot be saved, or steps that were done and of which no state can be read.
        Interrupted: ``terms.stop()`` said so; the state is saved.
    """
    terms, weights, optimizer = training.terms, training.weights, training.optimizer
    ranks = terms.ranks
    saver: Saver | NoSaver = NoSaver()
    if terms.keep:
        states = terms.folder / "state"
        saver = Saver(states, weights, optimizer, terms.digest, terms.keep, ranks, terms.lineage)
    step, before = _resume(training, observer)
    # Before the first step nothing is kept: the measurement at step 0 is made again.
    metrics = MetricsFile(terms.folder / "metrics.jsonl", step or -1) if ranks.lead else NoMetrics()
    began = time.monotonic()
    taken: deque[Taken] = deque(maxlen=KEPT)

    def seconds() -> float:
        return before + time.monotonic() - began

    def measure() -> None:
        for row in training.measure(step):
            metrics.write(row)
            observer.on_validation(row)

    with closing(metrics), saver:
        if step == 0:
            saver.save(step, seconds())
            saver.wait()  # a save that fails must fail now and not after the work
            measure()
        while step < terms.steps:
            with step_faults(training, step):
                saver.check()
                if ranks.any(terms.stop()):
                    saver.save(step, seconds())
                    saver.wait()
                    done = f"step {step} of {terms.steps} in stage {terms.name!r}"
                    raise Interrupted(f"stopped after {done}; the state is saved")
                torch.manual_seed(zlib.crc32(f"{terms.seed} {terms.name} {step}".encode()))
                rates = set_rates(optimizer, training.factor(step))
                optimizer.zero_grad(set_to_none=True)
                figures = training.gradients(step)
                clipped = nn.utils.clip_grad_norm_(weights.values(), terms.clip_norm or math.inf)
                norm = float(whole(clipped))
                check_step(figures["loss"], norm, training, step, rates, tuple(taken))
                optimizer.step()
                taken.append(Taken(step + 1, figures["loss"], norm, rates))
                row = {
                    "kind": "train",
                    "stage": terms.name,
                    "step": step + 1,
                    "steps": terms.steps,
                    **figures,
                    "lr": rates,
                    "grad_norm": norm,
                    "seconds": round(seconds(), 3),
                    "memory": peak_memory(terms.device),
                }
                step += 1
                metrics.write(row)
                observer.on_step(row)
                measure()
                if step < terms.steps and terms.checkpoint_every and step % terms.checkpoint_every == 0:
                    saver.save(step, seconds())
        saver.save(step, seconds())
    return seconds()


def _resume(training: Training, observer: Observer) -> tuple[int, float]:
    """Steps done and seconds trained in the newest state that can be read; nothing of both without one.

    Raises:
        UnreadableState: there are states, and none of them can be read.
        RunError: steps were done, and there is no state.
    """
    terms = training.terms
    metrics = terms.folder / "metrics.jsonl"
    found, done = list_states(terms.folder / "state"), last_step(metrics)
    terms.ranks.wait()  # none is written before all have looked
    damaged: UnreadableState | None = None
    while found:
        state = found.pop()
        try:
            saved = state.folder.stat().st_mtime
            before = load_state(
                state, training.weights, training.optimizer, terms.digest, terms.ranks, observer.on_notice
            )
        except UnreadableState as error:
            damaged = damaged or error
            if found:
                observer.on_damaged(error, found[-1].step)
            continue
        undone = max(done - state.step, 0)
        told = {"stage": terms.name, "step": state.step, "steps": terms.steps}
        observer.on_resume({**told, "saved": saved, "undone": undone})
        return state.step, before
    if damaged is not None or done:
        _begin_again(terms, metrics, done, damaged, observer)
    return 0, 0.0


def _begin_again(
    terms: Terms, metrics: Path, done: int, damaged: UnreadableState | None, observer: Observer
) -> None:
    """Say what is lost where no state is left, and put the rows of the lost steps aside.

    Raises:
        RunError: nobody said that the training may begin again; nothing was changed.
    """
    lost = f"{done:,} step{'s' * (done != 1)}"
    if not terms.restart:
        kind = RunError if damaged is None else UnreadableState
        why = "" if damaged is None else f": {damaged.what}"
        raise kind(
            f"no state of {terms.name!r} is left to go on from, and {lost} of {terms.steps:,} were done{why}",
            where=str(terms.folder / "state"),
            remedy=f"restore this folder from a copy; or {terms.to_restart}: the {lost} are lost, what was "
            "finished before stays",
        )
    told = f"no state of {terms.name!r} can be read: it begins again, and {lost} are lost"
    if terms.ranks.lead and metrics.exists():
        number = 1 + len(list(metrics.parent.glob("metrics.lost-*.jsonl")))
        aside = metrics.with_name(f"metrics.lost-{number}.jsonl")
        metrics.rename(aside)
        told += f"; their numbers are kept in {aside.name}"
    observer.on_notice(told)
