"""Fixtures of tiny runs; ``parts.py`` makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from . import parts as makers


@pytest.fixture(scope="session")
def toy() -> Any:
    """The makers of pictures, parts and recipes."""
    return makers


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As the process that is killed has: sums must be taken in the same order in both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def parts(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Random parts; read only."""
    return toy.make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def data(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and their rows; read only."""
    folder: Path = toy.make_data(tmp_path_factory.mktemp("data"))
    toy.make_pairs(folder)  # about the same pictures
    return folder


@dataclass(frozen=True)
class Whole:
    """A run that nothing interrupted."""

    folder: Path
    model: Path
    watch: Any


@pytest.fixture(scope="session")
def whole(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The recipe of two stages, run to its end; read only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder, watch = tmp_path_factory.mktemp("runs") / "whole", toy.Watch()
    model = toy.run(toy.make_recipe(data), folder, parts, watch)
    torch.set_num_threads(before)
    return Whole(folder, model, watch)


Launch = Callable[[int, list[dict[str, Any]]], None]


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Carry out runs on so many ranks, all in one start of processes."""

    def carry_out(world: int, runs: list[dict[str, Any]]) -> None:
        spec = tmp_path_factory.mktemp("spec") / "runs.json"
        spec.write_text(json.dumps(runs), "utf-8")
        script = [str(Path(__file__).with_name("ranks.py")), str(spec)]
        command = [sys.executable, *script]
        if world > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
            command = [sys.executable, *launcher, *script]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=600
        )
        assert done.returncode == 0, done.stderr[-4000:]

    return carry_out
