from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, RunError
from pumice.export.permitted import check_permitted, run_of


def make_run(folder: Path, said: str, policy: str = "", **more: Any) -> Path:
    """A run's record, and a model in its place."""
    model = folder / "stages" / "instruct" / "model"
    model.mkdir(parents=True)
    count = {
        "licence": said,
        "said": said,
        "rows": 2,
        "samples": 2,
        "attributed": 0,
        "first": ["a.json, row 0"],
    }
    row = {"source": "talk", "licences": [count]} | more
    (folder / "run.json").write_text("{}")
    (folder / "recipe.yaml").write_text(f"name: a\n{policy}")
    (folder / "mixture.json").write_text(json.dumps([row]))
    return model


def test_a_model_of_forbidden_rows_is_not_shared(tmp_path: Path) -> None:
    model = make_run(tmp_path / "run", "CC-BY-NC-4.0", "licences: {purpose: commercial}\n")
    link = tmp_path / "run" / "model"
    link.symlink_to(model)
    for place in (model, link, tmp_path / "run"):
        assert run_of(place) == tmp_path / "run"
        with pytest.raises(DataError, match=r"CC-BY-NC-4\.0 permits no commercial use"):
            check_permitted(place)
    assert check_permitted(model, "research") is None


def test_what_the_export_serves_may_be_said_without_a_policy(tmp_path: Path) -> None:
    model = make_run(tmp_path / "run", "OpenAI terms")
    assert check_permitted(model) is None
    with pytest.raises(DataError, match="under conditions"):
        check_permitted(model, "commercial")
    allowed = make_run(tmp_path / "own", "OpenAI terms", "licences: {allow: [OpenAI-terms]}\n")
    assert check_permitted(allowed, "commercial") is None


def test_without_a_record_nothing_is_proven(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert check_permitted(tmp_path / "model") is None
    with pytest.raises(RunError, match="lies in no run"):
        check_permitted(tmp_path / "model", "commercial")
    old = make_run(tmp_path / "old", "", "licences: {purpose: commercial}\n")
    (tmp_path / "old" / "mixture.json").write_text('[{"source": "talk"}]')
    assert "counts no licences" in str(check_permitted(old))
    with pytest.raises(RunError, match="counts no licences"):
        check_permitted(old, "commercial")
