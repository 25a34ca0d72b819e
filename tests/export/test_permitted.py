from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, RunError
from pumice.export.permitted import check_permitted, run_of
from pumice.lineage.record import write_lineage


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
    with pytest.raises(RunError, match="lies in no run and has no record"):
        check_permitted(tmp_path / "model", "commercial")
    old = make_run(tmp_path / "old", "", "licences: {purpose: commercial}\n")
    (tmp_path / "old" / "mixture.json").write_text('[{"source": "talk"}]')
    assert "counts no licences" in str(check_permitted(old))
    with pytest.raises(RunError, match="counts no licences"):
        check_permitted(old, "commercial")


def stage(run: str, said: str | None, policy: dict[str, Any] | None, **parents: Any) -> dict[str, Any]:
    """The record of a stage, as its weights carry it."""
    source: dict[str, Any] = {"source": "talk"}
    if said is not None:
        source["licences"] = [{"licence": said, "said": said, "rows": 2, "first": ["a.json, row 0"]}]
    return {
        "kind": "stage",
        "run": run,
        "stage": "instruct",
        "recipe": {"sha256": run},
        "policy": policy,
        "data": {"sources": [source]},
        "parents": {part: {"name": part, "lineage": one} for part, one in parents.items()},
    }


def put(folder: Path, record: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_lineage(folder, record)
    return folder


def test_a_copy_that_left_its_run_still_tells_what_its_rows_permit(tmp_path: Path) -> None:
    commercial = {"purpose": "commercial"}
    record = {"kind": "export", "parents": {"model": {"name": "m", "lineage": stage("a", "MIT", None)}}}
    assert check_permitted(put(tmp_path / "free", record), "commercial") is None
    record["parents"]["model"]["lineage"] = stage("a", "CC-BY-NC-4.0", None)  # type: ignore[index]
    copy = put(tmp_path / "copy", record)
    assert check_permitted(copy) is None, "nobody stated a policy"
    with pytest.raises(DataError, match=r"2 rows of talk: CC-BY-NC-4\.0 permits no commercial use"):
        check_permitted(copy, "commercial")
    record["parents"]["model"]["lineage"] = stage("a", "CC-BY-NC-4.0", commercial)  # type: ignore[index]
    with pytest.raises(DataError, match="purpose: commercial"):
        check_permitted(put(tmp_path / "stated", record))
    record["parents"]["model"]["lineage"] = stage("a", None, commercial)  # type: ignore[index]
    older = put(tmp_path / "older", record)
    assert "counts no licences" in str(check_permitted(older))
    with pytest.raises(RunError, match="counts no licences"):
        check_permitted(older, "commercial")


def test_rows_of_the_weights_that_a_run_began_with_count_as_its_own(tmp_path: Path) -> None:
    model = make_run(tmp_path / "run", "MIT", "licences: {purpose: commercial}\n")
    before = stage("before", "CC-BY-NC-4.0", {"allow": ["CC-BY-NC"]})
    put(model, stage("run", None, None, checkpoint=before))  # its own rows are told by the run's folder
    (tmp_path / "run/model").symlink_to(model)
    for place in (model, tmp_path / "run"):
        with pytest.raises(DataError, match=r"CC-BY-NC-4\.0 permits no commercial use"):
            check_permitted(place)
