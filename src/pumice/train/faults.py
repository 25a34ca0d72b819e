"""What goes wrong within a step, told with the step, its samples and what to change."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pumice.errors import RunError

if TYPE_CHECKING:
    from pumice.train.loop import Training

SHOWN = 8
"""Samples of a step that an error names."""

KEPT = 8
"""Steps before a fault that are looked at for its cause."""
TOLD = 4
"""Of these, steps that an error tells."""
STEEP = 0.1
"""Above this, a step of AdamW moves every weight by more than most weights are large."""
GREW, ROSE = 10.0, 1.5
"""How much a norm or a loss has grown over the steps before where it is steps and not samples that are at
fault."""

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")
"""What torch's allocators say where they have no error of their own class."""
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket Timeout", "NCCL")
"""What gloo and NCCL say when another rank is gone."""


@dataclass(frozen=True, slots=True)
class StepWords:
    """A step, for who has to look at it.

    Attributes:
        samples: each one's file and row, or whatever finds it.
        batch: how much they are together.
        lighter: what to change so that less memory is needed.
    """

    samples: list[str]
    batch: str
    lighter: str


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or in this process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def step_faults(training: Training, step: int, what: str = "") -> Iterator[None]:
    """Around the work of one step (counted from 0): memory that runs out, and ranks that are lost.

    ``what`` is said where it is not the step itself.

    Raises:
        RunError: either of both, with the step and what to do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        terms = training.terms
        at = f"{what or 'at'} step {step + 1} of stage {terms.name!r}"
        if out_of_memory(error):
            words = training.in_words(step)
            raise RunError(
                f"memory ran out {at} ({_first_line(error)})", where=words.batch, remedy=words.lighter
            ) from error
        if not terms.ranks.alone and any(said in str(error) for said in _LOST):
            raise RunError(
                f"another rank was lost {at} ({_first_line(error)})",
                where=f"rank {terms.ranks.rank} of {terms.ranks.world}",
                remedy="look at that rank's own error, then start torchrun again with --resume: "
                "the last good state is kept",
            ) from error
        raise


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step that was taken came to: its number from 1, loss, gradient's norm, and rates by part."""

    step: int
    loss: float
    norm: float
    rates: Mapping[str, float]


def check_step(
    loss: float,
    norm: float,
    training: Training,
    step: int,
    rates: Mapping[str, float],
    before: Sequence[Taken] = (),
) -> None:
    """RunError, with the step's samples, where its loss or gradient is not fit to learn from.

    Args:
        loss: of the step.
        norm: of its gradient, before it is clipped.
        training: what the step is of.
        step: counted from 0.
        rates: at which it would be taken, by part.
        before: the last steps that were taken, the newest last.
    """
    terms = training.terms
    at = f"at step {step + 1} of stage {terms.name!r}"
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss is {loss:.4g} and the gradient's norm {norm:.4g} {at}"
        other = "a lower learning rate or clip_norm helps if they are fine"
    elif terms.stop_norm is not None and norm > terms.stop_norm:
        what = f"the gradient's norm is {norm:.4g}, above stop_norm ({terms.stop_norm:g}), {at}"
        other = (
            "a lower learning rate or a longer warmup helps if they are fine, or a higher stop_norm where "
            "the norms before were near it"
        )
    else:
        return
    why = _rates_at_fault(rates, before)
    raise RunError(
        what + "".join(map(_told, before[-TOLD:])),
        where=_samples(training, step),
        remedy=f"{why}: lower the learning rate, or warm up longer; look at these samples after that"
        if why
        else f"look at these samples; {other}",
    )


def _told(taken: Taken) -> str:
    rates = ", ".join(f"{part} {rate:.3g}" for part, rate in taken.rates.items())
    return f"\n    step {taken.step}: loss {taken.loss:.4g}, norm {taken.norm:.4g}, lr {rates}"


def _rates_at_fault(rates: Mapping[str, float], before: Sequence[Taken]) -> str:
    """Why the learning rates are the likelier cause than a step's samples; empty where they are not."""
    told = [*rates.items(), *(item for one in before for item in one.rates.items())]
    part, most = max(told, key=lambda item: item[1], default=("", 0.0))
    if most > STEEP:
        return f"lr.{part} is up to {most:.4g}, far above what trains (rates are between 1e-6 and 1e-2)"
    if len(before) > 1:
        first, last = before[0], before[-1]
        if last.norm > GREW * first.norm:
            return f"the norm grew from {first.norm:.4g} to {last.norm:.4g} over the steps before"
        if last.loss > ROSE * first.loss:
            return f"the loss rose from {first.loss:.4g} to {last.loss:.4g} over the steps before"
    return ""


def _samples(training: Training, step: int) -> str:
    """A step's samples, one a line; files in this folder by their short names."""
    here = f"{Path.cwd()}{os.sep}"
    names = [name.removeprefix(here) for name in training.in_words(step).samples]
    shown = names[:SHOWN] + ([f"and {len(names) - SHOWN:,} more"] if len(names) > SHOWN else [])
    return shown[0] if len(shown) == 1 else "".join(f"\n    {name}" for name in shown)


def _first_line(error: BaseException) -> str:
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
