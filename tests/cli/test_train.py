"""`pumice train`, from end to end and where it must refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pumice.cli.progress import describe_rows
from pumice.cli.stopping import Stopping


def test_a_run_ends_with_model_scores_page_and_next_commands(trained: Any) -> None:
    folder, said = trained.folder, trained.result.out
    assert (folder / "model" / "config.json").is_file()
    assert os.readlink(folder / "model") == str(Path("stages") / "instruct" / "model")
    scores = json.loads((folder / "eval" / "scores.json").read_text("utf-8"))
    assert list(scores["variants"]) == ["tuned", "blind", "wrong-image", "aligned"]
    assert scores["questions"] == 24
    assert (folder / "report.html").stat().st_size > 10_000
    assert "Exact match by question type" in said
    assert "POPE" in said
    assert "Some answers" in said
    assert f"pumice chat {folder / 'model'} --image" in said
    assert str(folder / "report.html") in said


def test_a_trial_takes_at_most_so_many_steps_of_each_stage(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two steps to align and one to instruct, none is added."""
    monkeypatch.chdir(tmp_path)
    words = ["train", recipe, "--data", world, "--no-eval", "--set", "stages.instruct.steps=1"]
    result = pumice(*words, "--steps", 2)
    assert result.code == 0, result.both
    assert "a trial of at most 2 steps a stage" in result.out
    (run,) = (tmp_path / "runs").glob("*-trial")
    for stage, most in (("align", 2), ("instruct", 1)):
        rows = (run / "stages" / stage / "metrics.jsonl").read_text("utf-8").splitlines()
        assert sum(json.loads(row)["kind"] == "train" for row in rows) == most
    assert "--steps 2" in json.loads((run / "run.json").read_text("utf-8"))["command"]


def test_each_stage_says_what_trains_before_it_starts(trained: Any) -> None:
    said = trained.result.out
    header, instruct = said.index("frozen"), said.index("instruct")
    assert header < said.index("step 1/2") < said.index("validation loss")
    assert said.index("step 1/2") < instruct < said.index("step 1/3")
    assert "supervised tok/s" in said
    assert "saved " in said


def test_each_stage_says_which_rows_it_uses(trained: Any, world: Path) -> None:
    rows = {
        name: len(json.loads((world / name).read_text("utf-8"))) for name in ("short.json", "short_val.json")
    }
    lines = trained.result.out.splitlines()
    assert f"  instruct: {rows['short.json']} rows" in lines
    assert rows["short_val.json"] == 1
    assert "  val: 1 row, to validate" in lines, "a limit of 4 leaves none out"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"rows": 4000, "kept": 4000, "samples": 4000}, "4,000 rows"),
        ({"rows": 4000, "kept": 3000, "samples": 3000}, "3,000 of 4,000 rows (limit)"),
        ({"rows": 9, "kept": 9, "samples": 18}, "9 rows, 18 samples an epoch (weight)"),
        ({"rows": 9, "kept": 4, "samples": 2}, "4 of 9 rows (limit), 2 samples an epoch (weight)"),
    ],
)
def test_rows_are_told_from_lost_ones(source: dict[str, int], said: str) -> None:
    assert describe_rows(source) == said


def test_the_record_holds_the_command(trained: Any, recipe: Path, world: Path) -> None:
    record = json.loads((trained.folder / "run.json").read_text("utf-8"))
    runs = trained.folder.parent
    assert record["command"] == f"pumice train {recipe} --data {world} --runs {runs}"
    assert record["status"] == "finished"


def test_an_existing_run_is_refused(pumice: Any, trained: Any, recipe: Path, world: Path) -> None:
    before = (trained.folder / "run.json").read_bytes()
    result = pumice("train", recipe, "--data", world, "--runs", trained.folder.parent)
    assert result.code == 1
    assert "the folder holds a run" in result.err
    assert "--resume" in result.err
    assert (trained.folder / "run.json").read_bytes() == before


def test_resuming_a_finished_run_answers_only_what_is_missing(
    pumice: Any, trained: Any, recipe: Path, world: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "short", symlinks=True)
    answers = tmp_path / "short" / "eval" / "predictions-tuned.jsonl"
    whole = answers.read_bytes()
    answers.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]))
    result = pumice("train", recipe, "--data", world, "--runs", tmp_path, "--resume")
    assert result.code == 0, result.both
    assert answers.read_bytes() == whole
    assert "step 1/" not in result.out


def test_another_seed_and_no_measurement(pumice: Any, recipe: Path, world: Path, tmp_path: Path) -> None:
    words = ["--runs", tmp_path, "--name", "other", "--seed", "9", "--no-eval"]
    result = pumice("train", recipe, "--data", world, *words, "--set", "stages.instruct.steps=1")
    assert result.code == 0, result.both
    record = json.loads((tmp_path / "other" / "run.json").read_text("utf-8"))
    assert record["seed"] == 9
    assert "--set seed=9" in record["command"]
    assert not (tmp_path / "other" / "eval").exists()
    assert "PICTURE" in result.out


