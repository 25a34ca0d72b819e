"""A ``map`` over other processes that Ctrl-C stops at once."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def runner(workers: int) -> Iterator[Any]:
    """A ``map`` that keeps order, in this process or in ``workers`` others.

    When the block ends early, what has not been started is never done.
    """
    if workers == 1:
        yield map
        return
    # Not fork: the process may have threads (a progress bar), whose locks a fork would copy as they are.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    try:
        yield executor.map
    finally:
        executor.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    # Ctrl-C reaches the whole group of processes; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
