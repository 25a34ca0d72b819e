"""Licences of rows in a run: refused before the first step, counted in its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.recipes.schema import Licences


def test_rows_that_the_policy_forbids_stop_the_run_before_it_begins(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    recipe = toy.make_recipe(data).model_copy(update={"licences": Licences(purpose="research")})
    with pytest.raises(DataError, match="no known licence"):
        toy.run(recipe, tmp_path / "run", parts)
    assert not (tmp_path / "run").exists()


def test_the_record_counts_the_rows_of_each_licence(whole: Any) -> None:
    mixture = json.loads((whole.folder / "mixture.json").read_text("utf-8"))
    for row in mixture:
        (count,) = row["licences"]
        assert (count["licence"], count["rows"], count["samples"]) == ("unknown", row["used"], row["samples"])
        assert count["first"][0].endswith("row 0")
