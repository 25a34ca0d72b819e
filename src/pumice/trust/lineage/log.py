"""What was erased, when, and what came of it: a file that only grows, each line with a digest of the others.

It holds digests and counts and no contents. The model card reads its counts.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.errors import RunError
from pumice.files import lock

LOG = "erasures.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The erasures that a folder of runs tells of, the oldest first.

    Raises:
        RunError: a line was changed, or is missing.
    """
    return _entries(folder / LOG)


def append(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Add an erasure; it is on disk when this returns.

    Args:
        folder: of the runs.
        entry: digests and counts.

    Raises:
        RunError: the log is damaged, or cannot be written.
    """
    path = folder / LOG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            lock(file, wait=True)
            lines = path.read_bytes()
            _entries(path)
            row = {**entry, "at": _now(), "before": hashlib.sha256(lines).hexdigest()}
            file.write((json.dumps(row) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"the log of erasures cannot be written ({error.strerror or error})",
            where=str(path),
            remedy="make the folder of the runs writable: an erasure without a record is none",
        ) from error
    return row


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    rows, sha = [], hashlib.sha256()
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            row = json.loads(line)
            if row["before"] != sha.hexdigest():
                raise ValueError("a line before it was changed or is missing")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"the log of erasures is damaged ({error})",
                where=f"{path}, line {number}",
                remedy="restore it from a copy; it only grows",
            ) from error
        rows.append(row)
        sha.update(line)
    return rows


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
