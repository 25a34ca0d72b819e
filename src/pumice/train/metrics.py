"""The metrics file of a stage: one JSON object a line, appended as it trains."""

from __future__ import annotations

import ctypes
import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from pumice.errors import RunError
from pumice.files import write_text


def last_step(path: Path) -> int:
    """The last step that a metrics file tells of, as the run wrote it; 0 where there is none.

    Raises:
        RunError: a row is damaged.
    """
    rows = _rows(path)
    return rows[-1][1] if rows else 0


def _rows(path: Path) -> list[tuple[str, int]]:
    """The whole lines of a metrics file, with their steps; a kill may have cut the last one short.

    Raises:
        RunError: one of them is damaged.
    """
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").split("\n")[:-1], start=1):
        try:
            found.append((line + "\n", int(json.loads(line)["step"])))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"a row of the metrics is damaged ({type(error).__name__}: {error})",
                where=f"{path}, line {number}",
                remedy="remove that line, and resume: training does not read it, curves lack its numbers",
            ) from error
    return found


class NoMetrics:
    """What ranks but the first write into."""

    def write(self, row: dict[str, Any]) -> None:
        """Nothing: the first rank writes it."""

    def close(self) -> None:
        """Nothing."""


class MetricsFile:
    """``metrics.jsonl`` of one stage.

    Opened at ``step``, rows of later steps are dropped: they belong to work that a kill undid, and the
    resumed run writes them again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(line for line, done in _rows(path) if done <= step))
        self._handle = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; it is on disk when this returns."""
        self._handle.write(json.dumps(row) + "\n")
        self._handle.flush()

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def return_memory() -> None:
    """Give the system what was freed and is kept for what may come, where the C library can (glibc).

    Between two phases that need much at different times: what one leaves in small holes does not serve the
    other.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process held at most so far: what torch allocated on a GPU, else its resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Kilobytes on Linux, bytes on macOS (getrusage(2) of each).
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
