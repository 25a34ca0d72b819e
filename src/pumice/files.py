"""Files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PARTIAL = ".partial"
"""Ends the name of a file that is being written; one that is left behind is of a killed process."""


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """The place where new content for ``path`` goes; it becomes ``path`` when the block ends well.

    Where the block fails, what it wrote is removed and ``path`` is as it was.

    Args:
        path: the file; its folder exists.
        shared: whether several processes may write this file at once, so that each needs a place of its
            own. Without it, the next writer takes the place that a killed one left.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}" if shared else path.name + PARTIAL)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write a text file in UTF-8, line ends as they are; it is on disk before it takes its name.

    Args:
        path: the file; its folder exists.
        text: its content.
        shared: whether several processes may write it at once.
    """
    with replacing(path, shared=shared) as partial, partial.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with an indent of 1 and a newline at its end, as ``write_text`` does."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def lock(handle: int | IO[bytes], *, wait: bool = False) -> bool | None:
    """Lock an open file until it is closed: False where another process holds it, None without locks.

    Args:
        handle: the file.
        wait: whether to wait until it is free.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True
