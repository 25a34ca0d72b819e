"""The sessions of a run: each start of its command, how far it came and how it ended.

They stand in ``run.json`` under ``sessions``, oldest first. One that was killed could not say so: it is found
without an end when the run goes on, and gets the word ``died``.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

import pumice
from pumice.errors import RunError
from pumice.processes import own_process
from pumice.train.metrics import last_step
from pumice.train.revision import revision

Session = dict[str, Any]


def begin_session(folder: Path, command: str, ranks: int) -> Session:
    """The session that starts now: what it finds done, with what it runs, and which process it is."""
    return {
        "started": now(),
        "ended": None,
        "how": "running",
        "begins": reached(folder),
        "ends": None,
        "command": command,
        "ranks": ranks,
        **versions(),
        "process": own_process(),
    }


def end_session(session: Session, folder: Path, how: str) -> None:
    """Note that a session ended now, and how: ``finished``, ``interrupted`` or ``failed``."""
    session |= {"ended": now(), "how": how, "ends": reached(folder)}


def earlier_sessions(record: dict[str, Any], folder: Path) -> list[Session]:
    """The sessions of a record that is gone on with; one without an end died."""
    found: list[Session] = [dict(one) for one in record.get("sessions", [])]
    if record and not found:  # an earlier version of Pumice wrote it
        known = ("command", "ranks", "pumice", "torch", "transformers", "python", "machine", "threads")
        first = {key: record[key] for key in known if key in record}
        status = record.get("status", "unknown")
        found.append({"started": record.get("created"), "ended": None, "how": status, **first})
    if found and found[-1].get("ended") is None:
        how = found[-1].get("how")
        found[-1] |= {"how": "died" if how == "running" else how, "ends": reached(folder)}
    return found


def reached(folder: Path) -> dict[str, Any] | None:
    """The stage whose metrics were written last, and its last step; None before there are any."""
    files = sorted(folder.glob("stages/*/metrics.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in reversed(files):
        try:
            step = last_step(path)
        except RunError:
            continue  # whoever needs the file tells what is wrong with it
        if step:
            return {"stage": path.parent.name, "step": step}
    return None


def versions() -> dict[str, Any]:
    """What a session runs with."""
    return {
        "pumice": pumice.__version__,
        "revision": revision(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
        "threads": torch.get_num_threads(),
    }


def now() -> str:
    """This moment, as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
