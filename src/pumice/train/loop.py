"""The step loop, the same for every stage: it reads top to bottom.

The loss is per supervised token over all parts of a step, however its rows are split. Every chance in
a step comes from (seed, stage, step), so a resumed run goes on exactly where the killed one was.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pumice.data.plan import Plan
from pumice.errors import Interrupted
from pumice.model import VisionLanguageModel
from pumice.train.arithmetic import Arithmetic
from pumice.train.best import Asking, Best
from pumice.train.checkpoint import UnreadableState, list_states, load_state
from pumice.train.dataset import StageData
from pumice.train.faults import check_step, step_faults
from pumice.train.losses import Context, autocast, stage_losses, step_parts, step_spread, word_table
from pumice.train.metrics import MetricsFile, NoMetrics, peak_memory
from pumice.train.optim import build_optimizer, rate_factor, set_rates
from pumice.train.parallel import whole
from pumice.train.preference import Pairs, zeros
from pumice.train.saving import Saver
from pumice.train.validate import Validator
from pumice.types import IntArray


class Observer(Protocol):
    """Who watches a stage (the command line's progress display, or nobody)."""

    def on_step(self, row: dict[str, Any]) -> None:
        """After each optimiser step, with the row that went into the metrics file."""

    def on_validation(self, row: dict[str, Any]) -> None:
        """After each measurement (of kind ``validation``, ``grounding`` or ``evaluation``), likewise."""

    def on_damaged(self, error: UnreadableState, step: int) -> None:
        """A saved state is damaged, and the run goes on from the one before it, of step ``step``."""


@dataclass(frozen=True, slots=True)
class StageRun:
    """All a stage needs; ``lengths`` are the tokens of each of the data's samples, int64 [samples]."""

    context: Context
    folder: Path
    plan: Plan
    data: StageData
    lengths: IntArray
    validator: Validator | None
    seed: int
    stop: Callable[[], bool]
    arithmetic: Arithmetic | None = None
    best: Best | None = None
    asking: Asking | None = None

    def row_tokens(self, step: int) -> list[int]:
        """Tokens of each row of a step."""
        return [int(self.lengths[list(row)].sum()) for row in self.plan.steps[step]]


def run_stage(model: VisionLanguageModel, run: StageRun, observer: Observer) -> float:
    """Train one stage to the end of its plan, from its newest state if it has one.

    Returns:
        Seconds trained, those before a resume included.

    Raises:
        RunError: a loss or a gradient that is not fit to learn from (named with its samples), memory that ran
            out, or a state that cannot be saved.
        Interrupted: ``run.stop()`` said so; the state is saved.
    """
    stage, plan, ranks = run.context.stage, run.plan, run.context.ranks
    optimizer = build_optimizer(model, stage)
    saver = Saver(run.folder / "state", model, optimizer, plan.digest, stage.keep, ranks)
    step, before = _resume(model, optimizer, run, observer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    # Before the first step nothing is kept: the validation at step 0 is made again.
    metrics = MetricsFile(run.folder / "metrics.jsonl", step or -1) if ranks.lead else NoMetrics()
    began = time.monotonic()

    def seconds() -> float:
        return before + time.monotonic() - began

    def told(row: dict[str, Any]) -> None:
        metrics.write(row)
        observer.on_validation(row)

    def measure() -> None:
        every = stage.validation.every if stage.validation else None
        due = step in (0, len(plan)) or (every is not None and step % every == 0)
        if run.validator is not None and due:
            with step_faults(run, max(step - 1, 0), "in the validation beside"):
                rows = run.validator(model, step)
            for row in rows:
                told(row)
            if run.best is not None and step:
                run.best.offer(step, rows[0]["loss"])
        if run.asking is not None and step and step % run.asking.every == 0:
            with step_faults(run, step - 1, "in the evaluation after"):
                told(run.asking(step))

    with closing(metrics), saver:
        if step == 0:
            saver.save(step, seconds())
            saver.wait()  # a save that fails must fail now and not after the work
            measure()
        while step < len(plan):
            with step_faults(run, step):
                saver.check()
                if ranks.any(run.stop()):
                    saver.save(step, seconds())
                    saver.wait()
                    done = f"step {step} of {len(plan)} in stage {stage.name!r}"
                    raise Interrupted(f"stopped after {done}; the state is saved")
                torch.manual_seed(zlib.crc32(f"{run.seed} {stage.name} {step}".encode()))
                rates = set_rates(optimizer, rate_factor(stage, step, len(plan)))
                optimizer.zero_grad(set_to_none=True)
                losses = _accumulate(model, run, step)
                norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, stage.clip_norm or math.inf)))
                check_step(losses["loss"], norm, run, step)
                optimizer.step()
                tiles, image_tokens = losses.pop("tiles"), losses.pop("image_tokens")
                if run.arithmetic is not None:
                    counted = run.arithmetic.step(plan, run.lengths, step, tiles, image_tokens)
                    losses["flops"] = counted
                row = {
                    "kind": "train",
                    "stage": stage.name,
                    "step": step + 1,
                    "steps": len(plan),
                    **losses,
                    "lr": rates,
                    "grad_norm": norm,
                    "tokens": plan.tokens[step],
                    "supervised": plan.supervised[step],
                    "seconds": round(seconds(), 3),
                    "memory": peak_memory(model.device),
                }
                step += 1
                metrics.write(row)
                observer.on_step(row)
                measure()
                if step < len(plan) and stage.checkpoint_every and step % stage.checkpoint_every == 0:
                    saver.save(step, seconds())
        saver.save(step, seconds())
    return seconds()


