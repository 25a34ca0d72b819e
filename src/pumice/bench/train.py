"""Training speed beside transformers' Trainer: both sides in turn, medians and ratios.

Each measurement is a process of its own, so memory is one side's alone. The sides take turns round after
round, so a machine that is busy for a while is so for all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pumice.bench.material import StageName
from pumice.bench.worker import Spec
from pumice.errors import RunError, UsageError, suggest
from pumice.heap import heap_settings

SIDES = ("pumice", "padded", "grouped", "sorted")
"""Ours; Trainer with padded rows; grouped as LLaVA's own trainer; sorted by transformers' group_by_length."""

MEANINGS = {
    "pumice": "this program",
    "padded": "Trainer, rows padded",
    "grouped": "Trainer, grouped as LLaVA does",
    "sorted": "Trainer, group_by_length",
}

GOALS: dict[tuple[StageName, str], float] = {
    ("instruct", "padded"): 3.0,
    ("instruct", "grouped"): 1.7,
    ("align", "padded"): 2.5,
}
"""How many times as fast we mean to be, and at most half the memory of ``padded``."""

Tell = Callable[[str, int, int], None]
"""Told what is measured, how many measurements are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured; see ``worker.Spec``."""

    samples: int = 16
    micro: int = 8
    steps: int = 4
    rounds: int = 3
    precision: str = "bf16"
    row_length: int = 2048
    threads: int = 2
    seed: int = 1
    lora: bool = False
    checkpointing: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One side of one stage: medians over the rounds."""

    stage: StageName
    side: str
    supervised_rate: float
    token_rate: float
    peak_bytes: float
    fill: float
    rounds: int
    speedup: float | None = None
    memory_share: float | None = None


def bench_training(
    material: Path, stages: Sequence[StageName], sides: Sequence[str], settings: Settings, tell: Tell
) -> list[Line]:
    """Measure.

    Args:
        material: a folder with ``model`` and the data of ``material.make_data``.
        stages: which.
        sides: names of ``SIDES``; ``speedup`` and ``memory_share`` compare each with ours.
        settings: sizes and rounds.
        tell: told of progress.

    Raises:
        UsageError: a side that is not known.
        RunError: a side failed; its last words are in the error.
    """
    check_sides(sides)
    total, done = len(stages) * len(sides) * settings.rounds, 0
    found: dict[tuple[StageName, str], list[dict[str, Any]]] = {}
    for _ in range(settings.rounds):
        for stage in stages:
            for side in sides:
                tell(f"{stage}, {MEANINGS[side]}", done, total)
                found.setdefault((stage, side), []).append(measure(material, stage, side, settings))
                done += 1
    tell("measured", total, total)
    lines = [_line(stage, side, took) for (stage, side), took in found.items()]
    return [_compared(line, lines) for line in lines]


def check_sides(sides: Sequence[str]) -> None:
    """UsageError for a name that is none of ``SIDES``."""
    for side in sides:
        if side not in SIDES:
            raise UsageError(
                f"there is no side {side!r}", where="--side", remedy=suggest(side, SIDES, MEANINGS)
            )


def spec_of(material: Path, work: Path, stage: StageName, side: str, settings: Settings) -> Spec:
    """What a side of a stage does; ``work`` is a new folder for what it writes."""
    return Spec(
        side=side,
        stage=stage,
        folder=str(material.absolute()),
        work=str(work),
        samples=settings.samples,
        micro=settings.micro,
        steps=settings.steps,
        precision=settings.precision,
        seed=settings.seed,
        row_length=settings.row_length,
        threads=settings.threads,
        lora=settings.lora,
        checkpointing=settings.checkpointing,
        bare=settings.bare,
    )


def measure(material: Path, stage: StageName, side: str, settings: Settings) -> dict[str, Any]:
    """One measurement: the fields of ``worker.Took``."""
    with tempfile.TemporaryDirectory() as work:
        spec = spec_of(material, Path(work), stage, side, settings)
        file = Path(work) / "spec.json"
        file.write_text(json.dumps(asdict(spec)), "utf-8")
        command = [sys.executable, "-m", "pumice.bench.worker", str(file)]
        # As ``pumice train`` starts, and as any program that uses Trainer does.
        own = heap_settings(os.environ) if side == "pumice" else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own})
    if done.returncode:
        raise RunError(
            f"{MEANINGS[side]} failed: {done.stderr.strip()[-600:]}",
            where=f"{stage}, {side}",
            remedy="run it alone with --side to see all of it",
        )
    took: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return took


def _line(stage: StageName, side: str, took: Sequence[dict[str, Any]]) -> Line:
    def median(value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(value(one) for one in took)

    return Line(
        stage,
        side,
        median(lambda one: one["supervised"] / one["seconds"]),
        median(lambda one: one["tokens"] / one["seconds"]),
        median(lambda one: one["peak_bytes"]),
        median(lambda one: one["tokens"] / one["places"]),
        len(took),
    )


def _compared(line: Line, lines: Sequence[Line]) -> Line:
    """The same with how many times as fast, and with what share of its memory, ours is."""
    ours = next((one for one in lines if (one.stage, one.side) == (line.stage, "pumice")), None)
    if ours is None or line.side == "pumice":
        return line
    fields = asdict(line)
    fields["speedup"] = ours.supervised_rate / line.supervised_rate
    fields["memory_share"] = ours.peak_bytes / line.peak_bytes
    return Line(**fields)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far our losses and Trainer's are apart, in fp32, on the same samples step by step."""

    stage: StageName
    first: float
    worst: float
    steps: int


def compare_losses(material: Path, stage: StageName, settings: Settings) -> Agreement:
    """Relative difference of the first step's loss, and the largest of all steps.

    Raises:
        RunError: a side failed.
    """
    fields = {**asdict(settings), "precision": "fp32"}
    ours, theirs = (
        measure(material, stage, side, Settings(**fields))["losses"] for side in ("pumice", "padded")
    )
    assert len(ours) == len(theirs) == settings.steps, f"{len(ours)} and {len(theirs)} losses"
    apart = [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]
    return Agreement(stage, apart[0], max(apart), len(apart))
