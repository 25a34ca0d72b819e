from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import run_pumice


@pytest.mark.slow
def test_a_published_recipe_in_small_on_two_ranks(tmp_path: Path) -> None:
    """Both stages, the measurement, the page; then its model answers in a process of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def pumice(*words: str, launch: bool) -> str:
        command = [*(launcher if launch else [sys.executable]), "-m", "pumice", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = pumice("train", "llava-1.5-7b", "--small", launch=True)
    assert said.count("saved ") == 2, "the first rank alone speaks"
    run = tmp_path / "runs" / "llava-1.5-7b-small"
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert (record["status"], record["ranks"]) == ("finished", 2)
    assert (run / "report.html").is_file()
    image = next((tmp_path / "runs" / ".cache" / "world-small" / "images").glob("*.png"))
    pumice("chat", str(run / "model"), "--image", str(image), "What is this?", launch=False)


@pytest.mark.slow
def test_a_signal_to_torchrun_saves_on_all_ranks(tmp_path: Path) -> None:
    """As Slurm sends it when a job's time is over; then the run goes on."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "pumice", "train", "llava-1.5-7b", "--small", "--no-eval", "stages.instruct.steps=60"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    run = tmp_path / "runs" / "llava-1.5-7b-small"
    metrics = run / "stages" / "instruct" / "metrics.jsonl"
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(
            [*launcher, *words], cwd=tmp_path, env=environment, stdout=said, stderr=said
        )
        while process.poll() is None and not (
            metrics.exists() and '"step": 3,' in metrics.read_text("utf-8")
        ):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.terminate()
        assert process.wait(60) != 0
        said.seek(0)
        told = said.read()
    assert told.count("Stopping after this step") == 1, told[-3000:]
    assert json.loads((run / "run.json").read_text("utf-8"))["status"] == "interrupted"
    (state,) = (run / "stages" / "instruct" / "state").glob("step-*")
    assert int(state.name.removeprefix("step-")) >= 3
    done = subprocess.run(
        [*launcher, *words, "--resume"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [
        json.loads(line)["step"] for line in metrics.read_text("utf-8").splitlines() if '"train"' in line
    ]
    assert steps == list(range(1, 61))


def test_one_process_splits_nothing() -> None:
    result = run_pumice("train", "tiny", "--split", "2")
    assert result.code != 0
    assert "--split" in result.both


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tiny", "sed=7"], "there is no key 'sed'"),
        (["tiny", "--split", "3"], "2 ranks make no groups of 3"),
        (["llava-1.5-7b", "--small", "evaluation.questions=nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_the_first_rank_alone_tells_an_error_that_all_have(
    tmp_path: Path, words: list[str], said: str
) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [*launcher, "-m", "pumice", "train", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert told.count("error: ") == 1, told[-3000:]
    assert said in told
    assert "barrier" not in told
    assert "pumice/" not in told.partition("torch/distributed")[0].partition("Traceback")[2], told[-3000:]
