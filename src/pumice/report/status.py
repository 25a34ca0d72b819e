"""What has become of a run that calls itself running: a process that was killed could not say so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pumice.processes import still_there

SILENT_SECONDS = 900.0
"""Without news for so long, a run whose process cannot be seen is not called running any more."""
_WRITTEN = ("run.json", "stages/*/metrics.jsonl", "eval/*")
"""What a run writes as it goes."""


def status_of(folder: Path, info: Mapping[str, Any]) -> tuple[str, str | None]:
    """A run's status in a word, and what must be said with it.

    ``died`` is a run whose process is gone, on this machine; ``silent`` one whose process cannot be seen from
    here and that wrote nothing for a quarter of an hour. Everything else is as ``run.json`` has it.
    """
    status = str(info.get("status") or "unknown")
    if status != "running":
        return status, None
    sessions = info.get("sessions")
    session = sessions[-1] if isinstance(sessions, list) and sessions else {}
    process = session.get("process") if isinstance(session, dict) else None
    there = still_there(process) if isinstance(process, dict) else None
    if there:
        return status, None
    news = _news(folder)
    if there is False:
        return "died", f"its process ended without a word, after {_when(news)}; go on with --resume"
    if time.time() - news <= SILENT_SECONDS:
        return status, None
    host = process.get("host") if isinstance(process, dict) else None
    seen = f"; its process was on {host} and cannot be seen from here" if host else ""
    return "silent", f"no news since {_when(news)}{seen}"


def _news(folder: Path) -> float:
    """When a run wrote something last, in seconds since 1970."""
    found = [path for pattern in _WRITTEN for path in folder.glob(pattern)]
    return max(path.stat().st_mtime for path in found)


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
