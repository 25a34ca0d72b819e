"""evaluate/results.py: files that somebody else may have written or mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.results import PREDICTIONS, RESULTS, read_predictions, read_results

from .results_made import gqa


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": []}, "tasks should be an object"),
        ({"tasks": {"gqa": {}}}, "these are missing: problem"),
        (
            {"tasks": {"gqa": {"state": "scored", "result": {}, "problem": "", "remedy": ""}}},
            "missing: asked",
        ),
        ({"model": {"kind": "ghost", "name": "x", "digest": ""}}, "kind should be local"),
        ({"model": "x"}, "model should be an object"),
        ({"format": 9}, "format 9"),
    ],
)
def test_results_that_are_none(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = gqa(tmp_path / "e", [True, False]) / RESULTS
    assert read_results(path.parent)["tasks"]["gqa"]["state"] == "scored"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=said) as caught:
        read_results(path.parent)
    assert RESULTS in str(caught.value.where)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": 5}, "id should be text"),
        ({"score": "1"}, "score should be a number"),
        ({"raw": None}, "raw should be text"),
        ({"images": [1]}, "lists of names"),
        ({"group": None}, "group should be text"),
        ({"groups": "all"}, "groups should be a list"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = gqa(tmp_path / "e", [True, False]) / "gqa" / PREDICTIONS
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{json.dumps(json.loads(second) | change)}\n")
    with pytest.raises(DataError, match=said) as caught:
        list(read_predictions(path.parent))
    assert str(caught.value.where).endswith("line 2")


def test_predictions_nested_beyond_reading(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS).write_text("[" * 100_000)
    with pytest.raises(DataError, match="not JSON"):
        list(read_predictions(tmp_path))
