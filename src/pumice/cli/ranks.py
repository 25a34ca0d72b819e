"""A verb under ``torchrun``: the first rank speaks, and makes what the others find made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from pumice.cli.console import out
from pumice.cli.group import exit_code
from pumice.errors import PumiceError, UsageError

if TYPE_CHECKING:
    from pumice.train.parallel import Ranks


def started() -> bool:
    """Whether ``torchrun`` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(split: int | None = None) -> Iterator[Ranks | None]:
    """The ranks of this verb, None for an ordinary process (which then imports no torch for it).

    Args:
        split: over how many of them weights are split; None: over those of a node.
    """
    if not started():
        if split is not None:
            raise UsageError(
                "one process has nothing to split its weights over",
                where="--split",
                remedy="leave it out, or start several: torchrun --nproc-per-node N -m pumice train ...",
            )
        yield None
        return
    from pumice.train.parallel import join_ranks, leave_ranks, said_by_lead, say_to_others

    try:
        ranks = join_ranks(split or 0)
    except PumiceError as error:  # of the command line alone, which all ranks share
        if os.environ.get("RANK", "0") != "0":
            raise typer.Exit(exit_code(error)) from None
        raise
    out.quiet = not ranks.lead
    try:
        yield ranks
    except Exception as error:
        if ranks.lead:
            say_to_others(str(error))
        elif _told(error, said_by_lead(SECONDS)):
            raise typer.Exit(exit_code(error)) from None
        raise
    leave_ranks()  # not after an error: others may wait, and torchrun ends them all


SECONDS = 5.0
"""How long a rank that fails waits for the first one's word on it."""


def _told(error: Exception, said: str | None) -> bool:
    """Whether the first rank told the error already: the same one, or what ends those that wait for it."""
    if said is None:
        return False
    return said == str(error) if isinstance(error, PumiceError) else isinstance(error, RuntimeError)


@contextmanager
def first_alone(ranks: Ranks | None) -> Iterator[None]:
    """The first rank goes in before the others: it makes files that they then find. Where it fails, they end
    without a word, since it has told why.

    Raises:
        typer.Exit: in the others, where the first rank failed.
    """
    if ranks is None:
        yield
        return
    if not ranks.lead and ranks.any(False):
        raise typer.Exit(1)
    try:
        yield
    except BaseException:
        if ranks.lead:
            ranks.any(True)
        raise
    if ranks.lead:
        ranks.any(False)
