"""Recipes that build on others: what is inherited, what is replaced, and what errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice.errors import RecipeError
from pumice.recipes import dump_recipe, load_recipe

BASE = """\
name: base
description: The base.
expected: 99%
model: {vision: parts/clip, language: parts/lm, template: v1}
data:
  captions: {file: "${data}/align.json"}
  talk: {file: talk.json, limit: 7}
stages:
  - {name: align, kind: align, sources: [captions], lr: {connector: 1e-3}, epochs: 1, rows_per_step: 4}
  - name: instruct
    kind: instruct
    sources: [talk]
    lr: {connector: 1e-4, language: 2e-5}
    epochs: 2
    rows_per_step: 8
small:
  data:
    captions: {limit: 10}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text(BASE)
    return tmp_path


def child(folder: Path, text: str) -> Path:
    path = folder / "child.yaml"
    path.write_text(text)
    return path


def test_a_recipe_says_only_what_differs(folder: Path) -> None:
    path = child(
        folder,
        "base: shared/base.yaml\nname: mine\ndata:\n  talk: {limit: 9}\n  more: {file: more.json}\n"
        "stages:\n  instruct: {sources: [talk, more], steps: 5, lr: {language: 1e-5}}\n",
    )
    recipe = load_recipe(path, variables={"data": folder / "world"})
    assert (recipe.name, recipe.description, recipe.expected) == ("mine", "", "")
    assert [stage.name for stage in recipe.stages] == ["align", "instruct"]
    instruct = recipe.stages[1]
    assert instruct.sources == ("talk", "more")
    assert (instruct.steps, instruct.epochs) == (5, None), "one of an exclusive pair replaces the other"
    assert (instruct.lr.connector, instruct.lr.language) == (1e-4, 1e-5)
    assert recipe.data["talk"].limit == 9
    # Each file's paths start at its own folder.
    assert recipe.data["talk"].file == str(folder / "shared" / "talk.json")
    assert recipe.data["more"].file == str(folder / "more.json")
    assert recipe.model.vision == str(folder / "shared" / "parts" / "clip")
    dumped = folder / "dumped.yaml"
    dumped.write_text(dump_recipe(recipe))
    assert load_recipe(dumped) == recipe


def test_a_list_of_stages_replaces_the_bases(folder: Path) -> None:
    path = child(
        folder,
        "base: shared/base.yaml\nname: mine\nstages:\n"
        "  - {name: one, kind: align, sources: [captions], lr: {connector: 1e-3}, epochs: 1,"
        " rows_per_step: 2}\n",
    )
    recipe = load_recipe(path, variables={"data": folder})
    assert [stage.name for stage in recipe.stages] == ["one"]


def test_small_blocks_add_up_the_bases_first(folder: Path) -> None:
    path = child(
        folder,
        "base: shared/base.yaml\nname: mine\n"
        "small:\n  data:\n    captions: {limit: 3}\n    talk: {limit: 2}\n",
    )
    small = load_recipe(path, small=True, variables={"data": folder})
    assert (small.data["captions"].limit, small.data["talk"].limit) == (3, 2)
    inherited = load_recipe(
        child(folder, "base: shared/base.yaml\nname: mine\n"), small=True, variables={"data": folder}
    )
    assert (inherited.data["captions"].limit, inherited.data["talk"].limit) == (10, 7)


def test_errors_name_the_file_that_wrote_it(folder: Path) -> None:
    path = child(folder, "base: shared/base.yaml\nname: mine\nstages:\n  instruct: {epochs: many}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert f"{path}, line 4" in str(caught.value)
    (folder / "shared" / "base.yaml").write_text(BASE.replace("limit: 7", "limit: many"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(child(folder, "base: shared/base.yaml\nname: mine\n"))
    assert f"{folder / 'shared' / 'base.yaml'}, line 7" in str(caught.value)
    with pytest.raises(RecipeError, match="no stage 'instruction'") as caught:
        load_recipe(
            child(folder, "base: shared/base.yaml\nname: mine\nstages:\n  instruction: {epochs: 1}\n")
        )
    assert "instruct" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: nobody\nname: mine\n", "no recipe 'nobody'"),
        ("base: 3\nname: mine\n", "base is the name or the path"),
        ("base: gone.yaml\nname: mine\n", "cannot be read"),
        ("base: child.yaml\nname: mine\n", "in a circle"),
    ],
)
def test_a_base_that_cannot_be(folder: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe(child(folder, text))


def test_the_recipe_needs_its_own_name(folder: Path) -> None:
    with pytest.raises(RecipeError, match="name"):
        load_recipe(child(folder, "base: shared/base.yaml\n"))
