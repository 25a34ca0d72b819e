"""How fast one question is answered, beside transformers and llama.cpp: sides in turn, medians and ratios.

Every side is a process that stays (``pipe``). In each round every side answers a question about a new
picture, then the same question about the same picture again. How fast memory is read is measured in the same
rounds: no answer's words come faster than all weights are read once for each.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pumice.bench.llama import BLOCK_BYTES, read_bytes, write_gguf
from pumice.bench.material import Size
from pumice.bench.pipe import Answer, Side
from pumice.bench.weights import WEIGHTS
from pumice.errors import UsageError, suggest
from pumice.processes import sleep_early

Tell = Callable[[str, int, int], None]

PEERS = ("transformers float32", "transformers bfloat16", *(f"llama.cpp {kind}" for kind in BLOCK_BYTES))
OURS = tuple(f"pumice {weights}" for weights in WEIGHTS)
NAMES = (*OURS, *PEERS)
"""Sides: a program and its weights."""
DEFAULT = ("pumice bfloat16", *(name for name in OURS if "int" in name), *PEERS[1:])

BESIDE = {
    "pumice float32": "transformers float32",
    "pumice bfloat16": "transformers bfloat16",
    "pumice int8": "llama.cpp q8_0",
    "pumice int4": "llama.cpp q4_0",
}
"""Whose decoding each of ours is held against."""

FIRST_BESIDE = "transformers bfloat16"
"""Whose first token ours are held against, where it is measured."""

GOALS = {"pumice bfloat16": 2.0, "pumice int8": 1.0, "pumice int4": 1.0}
"""How many times as fast as the side beside it each of ours means to decode, at least."""
FIRST_GOAL, AGAIN_GOAL = 0.75, 0.15
"""The share of transformers' time to the first token that ours means to take, at most: a new picture, and the
same again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is measured.

    Attributes:
        tokens: of an answer.
        rounds: how often every side answers, in turn; one more before warms up.
        threads: of every side.
        megabytes: that are read to measure memory.
    """

    tokens: int = 32
    rounds: int = 3
    threads: int = 2
    megabytes: int = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One side: medians over the rounds.

    Attributes:
        side: of ``NAMES``.
        prompt: tokens of a prompt, its picture included.
        first: seconds from the question to the first token, with a new picture (llama.cpp: as many tokens
            without one).
        again: the same for the same picture and question; None where none is measured.
        rate: tokens a second behind the first.
        weight_bytes: that a token reads; None where they are not known.
        peak_bytes: the most memory of the process.
        skipped: why there are no numbers.
        limit: the share of the memory limit that ``rate`` reaches.
        first_ratio, again_ratio: of the time that ``FIRST_BESIDE`` takes with a new picture.
        rate_ratio: how many times as fast as the side of ``BESIDE``.
    """

    side: str
    prompt: int = 0
    first: float = 0.0
    again: float | None = None
    rate: float = 0.0
    weight_bytes: int | None = None
    peak_bytes: int = 0
    skipped: str | None = None
    limit: float | None = None
    first_ratio: float | None = None
    again_ratio: float | None = None
    rate_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """All sides, and how fast memory was read: bytes a second, the best of all rounds."""

    lines: tuple[Line, ...]
    bandwidth: float
    rounds: int


def check_names(names: Sequence[str]) -> None:
    """UsageError for a name that is none of ``NAMES``."""
    for name in names:
        if name not in NAMES:
            raise UsageError(f"there is no side {name!r}", where="--side", remedy=suggest(name, NAMES))


