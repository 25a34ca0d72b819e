"""Training on data with bad rows: left out where the recipe lets them pass, listed in the run's folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError


@pytest.fixture
def damaged(data: Path, toy: Any, tmp_path: Path) -> Path:
    """The toy data with two bad rows among the conversations."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    rows = json.loads((folder / "instruct.json").read_text("utf-8"))
    rows[2]["conversations"][1]["value"] = ""
    rows[4]["conversations"][1]["value"] = "a b c d " * 200
    toy.write_rows(folder / "instruct.json", rows)
    return folder


def allowing(recipe: Any, count: int) -> Any:
    data = {name: source.model_copy(update={"allow_bad": count}) for name, source in recipe.data.items()}
    return recipe.model_copy(update={"data": data})


def test_bad_rows_that_may_be_are_left_out_and_listed(
    toy: Any, parts: Any, damaged: Path, tmp_path: Path
) -> None:
    recipe = toy.make_recipe(damaged)
    toy.run(allowing(recipe, 2), tmp_path / "run", parts)
    lines = (tmp_path / "run" / "refused.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [(row["stage"], row["source"], row["row"]) for row in found] == [
        ("instruct", "instruct", 2),
        ("instruct", "instruct", 4),
    ]
    assert all(row["reason"] and row["remedy"] for row in found)
    mixture = json.loads((tmp_path / "run" / "mixture.json").read_text("utf-8"))
    own = next(row for row in mixture if row["source"] == "instruct")
    assert (own["refused"], own["allow_bad"]) == (2, 2)
    assert own["samples"] == own["rows"] - 2
    # The same data without those rows is the same plan but for what it is a plan of.
    plan = json.loads((tmp_path / "run" / "stages" / "instruct" / "plan.json").read_text("utf-8"))
    assert max(index for step in plan["steps"] for line in step for index in line) < own["samples"]


@pytest.mark.parametrize("allowed", [0, 1])
def test_more_stop_the_run_before_it_begins(
    toy: Any, parts: Any, damaged: Path, tmp_path: Path, allowed: int
) -> None:
    with pytest.raises(DataError):
        toy.run(allowing(toy.make_recipe(damaged), allowed), tmp_path / "run", parts)
    assert not (tmp_path / "run").exists()


def test_a_run_without_bad_rows_has_no_list(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    toy.run(allowing(toy.make_recipe(data), 3), tmp_path / "run", parts)
    assert not (tmp_path / "run" / "refused.jsonl").exists()
