"""docs/recipes.md: its commands run in order, in small; its tables are those of the recipes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pumice.model.random_parts import CHECKPOINTS, LANGUAGE, VISION, random_part
from pumice.recipes import load_recipe, recipe_names
from pumice.world.embedded import names
from pumice.world.small import small_world

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
PUBLISHED = [name for name in recipe_names() if not name.startswith("tiny")]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines()]


def table(head: str) -> list[list[str]]:
    """The rows of the first table under a heading, cell by cell."""
    lines = PAGE.split(f"\n## {head}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


def in_small(words: list[str], parts: list[str]) -> list[str]:
    """The same command on tiny parts; those of the small mode stay as they are."""
    full = words[1] == "train" and "--small" not in words
    own = any(word.startswith("model.vision=") for word in words)
    return [*words, *parts] if full and not own else words


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the page takes for given, tiny."""
    data = helper()
    place = tmp_path_factory.mktemp("docs")
    world = small_world(place / "world")
    data.stand_in(place / "playground" / "data", "llava-1.5-7b", world)
    for name, part in (("clip-vit-large-patch14-336", "clip"), ("vicuna-7b-v1.5", "llama")):
        shutil.copytree(random_part(part, place / "parts"), place / name)
    (place / "mine.yaml").write_text(next(block for block in blocks("yaml") if "base:" in block))
    rows = json.loads((world / "mix.json").read_text("utf-8"))[:12]
    (place / "mine").mkdir()
    (place / "mine" / "train.json").write_text(json.dumps(rows), "utf-8")
    shutil.copytree(world / "images", place / "mine" / "images" / "images")
    return place


def helper() -> Any:
    """``tests/cli/published_data.py``, by its path."""
    name = "pumice_test_published_data"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "cli" / "published_data.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.mark.slow
def test_every_command_runs(place: Path) -> None:
    from pumice.cli import app

    assert len(commands()) >= 15
    parts = helper().part_changes("llava-1.5-7b")
    before = Path.cwd()
    os.chdir(place)
    try:
        for line in commands():
            words = shlex.split(line)
            assert words[0] == "pumice", line
            result = CliRunner().invoke(app, in_small(words, parts)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.stderr}\n{result.exception!r}"
            assert result.stdout.strip(), line
    finally:
        os.chdir(before)


def test_every_recipe_is_in_the_tables() -> None:
    for name in recipe_names():
        assert f"`{name}`" in PAGE, name
    first = PAGE.split("\n## Which one\n")[1].split("\n## ")[0]
    assert all(f"`{name}`" in first for name in recipe_names())


@pytest.mark.parametrize("name", PUBLISHED)
def test_scores_hardware_and_places_of_data_are_those_of_the_recipe(name: str) -> None:
    recipe = load_recipe(name)
    row = next(row for row in table("What they reached") if f"`{name}`" in row[0])
    assert set(re.findall(r"\d+\.\d+", recipe.expected)) == set(re.findall(r"\d+\.\d+", row[3]))
    assert [word.split()[0] for word in re.findall(r"[A-Za-z][\w-]+ \d", recipe.expected)] == [
        word.split()[0] for word in re.findall(r"[A-Za-z][\w-]+ \d", row[3])
    ]
    published = set(re.findall(r"\d+(?:\.\d+)?", recipe.time))
    assert published == set(re.findall(r"\d+(?:\.\d+)?", row[2]))
    places = " ".join(cell for row in table("Data") for cell in row)
    for source in recipe.data.values():
        for path in source.file.removeprefix("${data}/").split("/"):
            assert path in places, path


def test_parts_by_name_are_those_there_are() -> None:
    said = {row[0].strip("`"): row[1] for row in table("Parts")}
    for part in (*VISION, *LANGUAGE, *CHECKPOINTS):
        assert f"`{part}`" in said["random:NAME"]
    for name in names():
        assert f"`{name.removeprefix('embedded:')}`" in said["embedded:NAME"]


def test_settings_are_those_of_the_recipes() -> None:
    rows, name = [], ""
    text = PAGE.split("Their settings.")[1].split("\n## ")[0]
    for line in text.splitlines():
        if line.startswith("| `") or line.startswith("| |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            name = cells[0] or name
            rows.append([name, *cells[1:]])
    for recipe, stage_name, rates, samples, epochs, tokens in rows:
        shipped = recipe.split(",")[0].strip("`").replace("*", "7b")
        stage = load_recipe(shipped).stage(stage_name)
        given = {float(rate) for rate in re.findall(r"\de-\d", rates)}
        assert given == {rate for rate in stage.lr.model_dump().values() if rate is not None}, line
        assert (stage.samples_per_step, stage.epochs) == (int(samples), int(epochs)), recipe
        assert stage.row_length == int(tokens.replace(",", "")), recipe


def test_files_of_the_small_world_are_those_there_are(place: Path) -> None:
    for name, _ in table("The small mode"):
        assert (place / "world" / name.strip("`")).is_file(), name


def test_links_lead_somewhere() -> None:
    heads = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)) <= heads
    for link in re.findall(r"\]\(([\w./]+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).is_file(), link