def test_a_stop_saves_and_gives_the_command_that_goes_on(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.cli import watch

    told = watch.RunWatch.on_step

    def step(self: watch.RunWatch, row: dict[str, Any]) -> None:
        told(self, row)
        if row["stage"] == "instruct" and row["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(watch.RunWatch, "on_step", step)
        result = pumice("train", recipe, "--data", world, "--runs", tmp_path)
    again = f"pumice train {recipe} --data {world} --runs {tmp_path} --resume"
    assert result.code == 130
    assert "stopped after step 1 of 3 in stage 'instruct'" in result.err
    assert f"to do: go on with: {again}\n" in result.err
    done = pumice(*again.split()[1:])
    assert done.code == 0, done.both
    assert (tmp_path / "short" / "report.html").is_file()


def test_the_first_signal_waits_for_the_step_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stopping() as stopping:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not stopping.asked()
        stopping.wait_for_step = True
        signal.raise_signal(signal.SIGTERM)
        assert stopping.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tinny"], 1, "'tiny'"),
        (["tiny"], 1, "--data"),
        (["tiny", "--data", "nowhere"], 2, "pumice world make nowhere"),
        (["tiny", "--data", ".", "--name", "../up"], 2, "cannot name a run"),
        (["tiny", "--data", ".", "--set", "stages.align.stepps=3"], 1, "'steps'"),
        (["absent.yaml"], 1, "absent.yaml"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    pumice: Any, words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = pumice("train", *words)
    assert result.code == code
    assert said in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_question_file_is_found_before_training(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path
) -> None:
    words = ["--set", f"evaluation.questions={tmp_path / 'none.jsonl'}", "--runs", tmp_path / "runs"]
    result = pumice("train", recipe, "--data", world, *words)
    assert result.code == 1
    assert "none.jsonl" in result.err
    assert '{"question_id": 1, ' in result.err
    assert result.err.endswith("or train without measuring: --set evaluation=null\n")
    assert not (tmp_path / "runs").exists()
    resumed = pumice("train", recipe, "--data", world, *words, "--resume")
    assert resumed.err.endswith("or train without measuring: --no-eval\n"), "a resume keeps its recipe"


def test_without_questions_a_run_trains_when_told_to(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("align.json", "short.json", "images"):
        (tmp_path / "data" / name).symlink_to(world / name)
    held_out = json.loads((world / "short_val.json").read_text("utf-8")) * 3
    (tmp_path / "data" / "short_val.json").write_text(json.dumps(held_out), encoding="utf-8")
    words = [recipe, "--data", tmp_path / "data", "--runs", tmp_path / "runs"]
    words += ["--set", "data.align.limit=3", "--set", "stages.instruct.validation.limit=1"]
    refused = pumice("train", *words)
    assert refused.code == 1
    done = pumice("train", *words, *refused.err.split()[-2:])
    assert done.code == 0, done.both
    rows = len(json.loads((world / "align.json").read_text("utf-8")))
    assert f"  align: 3 of {rows} rows (limit)\n" in done.out
    assert f"  val: 1 of {len(held_out)} rows (limit), to validate\n" in done.out
    assert not (tmp_path / "runs" / "short" / "eval").exists()


def test_a_run_may_start_from_the_model_of_another(
    pumice: Any, trained: Any, recipe: Path, world: Path, tmp_path: Path
) -> None:
    model = trained.folder / "model"
    parts = ["--set", f"model.vision={model}", "--set", f"model.language={model}"]
    result = pumice("train", recipe, "--data", world, "--runs", tmp_path, "--no-eval", *parts)
    assert result.code == 0, result.both
    assert (tmp_path / "short" / "model" / "config.json").is_file()


def test_bad_rows_may_be_left_out_by_number(pumice: Any, recipe: Path, world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(world, folder)
    rows = json.loads((folder / "short.json").read_text("utf-8"))
    rows[1]["conversations"][1]["value"] = ""
    (folder / "short.json").write_text(json.dumps(rows), encoding="utf-8")
    words = ["train", recipe, "--data", folder, "--runs", tmp_path / "runs", "--no-eval"]
    refused = pumice(*words)
    assert refused.code == 1
    assert "short.json, row 1" in refused.err
    result = pumice(*words, "--allow-bad", 1)
    assert result.code == 0, result.both
    assert f"instruct: {len(rows) - 1} rows, 1 left out as bad (refused.jsonl)" in result.out
    run = tmp_path / "runs" / "short"
    [line] = (run / "refused.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["row"] == 1
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert record["command"].endswith("--allow-bad 1 --no-eval")
    assert "allow_bad: 1" in (run / "recipe.yaml").read_text("utf-8")


def test_a_stage_is_begun_again_only_where_a_run_goes_on(pumice: Any, recipe: Path, world: Path) -> None:
    result = pumice("train", recipe, "--data", world, "--restart-stage")
    assert result.code == 2
    assert "add --resume" in result.err
