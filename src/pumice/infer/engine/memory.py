"""How much memory is free."""

from __future__ import annotations

from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a new buffer may take on a device; None where nothing tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + kept
    if device.type != "cpu":
        return None
    found = [bytes_ for bytes_ in (_available(), _left_of_group()) if bytes_ is not None]
    return min(found, default=None)


def _available() -> int | None:
    """What Linux says is available; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    value = fields.get("MemAvailable")
    return None if value is None else int(value.split()[0]) * 1024


def _left_of_group() -> int | None:
    """What a container's limit leaves, files that are cached in memory not counted; None without a limit."""
    try:
        limit = (_CGROUP / "memory.max").read_text("ascii").strip()
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    return max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