def _resume(
    model: VisionLanguageModel, optimizer: torch.optim.Optimizer, run: StageRun, observer: Observer
) -> tuple[int, float]:
    """Steps done and seconds trained in the newest state that can be read; nothing of both without one.

    Raises:
        UnreadableState: there are states, and none of them can be read.
    """
    found, ranks = list_states(run.folder / "state"), run.context.ranks
    ranks.wait()  # none is written before all have looked
    while found:
        state = found.pop()
        try:
            return state.step, load_state(state, model, optimizer, run.plan.digest, ranks)
        except UnreadableState as error:
            if not found:
                raise
            observer.on_damaged(error, found[-1].step)
    return 0, 0.0


def _accumulate(model: VisionLanguageModel, run: StageRun, step: int) -> dict[str, float]:
    """Gradients of one step; its losses as numbers, over all ranks."""
    context, stage = run.context, run.context.stage
    ranks, supervised = context.ranks, run.plan.supervised[step]
    parts = step_parts(run.plan, step, run.lengths, context)
    batches = [run.data.batch(part[ranks.rank]) if part[ranks.rank] else run.data.empty() for part in parts]
    table_VD, spread, grounded = word_table(model, stage), None, 0
    if stage.grounding is not None:
        everything = (
            batches if ranks.alone else [run.data.batch(rows) for part in parts for rows in part if rows]
        )
        spread = step_spread(everything, run.data, context, table_VD)
        grounded = sum(run.data.grounded(batch) for batch in everything)
    totals = zeros(stage.preference) if stage.preference is not None else {"loss": 0.0}
    if grounded:
        totals["grounding"] = 0.0
    for batch in batches:
        with autocast(stage, model.device):
            found = stage_losses(model, batch, run.data, context, spread, table_VD)
        if found.pairs is not None:
            loss, told = _preferred(found.pairs, run, step)
        else:
            loss, told = found.text / supervised, {"loss": float(found.text.detach()) / supervised}
        for name, value in told.items():
            totals[name] += value
        if found.grounding is not None and stage.grounding is not None:
            share = found.grounding * (run.data.grounded(batch) / grounded)
            loss = loss + stage.grounding.weight * share
            totals["grounding"] += float(share.detach())
        # Rows without a picture have no gradient where only the connector or the tower trains.
        if loss.requires_grad:
            torch.autograd.backward(loss)
    totals["images"] = sum(len(batch.images) for batch in batches)
    totals["tiles"] = sum(view.layout.tiles for batch in batches for view in run.data.views(batch))
    totals["image_tokens"] = sum(image.length for batch in batches for image in batch.images)
    return ranks.total(totals)


def _preferred(pairs: Pairs, run: StageRun, step: int) -> tuple[torch.Tensor, dict[str, float]]:
    """What a part's pairs of answers add to a step of a stage of kind prefer."""
    options, references = run.context.stage.preference, run.data.references
    assert options is not None
    assert references is not None, "the reference is computed before the first step"
    samples = run.plan.samples(step)
    return pairs.share(options, len(samples), references.chosen_tokens(samples))
