"""Stand-ins for published data: a few rows and pictures, under the names and in the places of real ones."""

from __future__ import annotations

import shutil
from pathlib import Path

from pumice.recipes import load_recipe
from pumice.world.small import small_world


def part_changes(name: str) -> list[str]:
    """Changes that put the small mode's tiny parts into a recipe, and nothing else of it."""
    model = load_recipe(name, small=True).model
    parts = {"vision": model.vision, "language": model.language, "checkpoint": model.checkpoint}
    return [f"model.{key}={part}" for key, part in parts.items() if part is not None]


def stand_in(folder: Path, name: str, world: Path) -> None:
    """Lay out below ``folder`` what a recipe reads from ``${data}``, with the rows of its small mode."""
    small_world(world)
    few = load_recipe(name, small=True, variables={"world": world})
    for key, source in load_recipe(name, variables={"data": folder}).data.items():
        Path(source.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(few.data[key].file, source.file)
        assert source.images is not None
        for kind in ("images", "wide", "videos"):
            shutil.copytree(world / kind, Path(source.images) / kind, dirs_exist_ok=True)
