"""Erased rows and what is taken from a run that saw them: bit for bit what never had them would be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumice.data.index import open_table
from pumice.data.plan import Plan
from pumice.data.seen import Seen
from pumice.data.tombstones import add_tombstones
from pumice.errors import Interrupted, RunError
from pumice.train.checkpoint import list_states
from pumice.train.reuse import Reuse


def stages(toy: Any) -> list[dict[str, Any]]:
    """Rows so short that an epoch is many steps, and a row stands in a late one."""
    return [toy.align(), toy.instruct(row_length=48, rows_per_step=1, keep=9, checkpoint_every=1)]


def erase(data: Path, name: str, ids: list[str]) -> None:
    """As `pumice data erase` does it."""
    table = open_table(data / f"{name}.json", data, name)
    rows = [row for row, sample in enumerate(table) if sample.id in ids]
    assert len(rows) == len(ids)
    add_tombstones(data / f"{name}.json", [table.columns.digest[row].tobytes() for row in rows], erasure="e")


@pytest.fixture(scope="module")
def stopped(toy: Any, parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and a run on it that was stopped before the last step; read only."""
    place = tmp_path_factory.mktemp("reuse")
    toy.make_data(place / "data")
    metrics = place / "runs/old/stages/instruct/metrics.jsonl"
    with pytest.raises(Interrupted):
        toy.run(
            toy.make_recipe(place / "data", *stages(toy)),
            place / "runs/old",
            parts,
            stop=lambda: metrics.exists() and '"step": 5' in metrics.read_text("utf-8"),
        )
    return place


