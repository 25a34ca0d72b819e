"""What goes wrong within a step, told with the step, its samples and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from pumice.data.samples import images_at
from pumice.errors import RunError

if TYPE_CHECKING:
    from pumice.train.loop import StageRun

SHOWN = 8
"""Samples of a step that an error names."""

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")
"""What torch's allocators say where they have no error of their own class."""
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket Timeout", "NCCL")
"""What gloo and NCCL say when another rank is gone."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or in this process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def step_faults(run: StageRun, step: int, what: str = "") -> Iterator[None]:
    """Around the work of one step (counted from 0): memory that runs out, and ranks that are lost.

    ``what`` is said where it is not the step itself.

    Raises:
        RunError: either of both, with the step and what to do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        stage = run.context.stage
        at = f"{what or 'at'} step {step + 1} of stage {stage.name!r}"
        if out_of_memory(error):
            raise RunError(
                f"memory ran out {at} ({_first_line(error)})",
                where=_batch(run, step),
                remedy=_lighter(run, step),
            ) from error
        if not run.context.ranks.alone and any(words in str(error) for words in _LOST):
            raise RunError(
                f"another rank was lost {at} ({_first_line(error)})",
                where=f"rank {run.context.ranks.rank} of {run.context.ranks.world}",
                remedy="look at that rank's own error, then start torchrun again with --resume: "
                "the last good state is kept",
            ) from error
        raise


def check_step(loss: float, norm: float, run: StageRun, step: int) -> None:
    """RunError, with the step's samples, where its loss or gradient is not fit to learn from.

    Args:
        loss: of the step.
        norm: of its gradient, before it is clipped.
        run: the stage.
        step: counted from 0.
    """
    stage = run.context.stage
    at = f"at step {step + 1} of stage {stage.name!r}"
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RunError(
            f"the loss is {loss} and the gradient's norm {norm} {at}",
            where=_samples(run, step),
            remedy="look at these samples; a lower learning rate or clip_norm helps if they are fine",
        )
    if stage.stop_norm is not None and norm > stage.stop_norm:
        raise RunError(
            f"the gradient's norm is {norm:.4g}, above stop_norm ({stage.stop_norm:g}), {at}",
            where=_samples(run, step),
            remedy="look at these samples; a lower learning rate or a longer warmup helps if they are fine, "
            "or a higher stop_norm",
        )


def _samples(run: StageRun, step: int) -> str:
    names = [str(run.data.samples[i].origin) for i in run.plan.samples(step)]
    return "; ".join(names[:SHOWN]) + (f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _batch(run: StageRun, step: int) -> str:
    """The rows of a step, the longest of them and its pictures, in words."""
    tokens = run.row_tokens(step)
    pictures = sum(len(images_at(run.data.samples, i)) for i in run.plan.samples(step))
    parts, ranks = run.context.stage.accumulation, run.context.ranks.world
    split = [f"in {parts} parts"] * (parts > 1) + [f"over {ranks} ranks"] * (ranks > 1)
    rows = " ".join([f"{len(tokens):,} row{'s' * (len(tokens) != 1)}", *split])
    longest = f"the longest of {max(tokens):,} tokens"
    return f"{rows}, {longest}, {pictures:,} picture{'s' * (pictures != 1)}"


def _lighter(run: StageRun, step: int) -> str:
    """The changes of a recipe that save memory, the cheapest first; only those that are left."""
    stage = run.context.stage
    key = f"stages.{stage.name}"
    rows = stage.rows or len(run.plan.steps[step])
    more = next((n for n in range(stage.accumulation + 1, rows + 1) if rows % n == 0), None)
    changes = []
    if more is not None and more * run.context.ranks.world <= max(rows, more):
        changes.append(f"{key}.accumulation={more} (the same result)")
    if not stage.activation_checkpointing:
        changes.append(f"{key}.activation_checkpointing=true (the same result, more time)")
    if stage.row_length > 1:
        changes.append(f"a {key}.row_length below {stage.row_length}")
    if "language" in stage.parts and stage.lora is None:
        changes.append(f"{key}.lora={{}} (trains additions alone)")
    return f"start a run under another --name with {'; or '.join(changes)}"


def _first_line(error: BaseException) -> str:
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
