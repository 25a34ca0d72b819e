"""Seals of a state's files: whether they hold, to the last bit, what was written.

A file's seal is the SHA-256 of the SHA-256 digests of its blocks of 32 MiB, so that several threads can
compute it (hashing lets go of the interpreter). A file that is there, long and well formed may still be wrong
inside: a block that a disk lost reads as zeros, and zeros are weights like any others.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024**2
"""Bytes of a block."""
_PIECE = 1024**2
"""Bytes that are read at once; a digest does not depend on it."""
MOST_THREADS = 8


def seal_file(path: Path, threads: int = 1) -> str:
    """The seal of a file, 64 hexadecimal digits.

    Args:
        path: the file.
        threads: how many blocks are read and hashed at once.

    Raises:
        OSError: it cannot be read.
    """
    starts = range(0, path.stat().st_size, BLOCK)
    if threads == 1 or len(starts) < 2:
        digests = [_block(path, start) for start in starts]
    else:
        with ThreadPoolExecutor(min(threads, len(starts))) as pool:
            digests = list(pool.map(_block, [path] * len(starts), starts))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def seal_record(record: Mapping[str, Any]) -> str:
    """The seal of a record that is kept as JSON, whatever its key ``seal`` says."""
    rest = {key: value for key, value in record.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def broken(folder: Path, seals: Mapping[str, str], names: Sequence[str], threads: int) -> list[str]:
    """Those of some files of a folder that are not what their seals say.

    Raises:
        OSError: one cannot be read.
    """
    return [name for name in names if seal_file(folder / name, threads) != seals[name]]


def spare_threads(processes: int) -> int:
    """Threads for seals that everybody waits for, where so many processes compute theirs on this machine."""
    return max(1, min(MOST_THREADS, (os.cpu_count() or 1) // processes))


def _block(path: Path, start: int) -> bytes:
    sha, left = hashlib.sha256(), BLOCK
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (piece := file.read(min(left, _PIECE))):
            sha.update(piece)
            left -= len(piece)
    return sha.digest()
