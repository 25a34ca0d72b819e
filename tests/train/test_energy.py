from __future__ import annotations

from pathlib import Path

import torch

from pumice.train.energy import Counter, Meter, machine_counters, metered, rapl


def domain(folder: Path, number: str, name: str, microjoules: int, bound: int = 10_000_000) -> Path:
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True)
    for file, text in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", bound)):
        (place / file).write_text(f"{text}\n")
    return place / "energy_uj"


def test_packages_and_memory_are_counted_past_their_bound(tmp_path: Path) -> None:
    package = domain(tmp_path, "0", "package-0", 9_000_000)
    domain(tmp_path, "0:0", "core", 5_000_000)
    memory = domain(tmp_path, "0:1", "dram", 1_000_000)
    with metered(rapl(tmp_path), every=60) as meter:
        package.write_text("500000")  # 9 J, 10 J and again from 0
        memory.write_text("3000000")
        meter.read()
        package.write_text("700000")
    assert meter.told() == {"joules": 3.7, "counters": ["package-0", "dram"]}


def test_what_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    assert rapl(tmp_path) == []
    package = domain(tmp_path, "0", "package-0", 1)
    broken = domain(tmp_path, "1", "package-1", 1)
    broken.write_text("")
    assert rapl(tmp_path) == []
    broken.write_text("1")
    with metered(rapl(tmp_path), every=60) as meter:
        package.unlink()
    assert meter.told() is None
    backwards = iter((5.0, 4.0))
    meter = Meter([Counter("GPU 0", lambda: next(backwards))])
    meter.read()
    meter.read()
    assert meter.told() is None
    with metered([]) as meter:
        pass
    assert meter.told() is None


def test_gpus_of_other_machines_are_not_told_from_here() -> None:
    assert machine_counters(torch.device("cuda"), 10_000) == []


def test_the_thread_reads_on_its_own() -> None:
    told: list[float] = []

    def read() -> float:
        told.append(1.0)
        return float(len(told))

    with metered([Counter("c", read)], every=0.001) as meter:
        while len(told) < 5:
            pass
    assert meter.told() == {"joules": float(len(told) - 1), "counters": ["c"]}
