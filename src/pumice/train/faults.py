"""What goes wrong within a step, told with the step, its samples and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pumice.errors import RunError

if TYPE_CHECKING:
    from pumice.train.loop import Training

SHOWN = 8
"""Samples of a step that an error names."""

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


def check_step(loss: float, norm: float, training: Training, step: int) -> None:
    """RunError, with the step's samples, where its loss or gradient is not fit to learn from.

    Args:
        loss: of the step.
        norm: of its gradient, before it is clipped.
        training: what the step is of.
        step: counted from 0.
    """
    terms = training.terms
    at = f"at step {step + 1} of stage {terms.name!r}"
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RunError(
            f"the loss is {loss} and the gradient's norm {norm} {at}",
            where=_samples(training, step),
            remedy="look at these samples; a lower learning rate or clip_norm helps if they are fine",
        )
    if terms.stop_norm is not None and norm > terms.stop_norm:
        raise RunError(
            f"the gradient's norm is {norm:.4g}, above stop_norm ({terms.stop_norm:g}), {at}",
            where=_samples(training, step),
            remedy="look at these samples; a lower learning rate or a longer warmup helps if they are fine, "
            "or a higher stop_norm",
        )


def _samples(training: Training, step: int) -> str:
    names = training.in_words(step).samples
    return "; ".join(names[:SHOWN]) + (f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _first_line(error: BaseException) -> str:
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
