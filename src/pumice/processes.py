"""A ``map`` over other processes that Ctrl-C stops at once; whether a process is still there; its end; how
its threads wait."""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

SPINS = "2000"
"""How often a thread of OpenMP looks for work before it sleeps; some 50 microseconds (by default 5 ms)."""


def sleep_early(environment: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep soon behind a parallel operation, where nobody chose otherwise.

    Torch's wait on the very cores that the threads of our kernel want next: with a picture the first token
    took 13% longer. It has to be said before torch is loaded. GNU's OpenMP reads it, others ignore it.
    """
    if not environment.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        environment["GOMP_SPINCOUNT"] = SPINS


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


def own_process() -> dict[str, Any]:
    """Which process this is, so that another can tell later whether it is still there."""
    return {**_place(), "pid": os.getpid(), "began": _began(os.getpid())}


def still_there(process: Mapping[str, Any]) -> bool | None:
    """Whether a process that ``own_process`` described still runs.

    None where that cannot be seen from here: it is of another machine or container, or of before this
    machine's last start.
    """
    pid = process.get("pid")
    if not isinstance(pid, int) or pid <= 0 or any(process.get(k) != v for k, v in _place().items()):
        return None
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's, but there
    began = _began(pid)
    # A number is given again when its process is gone; the moment of its start tells them apart.
    return began is None or began == process.get("began")


def _place() -> dict[str, str | None]:
    """The machine since its last start, and the space of process numbers; Linux alone tells the last two."""
    return {
        "host": socket.gethostname(),
        "boot": _read(Path("/proc/sys/kernel/random/boot_id")),
        "numbers": _link(Path("/proc/self/ns/pid")),
    }


def _began(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine's start; 0 for one that ended and was not yet
    buried; None where that is not told (proc(5), stat)."""
    told = _read(Path(f"/proc/{pid}/stat"))
    if told is None:
        return None
    fields = told.rpartition(")")[2].split()  # behind the name, which may hold anything
    return 0 if fields[0] in "ZX" else int(fields[19])


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def end(code: int) -> NoReturn:
    """End this process, but do not take the interpreter down: for one that has threads still, or had a group.

    A thread that comes back from torch's code while the interpreter goes down cannot get the interpreter's
    lock any more: the process ends with SIGABRT ("terminate called without an active exception"), though all
    it had to do is done. A process group's own threads, too, let go of the last tensors when they come to it.

    Args:
        code: what the process ends with. What is registered for the exit is called before, and what was
            written reaches its files.
    """
    atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):  # whoever read it has gone
            stream.flush()
    os._exit(code)