def test_a_run_without_the_rows_is_what_comes_of_the_finished_stages_and_new_steps(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    old = tmp_path / "runs" / "old"
    toy.run(toy.make_recipe(tmp_path / "data"), old, parts)
    rows = json.loads((tmp_path / "data/instruct.json").read_text("utf-8"))
    shutil.copytree(tmp_path / "data", tmp_path / "never")
    toy.write_rows(tmp_path / "never/instruct.json", [row for row in rows if row["id"] not in ("3", "t1")])
    toy.run(toy.make_recipe(tmp_path / "never"), tmp_path / "other" / "never", parts)

    erase(tmp_path / "data", "instruct", ["3", "t1"])
    with pytest.raises(RunError, match="other data"):
        toy.run(toy.make_recipe(tmp_path / "data"), old, parts, resume=True)
    watch = toy.Watch()
    new = tmp_path / "runs" / "new"
    toy.run(toy.make_recipe(tmp_path / "data"), new, parts, watch, reuse=Reuse(old))

    assert watch.skipped == ["align"], watch.notices
    assert {row["stage"] for row in watch.rows} == {"instruct"}
    for stage in ("align", "instruct"):
        made, wanted = new / f"stages/{stage}/model", tmp_path / f"other/never/stages/{stage}/model"
        assert toy.weights(made) == toy.weights(wanted)
        assert toy.metrics(new, stage) == toy.metrics(tmp_path / "other/never", stage)
    assert toy.weights(new / "stages/instruct/model") != toy.weights(old / "stages/instruct/model")
    mixture = {row["source"]: row["erased"] for row in json.loads((new / "mixture.json").read_text("utf-8"))}
    assert mixture == {"align": 0, "instruct": 2}
    record = json.loads((new / "run.json").read_text("utf-8"))
    assert [row.get("reused") for row in record["stages"]] == ["old", None]
    assert Seen.load(new / "stages/align/rows.npz").root == Seen.load(old / "stages/align/rows.npz").root


def test_a_picture_that_was_swapped_between_two_steps_is_refused(
    toy: Any, parts: Any, stopped: Path, tmp_path: Path
) -> None:
    """The plan knows texts alone; what steps saw of pictures is in the stage's own record."""
    place = shutil.copytree(stopped, tmp_path / "place")
    recipe = toy.make_recipe(stopped / "data", *stages(toy))
    pictures = sorted((stopped / "data").glob("*.png"))
    before = pictures[0].read_bytes()
    pictures[0].write_bytes(pictures[1].read_bytes())
    try:
        with pytest.raises(RunError, match="a picture is not the one that the stage began with"):
            toy.run(recipe, place / "runs/old", parts, resume=True)
    finally:
        pictures[0].write_bytes(before)
    toy.run(recipe, place / "runs/old", parts, resume=True)


def test_a_state_is_not_taken_where_the_stage_begins_with_other_weights(
    toy: Any, parts: Any, stopped: Path, tmp_path: Path
) -> None:
    """The states before the erased row are of a model of another first stage."""
    place = shutil.copytree(stopped, tmp_path / "place")
    old, data = place / "runs/old", place / "data"
    assert list_states(old / "stages/instruct/state")
    plan, seen = Plan.load(old / "stages/instruct/plan.json"), Seen.load(old / "stages/instruct/rows.npz")
    chats = json.loads((data / "instruct.json").read_text("utf-8"))
    erase(data, "instruct", [chats[seen.origin(plan.samples(3)[0])[1]]["id"]])
    align, instruct = stages(toy)
    watch = toy.Watch()
    with pytest.raises(Interrupted):
        toy.run(
            toy.make_recipe(data, {**align, "lr": {"connector": 0.02}}, instruct),
            place / "runs/new",
            parts,
            watch,
            reuse=Reuse(old, keep_plan=True),
            stop=lambda: any(row["stage"] == "instruct" for row in watch.rows),
        )
    assert not watch.resumed
    assert [row["step"] for row in watch.rows if row["stage"] == "instruct"] == [1]
    assert any("began with other weights" in text for text in watch.notices), watch.notices


def test_a_plan_with_holes_goes_on_from_the_last_state_before_the_first(
    toy: Any, parts: Any, stopped: Path
) -> None:
    old, data = stopped / "runs/old", stopped / "data"
    plan, seen = Plan.load(old / "stages/instruct/plan.json"), Seen.load(old / "stages/instruct/rows.npz")
    (sample,) = plan.samples(3)
    recipe = toy.make_recipe(data, *stages(toy))
    chats = json.loads((data / "instruct.json").read_text("utf-8"))
    erase(data, "instruct", [chats[seen.origin(sample)[1]]["id"]])

    watch, new = toy.Watch(), stopped / "runs/new"
    with pytest.raises(Interrupted):
        toy.run(
            recipe, new, parts, watch, reuse=Reuse(old, keep_plan=True), stop=lambda: len(watch.rows) == 2
        )
    assert watch.resumed, watch.notices
    assert (watch.resumed[0]["step"], [row["step"] for row in watch.rows]) == (3, [4, 5])
    shutil.rmtree(old / "stages/instruct/state")
    toy.run(recipe, new, parts, watch, resume=True)  # it needs the old run no more
    assert [row["step"] for row in watch.rows] == [4, 5, 6]

    again, start = toy.Watch(), stopped / "runs/start"
    toy.run(recipe, start, parts, again, reuse=Reuse(old, keep_plan=True))
    assert [row["step"] for row in again.rows] == [1, 2, 3, 4, 5, 6]
    assert toy.weights(new / "stages/instruct/model") == toy.weights(start / "stages/instruct/model")
    assert toy.metrics(new, "instruct") == toy.metrics(start, "instruct")
    holes = Plan.load(new / "stages/instruct/plan.json")
    assert [len(step) for step in holes.steps] == [len(step) - (k == 3) for k, step in enumerate(plan.steps)]
    empty = next(row for row in again.rows if row["step"] == 4)
    assert (empty["loss"], empty["tokens"], empty["grad_norm"]) == (0, 0, 0)
    assert list_states(new / "stages/instruct/state") == []


def test_rows_that_are_gone_and_not_erased_are_no_holes(toy: Any, parts: Any, stopped: Path) -> None:
    data = stopped / "data"
    kept = (data / "instruct.json").read_text("utf-8")
    toy.write_rows(data / "instruct.json", json.loads(kept)[:-1])
    recipe = toy.make_recipe(data, *stages(toy))
    with pytest.raises(RunError, match="are gone from"):
        toy.run(recipe, stopped / "runs/lost", parts, reuse=Reuse(stopped / "runs/old", keep_plan=True))
    assert not (stopped / "runs/lost").exists()
    (data / "instruct.json").write_text(kept, "utf-8")


def test_another_seed_or_model_takes_nothing(toy: Any, parts: Any, stopped: Path) -> None:
    watch = toy.Watch()
    recipe = toy.make_recipe(stopped / "data", toy.align(), seed=4)
    toy.run(recipe, stopped / "runs/seed", parts, watch, reuse=Reuse(stopped / "runs/old"))
    assert watch.skipped == []
    assert any("another model or seed" in text for text in watch.notices)
