"""The benchmarks that a model can be asked, in the order of ``pumice.score.TASKS``, and their options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.errors import UsageError, suggest
from pumice.evaluate.samples import Benchmark
from pumice.evaluate.tasks import (
    ai2d,
    chartqa,
    docvqa,
    gqa,
    judged,
    medical,
    mmbench,
    mme,
    mmmu,
    mmstar,
    pope,
    scienceqa,
    seed,
    textvqa,
    vqa,
)

_ALL: tuple[Benchmark, ...] = (
    vqa.VQAV2,
    gqa.GQA,
    vqa.VIZWIZ,
    scienceqa.SCIENCEQA,
    textvqa.TEXTVQA,
    pope.POPE,
    mme.MME,
    mmbench.MMBENCH,
    mmbench.MMBENCH_CN,
    seed.SEED,
    judged.LLAVA_BENCH,
    judged.MM_VET,
    mmmu.MMMU,
    mmstar.MMSTAR,
    chartqa.CHARTQA,
    docvqa.DOCVQA,
    ai2d.AI2D,
    medical.VQA_RAD,
    medical.SLAKE,
    medical.PATHVQA,
)
TASKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}

ALIASES: dict[str, tuple[str, ...]] = {
    "mme": ("MME",),
    "mmbench-cn": ("mmbench_cn",),
    "seed": ("seed_bench",),
    "llava-bench": ("llava-bench-in-the-wild",),
    "mm-vet": ("mmvet",),
}
"""Folders of LLaVA's own evaluation that have another name than their task."""


def benchmark_of(name: str) -> Benchmark:
    """A benchmark by its name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in TASKS:
        raise UsageError(f"there is no task {name!r}", where="--tasks", remedy=suggest(name, TASKS))
    return TASKS[name]


def folder_of(data: Path, name: str) -> Path:
    """Where a task's files lie: ``DATA/NAME``, or the folder that LLaVA's own evaluation has for it."""
    places = [data / folder for folder in (name, *ALIASES.get(name, ()))]
    return next((place for place in places if place.is_dir()), places[0])


def choices_of(benchmark: Benchmark, given: Mapping[str, str]) -> dict[str, str]:
    """The options of a benchmark: what is given, the first value for the others.

    Args:
        benchmark: whose options they are.
        given: value by name, without the task's name before it.

    Raises:
        UsageError: it has no such option, or the option no such value; the nearest is named.
    """
    known = {choice.name: choice for choice in benchmark.choices}
    for name, value in given.items():
        where = f"--set {benchmark.name}.{name}={value}"
        if name not in known:
            remedy = suggest(name, known) if known else f"{benchmark.name} has no options"
            raise UsageError(f"{benchmark.name} has no option {name!r}", where=where, remedy=remedy)
        if value not in known[name].values:
            remedy = suggest(value, known[name].values)
            raise UsageError(f"{name} of {benchmark.name} is never {value!r}", where=where, remedy=remedy)
    return {name: given.get(name, choice.values[0]) for name, choice in known.items()}


__all__ = ["ALIASES", "TASKS", "benchmark_of", "choices_of", "folder_of"]
