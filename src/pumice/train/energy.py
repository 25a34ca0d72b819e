"""Energy counters of the machine, read while a stage trains: RAPL of processors and memory, NVML of GPUs.

RAPL counts microjoules of a package (and of its memory) and starts again at a bound, which a large machine
reaches within minutes; so counters are read every few seconds, in a thread. NVML counts millijoules since the
driver was loaded. Both need the system's leave; where it gives none there is nothing to read, and nothing is
guessed.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
EVERY = 5.0
"""Seconds between two readings."""
_COUNTED = ("package", "dram")
"""Domains that do not lie in each other: of a package its cores are a part."""


@dataclass(slots=True)
class Counter:
    """One counter that only grows, but for starting again at ``bound``.

    Attributes:
        name: what it counts.
        read: gives joules; OSError where it cannot be read any more.
        bound: joules at which it starts again; 0 for never.
    """

    name: str
    read: Callable[[], float]
    bound: float = 0.0


@dataclass
class Meter:
    """Joules since it began, over all its counters; lost when one of them cannot be read."""

    counters: Sequence[Counter]
    joules: float = 0.0
    lost: bool = False
    _last: list[float] = field(default_factory=list)

    def read(self) -> None:
        """Add what was used since the last reading."""
        try:
            now = [counter.read() for counter in self.counters]
        except (OSError, ValueError):
            self.lost = True
            return
        for counter, before, after in zip(self.counters, self._last, now, strict=False):
            used = after - before
            self.joules += used if used >= 0 else used + counter.bound
            self.lost = self.lost or (used < 0 and not counter.bound)
        self._last = now

    def told(self) -> dict[str, Any] | None:
        """What the run's record keeps; None where nothing was measured, or a part of it was lost."""
        if not self.counters or self.lost:
            return None
        return {"joules": round(self.joules, 3), "counters": [counter.name for counter in self.counters]}


@contextmanager
def metered(counters: Sequence[Counter], every: float = EVERY) -> Iterator[Meter]:
    """A meter that reads until the block ends."""
    meter, done = Meter(counters), threading.Event()
    if not counters:
        yield meter
        return

    def watch() -> None:
        while not done.wait(every):
            meter.read()

    meter.read()
    thread = threading.Thread(target=watch, name="energy", daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        done.set()
        thread.join()
        meter.read()


def machine_counters(device: torch.device, gpus: int) -> list[Counter]:
    """The counters of this machine that a run's energy is in.

    Args:
        device: where the first rank computes.
        gpus: how many GPUs of this machine work, the first ones; with more than there are (several
            machines) nothing can be told from here.
    """
    if device.type != "cuda":
        return rapl()
    if gpus > torch.cuda.device_count():
        return []
    found = nvml(gpus)
    return [*found, *rapl()] if found else []


def rapl(folder: Path = POWERCAP) -> list[Counter]:
    """The counters of packages and memory; none where one of them cannot be read."""
    found = []
    for place in sorted(folder.glob("intel-rapl:*")):
        try:
            name = (place / "name").read_text(encoding="ascii").strip()
            if not name.startswith(_COUNTED):
                continue
            bound = float((place / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
            counter = Counter(name, _microjoules(place / "energy_uj"), bound)
            counter.read()
        except (OSError, ValueError):
            return []
        found.append(counter)
    return found


def _microjoules(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text(encoding="ascii")) / 1e6


def nvml(count: int) -> list[Counter]:
    """The counters of the first ``count`` GPUs that torch sees; none where NVML or one of them has none."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() == 0:
            found = [_gpu(library, index) for index in range(count)]
            return [counter for counter in found if counter is not None] if all(found) else []
    return []


def _gpu(library: Any, index: int) -> Counter | None:
    handle, joules = ctypes.c_void_p(), ctypes.c_ulonglong()
    uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}".encode()
    if library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)) != 0:
        return None

    def read() -> float:
        code = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(joules))
        if code != 0:
            raise OSError(f"NVML says {code}")
        return joules.value / 1000

    try:
        read()
    except OSError:
        return None
    return Counter(f"GPU {index}", read)
