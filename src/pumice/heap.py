"""Memory that the C library gives out again, instead of asking the system for more (glibc alone).

torch asks glibc for tensors at multiples of 64 bytes. glibc takes up to 96 bytes more than asked, cuts them
off and keeps them for small objects; when the tensor is freed, the hole is that much too small for the next
tensor of its size. Beside 168 MB of activations the holes of an alignment took 230 MB. Two of its stores of
small pieces (``tcache`` and fast bins) are what keeps a hole from growing together again; without them an
alignment of ``pumice bench train`` needs 12% less memory, an instruction stage 14%. With both thresholds
fixed, memory that steps use again and again is not given back in between, and a step takes no longer.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

TUNABLES = "GLIBC_TUNABLES"
SETTINGS = {
    "glibc.malloc.tcache_count": 0,
    "glibc.malloc.mxfast": 0,
    # The largest that glibc takes: larger tensors come from the system and go back to it.
    "glibc.malloc.mmap_threshold": 32 << 20,
    "glibc.malloc.trim_threshold": 1 << 40,
}
OTHERS = ("LD_PRELOAD", "MALLOC_")
"""Variables by which somebody has chosen a heap or tuned it: then it stays theirs."""


def heap_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to a process's environment before it starts; nothing where it would not serve.

    Args:
        environment: of this process.
    """
    chosen = TUNABLES in environment or any(name.startswith(OTHERS) for name in environment)
    if chosen or not _glibc():
        return {}
    return {TUNABLES: ":".join(f"{name}={value}" for name, value in SETTINGS.items())}


def restart_with_heap() -> None:
    """Start this program again, in the same process, with ``heap_settings``: glibc reads them at its start
    alone. Returns where there is nothing to set, so also the second time."""
    settings = heap_settings(os.environ)
    if settings:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})


def _glibc() -> bool:
    if sys.platform != "linux":
        return False
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # another C library does not know the name
        return False


def give_back() -> None:
    """Give pages that nothing uses back to the system, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