def bench_answers(folder: Path, size: Size, names: Sequence[str], settings: Settings, tell: Tell) -> Figures:
    """Measure.

    Args:
        folder: with ``model``, made by ``material.make_model``; files of llama.cpp are written beside it.
        size: the model's.
        names: sides.
        settings: sizes and rounds.
        tell: told of progress.

    Raises:
        UsageError: a side that is not known.
        RunError: a side failed; its last words are in the error.
    """
    check_names(names)
    missing = {name: why for name in names if (why := _missing(name)) is not None}
    measured = [name for name in names if name not in missing]
    took: dict[str, list[Answer]] = {name: [] for name in measured}
    reading = []
    total, done = (settings.rounds + 1) * len(measured), 0
    specs = {name: _spec(name, folder, size) for name in measured}
    extra = {name: known for name, (_, known) in specs.items()}
    with ExitStack() as stack:
        memory = _side("memory", {"kind": "memory", "megabytes": settings.megabytes}, settings)
        stack.push(memory)
        sides = {}
        for name, (spec, _) in specs.items():
            sides[name] = _side(name, spec, settings)
            stack.push(sides[name])
        # All processes import at the same time. They load one after another: memory has its limits.
        memory.open()
        for name, side in sides.items():
            tell(f"loading {name}", 0, total)
            side.open()
        prompt = 2 + (size.pixels // size.patch) ** 2 + 64
        for turn in range(settings.rounds + 1):
            reading.append(memory.ask({})["bandwidth"])
            for name, side in sides.items():
                tell(f"{name}, round {turn}" if turn else f"{name}, warming up", done, total)
                asked = {
                    "seed": turn,
                    "tokens": settings.tokens,
                    "vocabulary": size.vocabulary - 16,
                    "prompt": prompt,
                }
                took[name].append({**extra[name], **side.ask(asked)})
                done += 1
    tell("measured", total, total)
    lines = [_line(name, took[name][1:], max(reading)) for name in measured]
    compared = [_compared(line, lines) for line in lines]
    skipped = [Line(name, skipped=why) for name, why in missing.items()]
    return Figures((*compared, *skipped), max(reading), settings.rounds)


def _missing(name: str) -> str | None:
    needs = {"llama.cpp": ("llama_cpp", "gguf")}.get(name.split()[0], ())
    absent = [module for module in needs if find_spec(module) is None]
    packages = {"llama_cpp": "llama-cpp-python"}
    if not absent:
        return None
    return f"{' and '.join(packages.get(one, one) for one in absent)} not installed"


def _side(title: str, spec: dict[str, Any], settings: Settings) -> Side:
    """A process as its users start it: ours as the command does."""
    variables = dict(os.environ)
    if title.split()[0] == "pumice":
        sleep_early(variables)
    told = {**spec, "threads": settings.threads}
    return Side(title, "pumice.bench.first", told, spec["kind"], variables=variables)


def _spec(name: str, folder: Path, size: Size) -> tuple[dict[str, Any], dict[str, Any]]:
    """What opens a side, and what is known of it beforehand."""
    program, weights = name.split()
    if program != "llama.cpp":
        return {"kind": program, "model": str(folder / "model"), "weights": weights}, {}
    file = write_gguf(folder / f"{weights}.gguf", size, weights)
    return {"kind": program, "model": str(file)}, {"weight_bytes": read_bytes(file, size, weights)}


def _line(name: str, took: Sequence[Answer], bandwidth: float) -> Line:
    def median(key: str) -> float:
        return float(statistics.median(one[key] for one in took))

    line = Line(
        name,
        int(took[0]["prompt"]),
        median("first"),
        median("again") if "again" in took[0] else None,
        median("rate"),
        took[0].get("weight_bytes"),
        max(one["peak_bytes"] for one in took),
    )
    if line.weight_bytes is None:
        return line
    return replace(line, limit=line.rate * line.weight_bytes / bandwidth)


def _compared(line: Line, lines: Sequence[Line]) -> Line:
    others = {one.side: one for one in lines}
    if not line.side.startswith("pumice"):
        return line
    if FIRST_BESIDE in others:
        first = others[FIRST_BESIDE].first
        line = replace(line, first_ratio=line.first / first)
        if line.again is not None:
            line = replace(line, again_ratio=line.again / first)
    beside = BESIDE.get(line.side)
    if beside in others:
        line = replace(line, rate_ratio=line.rate / others[beside].rate)
    return line
