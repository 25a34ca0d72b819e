"""A ``map`` over other processes that Ctrl-C stops at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def runner(
    workers: int,
    prepare: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
    *,
    apart: bool = False,
) -> Iterator[Any]:
    """A ``map`` that keeps order, in this process or in ``workers`` others.

    When the block ends early, what has not been started is never done.

    Args:
        workers: how many processes; 1 is this one, unless ``apart``.
        prepare: called once in each process before its first piece of work.
        given: its arguments, which travel to each process once.
        apart: never in this process, whatever is done there must not touch.
    """
    if workers == 1 and not apart:
        if prepare is not None:
            prepare(*given)
        yield map
        return
    # Not fork: the process may have threads (a progress bar), whose locks a fork would copy as they are.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(prepare, given))
    try:
        yield executor.map
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(prepare: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole group of processes; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    if prepare is not None:
        prepare(*given)


def _follow() -> None:
    """End with the parent, however that ends: a process that was killed tells nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
