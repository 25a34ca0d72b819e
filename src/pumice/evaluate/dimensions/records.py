"""What a run's folder tells of its training: sizes, data, arithmetic and time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import RunError, UsageError

RECORD, MIXTURE = "run.json", "mixture.json"
_CORES = re.compile(r"(\d+) CPU cores?")


@dataclass(frozen=True)
class Training:
    """What it took to train a model, all stages together.

    Attributes:
        name: of the run.
        folder: of the run.
        parameters: of the whole model.
        tokens: that were seen; ``supervised`` of them were learnt.
        flops: of all steps; 0 where the metrics do not tell.
        seconds: of training.
        devices: that many worked: GPUs, or cores of a CPU.
        device: ``GPU`` or ``core``.
        machine: as the run recorded it.
        caution: what of ``devices`` was not recorded; empty where all was.
    """

    name: str
    folder: Path
    parameters: int
    tokens: int
    supervised: int
    flops: float
    seconds: float
    devices: int
    device: str
    machine: str
    caution: str = ""

    @property
    def hours(self) -> float:
        """Of one device."""
        return self.seconds * self.devices / 3600


def read_training(folder: Path) -> Training:
    """The training of a finished run.

    Raises:
        UsageError: the folder is no run's.
        RunError: the run is not finished, or its files do not tell.
    """
    if not (folder / RECORD).is_file():
        raise UsageError(
            "the folder is no run: it holds no run.json",
            where=str(folder),
            remedy="give the folder of a run, such as runs/NAME",
        )
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        if record["status"] != "finished":
            raise RunError(
                f"the run is {record['status']}, not finished",
                where=str(folder),
                remedy="resume its training",
            )
        stages = record["stages"]
        last = stages[-1]
        sizes = [*last["trainable"].values(), *last["frozen"].values()]
        mixture = json.loads((folder / MIXTURE).read_text("utf-8"))
        steps = [row for stage in stages for row in _steps(folder / "stages" / stage["name"])]
        devices, device, caution = _devices(record)
        return Training(
            name=record["name"],
            folder=folder,
            parameters=sum(int(size) for size in sizes),
            tokens=sum(int(row.get("tokens", 0)) for row in steps) or _sum(mixture, "tokens"),
            supervised=sum(int(row.get("supervised", 0)) for row in steps)
            or _sum(mixture, "supervised_tokens"),
            flops=float(sum(row.get("flops", 0.0) for row in steps)),
            seconds=float(sum(stage["seconds"] for stage in stages)),
            devices=devices,
            device=device,
            machine=record["machine"],
            caution=caution,
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise RunError(
            f"the run's record does not tell of its training ({type(error).__name__}: {error})",
            where=str(folder),
            remedy="it may be of another version of this program",
        ) from error


def _devices(record: Mapping[str, Any]) -> tuple[int, str, str]:
    """How many of what worked, and what a reader must know of that number.

    On a CPU they are the threads that computed, of all ranks together and at most one a core. A machine may
    have many more cores than a run used.
    """
    machine, ranks = str(record["machine"]), int(record.get("ranks", 1))
    if "," in machine.split("CPU core")[-1]:
        return ranks, "GPU", ""
    found = _CORES.search(machine)
    cores = int(found[1]) if found else 1
    sessions = [one for one in record.get("sessions", []) if isinstance(one, dict)]
    used = {
        min(cores, int(one["threads"]) * int(one.get("ranks", 1)))
        for one in (*sessions, {"ranks": ranks, **record})
        if one.get("threads")
    }
    if not used:
        return cores, "core", f"the run did not record its threads: all {cores} cores of the machine count"
    if len(used) > 1:
        told = ", ".join(map(str, sorted(used)))
        return max(used), "core", f"its sessions used {told} cores: all of its time counts with the most"
    return used.pop(), "core", ""


def _sum(rows: list[Mapping[str, Any]], key: str) -> int:
    return sum(int(row[key]) for row in rows)


def _steps(stage: Path) -> list[dict[str, Any]]:
    return [row for row in _rows(stage) if row.get("kind") == "train"]


def _rows(stage: Path) -> list[dict[str, Any]]:
    """The metrics of a stage; a kill may have cut the last line short."""
    path = stage / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def curve(folder: Path) -> list[tuple[int, float]]:
    """Supervised tokens so far, all stages together, and the accuracy of questions on the way (0 to 1)."""
    record = json.loads((folder / RECORD).read_text("utf-8"))
    seen, found = 0, []
    for stage in record["stages"]:
        for row in _rows(folder / "stages" / stage["name"]):
            if row.get("kind") == "train":
                seen += int(row.get("supervised", 0))
            elif row.get("kind") == "evaluation" and "value" in row:
                found.append((seen, float(row["value"])))
    return found
