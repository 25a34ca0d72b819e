"""The folder of features that runs share: how much it holds, what goes first, and what is in use.

    features/SPACE/*.safetensors    one folder for each tower and way of computing (``train.viewkeys``)
    features/SPACE/about.json       what that is, for people
    features/in-use/*.txt           files that a process reads, one a line; it holds a lock on its list
    features/lock                   held by whoever looks, writes or removes

A list without a lock is that of a process that ended. Where a file system knows no locks, a list counts for a
day. Whatever is removed can be made again, so nothing here decides a result.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pumice.files import PARTIAL, lock
from pumice.train.shards import SUFFIX

_IN_USE = "in-use"
_LOCK = "lock"
_STALE_PARTIAL = 3600.0
"""Seconds after which what a killed writer left may go."""
_UNLOCKED = 86400.0
"""Seconds for which a list counts that cannot be locked."""


class Storeroom:
    """A folder of features with a budget, as one process sees it.

    Args:
        root: the folder; made when something is written.
        budget: bytes that all files of features in it may take.
    """

    def __init__(self, root: Path, budget: int) -> None:
        self.root, self.budget = root, budget
        self._list: Path | None = None
        self._handle: int | None = None

    def used(self) -> int:
        """Bytes that features take now."""
        return sum(size for _, size, _ in self._files())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While nobody else looks, writes or removes; not locked where the file system cannot."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(handle, wait=True)
            yield
        finally:
            os.close(handle)  # which unlocks

    def write(self, size: int, put: Callable[[], Path]) -> Path | None:
        """Carry out ``put``, which writes a file of about ``size`` bytes, after making room for it.

        Returns:
            The file, which is in use now; None where it does not fit beside what others use.

        Raises:
            OSError: it cannot be written.
        """
        with self.locked():
            if not self._make_room(size):
                return None
            path = put()
            self._note([path])
            return path

    def use(self, paths: Iterable[Path]) -> None:
        """Say that these files are in use, and were just used; the caller holds ``locked``."""
        found = list(paths)
        self._note(found)
        for path in found:
            with contextlib.suppress(OSError):
                os.utime(path)

    def release(self) -> None:
        """Nothing is in use any more."""
        if self._list is not None:
            with contextlib.suppress(OSError):
                self._list.unlink(missing_ok=True)
        if self._handle is not None:
            os.close(self._handle)
        self._list = self._handle = None

    def _note(self, paths: list[Path]) -> None:
        """Put files on the own list; it is made and locked while the folder is, so nobody takes it for one
        that was left."""
        if not paths:
            return
        if self._handle is None:
            folder = self.root / _IN_USE
            folder.mkdir(exist_ok=True)
            self._in_use()  # removes what killed processes left
            self._list = folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}.txt"
            self._handle = os.open(self._list, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            lock(self._handle, wait=False)
        lines = "".join(f"{path.relative_to(self.root).as_posix()}\n" for path in paths)
        os.write(self._handle, lines.encode())

    def _make_room(self, size: int) -> bool:
        """Remove what was unused for longest and is in nobody's use, until ``size`` more bytes fit."""
        files = sorted(self._files())
        total = sum(found for _, found, _ in files) + size
        if total <= self.budget:
            return True
        used = self._in_use()
        free = [(found, path) for _, found, path in files if path not in used]
        if total - sum(found for found, _ in free) > self.budget:
            return False
        for found, path in free:
            if total <= self.budget:
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= found
        return total <= self.budget

    def _files(self) -> list[tuple[float, int, Path]]:
        """Every file of features: when it was used last, its bytes, and where it is."""
        found: list[tuple[float, int, Path]] = []
        for path in self.root.glob("*/*"):
            if path.name.endswith((SUFFIX, PARTIAL)):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    if path.name.endswith(PARTIAL) and time.time() - status.st_mtime > _STALE_PARTIAL:
                        path.unlink(missing_ok=True)
                    else:
                        found.append((status.st_mtime, status.st_size, path))
        return found

    def _in_use(self) -> set[Path]:
        """Files on the lists of processes that still run; other lists are removed."""
        used: set[Path] = set()
        for path in (self.root / _IN_USE).glob("*.txt"):
            with contextlib.suppress(OSError):
                if _left(path):
                    path.unlink(missing_ok=True)
                else:
                    used.update(self.root / line for line in path.read_text("utf-8").splitlines())
        # What is being written is somebody's, too.
        used.update(path for _, _, path in self._files() if path.name.endswith(PARTIAL))
        return used


def _left(path: Path) -> bool:
    """Whether the process whose list this is has ended."""
    handle = os.open(path, os.O_RDWR)
    try:
        free = lock(handle, wait=False)
        return time.time() - os.fstat(handle).st_mtime > _UNLOCKED if free is None else free
    finally:
        os.close(handle)
