"""A verb under ``torchrun``: the first rank speaks, and makes what the others find made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pumice.cli.console import out
from pumice.errors import UsageError

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
    from pumice.train.parallel import join_ranks, leave_ranks

    ranks = join_ranks(split or 0)
    out.quiet = not ranks.lead
    yield ranks
    leave_ranks()  # not after an error: others may wait, and torchrun ends them all


@contextmanager
def first_alone(ranks: Ranks | None) -> Iterator[None]:
    """The first rank goes in before the others: it makes files that they then find."""
    if ranks is not None and not ranks.lead:
        ranks.wait()
    yield
    if ranks is not None and ranks.lead:
        ranks.wait()
