"""A run of two stages on its own data, an export of it, and weights of which nothing is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ...train import parts as toy


@dataclass(frozen=True)
class Place:
    """A folder with ``data``, ``runs/old`` and ``exports/out``, and how commands are run in it."""

    folder: Path
    call: Callable[..., str]

    @property
    def run(self) -> Path:
        return self.folder / "runs/old"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands find; read only."""
    from pumice.export import export

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("lineage")
    data = toy.make_data(place / "data")
    stages = toy.align(), toy.instruct(row_length=48, rows_per_step=1)
    toy.run(toy.make_recipe(data, *stages), place / "runs/old", toy.make_parts(place / "parts"))
    (place / "runs/old/model").symlink_to("stages/instruct/model")
    export(place / "runs/old/model", place / "exports/out")
    torch.set_num_threads(before)
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy; records that name the first place name this one."""
    from pumice.cli import app

    folder = tmp_path / "place"
    shutil.copytree(made, folder, symlinks=True)
    recipe = folder / "runs/old/recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace(str(made), str(folder)), "utf-8")
    monkeypatch.chdir(folder)

    def call(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["data", *words])
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return " ".join(result.output.split())

    return Place(folder, call)


@pytest.fixture(scope="session")
def makers() -> Any:
    """Makers of tiny data, parts and recipes."""
    return toy
