"""What a resume says and keeps: where it goes on, which states it finds damaged, the sessions of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import Interrupted, RunError
from pumice.train.checkpoint import UnreadableState, list_states

from .test_run import same_run


@pytest.fixture(scope="module")
def stopped(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after step 5 of 6 of its second stage, with states of 4 and 5; read only."""
    folder: Path = tmp_path_factory.mktemp("stopped") / "run"
    metrics = folder / "stages/instruct/metrics.jsonl"
    with pytest.raises(Interrupted):
        toy.run(
            toy.make_recipe(data, toy.align(), toy.instruct(keep=2)),
            folder,
            parts,
            stop=lambda: metrics.exists() and '"step": 5' in metrics.read_text("utf-8"),
        )
    assert [state.step for state in list_states(folder / "stages/instruct/state")] == [4, 5]
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def damage(folder: Path, step: int) -> None:
    """Zeros where weights are; the file stays well formed."""
    (file,) = (folder / f"stages/instruct/state/step-{step:06d}").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-4000:] = bytes(4000)
    file.write_bytes(bytes(content))


@pytest.fixture
def resume(toy: Any, parts: Any, data: Path, folder: Path) -> Any:
    """Goes on with it; returns who watched."""

    def carry_out(**options: Any) -> Any:
        watch = toy.Watch()
        recipe = toy.make_recipe(data, toy.align(), toy.instruct(keep=2))
        toy.run(recipe, folder, parts, watch, resume=True, **options)
        return watch

    return carry_out


def test_a_resume_says_where_it_goes_on(toy: Any, folder: Path, whole: Any, resume: Any) -> None:
    watch = resume()
    assert watch.skipped == ["align"]
    (told,) = watch.resumed
    assert (told["stage"], told["step"], told["steps"], told["undone"]) == ("instruct", 5, 6, 0)
    assert [row["step"] for row in watch.rows] == [6]
    same_run(toy, folder, whole.folder)


def test_zeros_in_the_newest_state_are_noticed_and_the_one_before_serves(
    toy: Any, folder: Path, whole: Any, resume: Any
) -> None:
    damage(folder, 5)
    watch = resume()
    assert watch.damaged == [4]
    assert (watch.resumed[0]["step"], watch.resumed[0]["undone"]) == (4, 1)
    same_run(toy, folder, whole.folder)


@pytest.mark.parametrize("states", ["damaged", "gone"])
def test_where_no_state_is_left_nothing_is_cut_until_it_is_asked_for(
    toy: Any, folder: Path, whole: Any, resume: Any, states: str
) -> None:
    place = folder / "stages/instruct"
    if states == "gone":
        shutil.rmtree(place / "state")
    else:
        damage(folder, 4)
        damage(folder, 5)
    before = (place / "metrics.jsonl").read_bytes()
    with pytest.raises(UnreadableState if states == "damaged" else RunError) as caught:
        resume()
    said = str(caught.value)
    assert "5 steps of 6 were done" in said
    assert "--restart-stage" in said
    assert "the 5 steps are lost" in said
    assert (place / "metrics.jsonl").read_bytes() == before
    watch = resume(restart=True)
    assert watch.skipped == ["align"], "what was finished before stays"
    assert [row["step"] for row in watch.rows] == [1, 2, 3, 4, 5, 6]
    assert any("begins again, and 5 steps are lost" in text for text in watch.notices)
    assert (place / "metrics.lost-1.jsonl").read_bytes() == before
    same_run(toy, folder, whole.folder)


def test_restart_does_nothing_where_a_state_can_be_read(toy: Any, folder: Path, resume: Any) -> None:
    assert [row["step"] for row in resume(restart=True).rows] == [6]


def test_the_first_command_stays_and_each_start_is_a_session(
    toy: Any, parts: Any, data: Path, folder: Path
) -> None:
    from pumice.train.run import train

    recipe = toy.make_recipe(data, toy.align(), toy.instruct(keep=2))
    path = folder / "run.json"
    record = json.loads(path.read_text("utf-8"))
    # As a kill leaves it: it runs, and nothing says that it ended.
    record["status"] = "running"
    record["sessions"][0] |= {"how": "running", "ended": None, "ends": None}
    path.write_text(json.dumps(record), "utf-8")
    train(recipe, folder, parts, toy.Watch(), command="second", resume=True)
    record = json.loads(path.read_text("utf-8"))
    assert record["command"] == "test"
    first, second = record["sessions"]
    assert (first["how"], first["begins"], first["ends"]) == ("died", None, {"stage": "instruct", "step": 5})
    assert (second["how"], second["command"], second["begins"]) == ("finished", "second", first["ends"])
    assert second["ends"] == {"stage": "instruct", "step": 6}
    assert second["ended"] >= second["started"]
    for key in ("pumice", "revision", "torch", "python", "ranks", "process"):
        assert key in first, key


def test_a_record_of_an_earlier_version_gets_its_first_session(folder: Path, resume: Any) -> None:
    path = folder / "run.json"
    record = json.loads(path.read_text("utf-8"))
    del record["sessions"]
    path.write_text(json.dumps(record), "utf-8")
    resume()
    first, second = json.loads(path.read_text("utf-8"))["sessions"]
    assert (first["command"], first["how"], first["started"]) == ("test", "interrupted", record["created"])
    assert second["how"] == "finished"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", "{", "record cannot be read"),
        ("run.json", "[]", "record cannot be read"),
        ("run.json", '{"stages": [{}]}', "record cannot be read"),
        ("run.json", '{"stages": 3}', "record cannot be read"),
        ("recipe.yaml", None, "recipe cannot be read"),
        ("stages/instruct/metrics.jsonl", "{\n", "metrics is damaged"),
        ("stages/instruct/metrics.jsonl", "3\n", "metrics is damaged"),
        ("stages/instruct/plan.json", "{", "plan cannot be read"),
    ],
)
def test_a_damaged_file_of_the_run_is_named(
    folder: Path, resume: Any, name: str, content: str | None, said: str
) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, "utf-8")
    with pytest.raises(RunError, match=said) as caught:
        resume()
    assert name in str(caught.value)
    assert caught.value.remedy
