"""Runs that are killed again and again, and ranks that are lost: slow, because processes start anew."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pumice.recipes.load import dump_recipe
from pumice.train.checkpoint import list_states

from .test_run import same_run

KILLS = 20
MINUTE = 60


@pytest.mark.slow
def test_twenty_kills_change_nothing(toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path) -> None:
    """Each at a random step of what was left, in both stages; in most of them a state was being written."""
    draw = random.Random(20)
    stages = {"align": 3, "instruct": 6}
    folder, killed = tmp_path / "run", []
    for number in range(KILLS):
        fresh = not list_states(folder / "stages/instruct/state")
        # Half of the kills fall into the first stage; where it is done, all fall into the second.
        stage = "align" if number < KILLS // 2 else "instruct"
        saved = [state.step for state in list_states(folder / "stages" / stage / "state")]
        step = draw.randint(max(saved, default=0) + 1, stages[stage])
        killed.append((stage, step, fresh))
        words = [sys.executable, toy.__file__, folder, parts.vision.parent, data, stage, step]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        # A kill at the last step of a stage may leave the state before; never less than it began with.
        assert max((s.step for s in list_states(folder / "stages" / stage / "state")), default=0) >= max(
            saved, default=0
        )
    assert {stage for stage, _, _ in killed} == set(stages)
    toy.run(toy.make_recipe(data), folder, parts, resume=True)
    same_run(toy, folder, whole.folder)
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "finished"


@pytest.mark.slow
def test_a_lost_rank_ends_the_others_and_the_run_goes_on(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    stage = toy.instruct(rows_per_step=4, row_length=64, steps=8, checkpoint_every=1)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(toy.make_recipe(data, stage)), "utf-8")
    base = {"recipe": str(recipe), "parts": str(parts.vision.parent)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def launch(name: str, **more: Any) -> tuple[int, str, float]:
        spec = tmp_path / f"{name}.json"
        spec.write_text(json.dumps([{**base, **more}]), "utf-8")
        words = [*launcher, str(Path(__file__).with_name("ranks.py")), str(spec)]
        began = time.monotonic()
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=environment, timeout=300
        )
        return done.returncode, done.stderr, time.monotonic() - began

    for lost in (1, 0):
        folder = tmp_path / f"lost-{lost}"
        code, said, seconds = launch("lost", folder=str(folder), kill=[lost, 4])
        assert code != 0
        assert "SIGKILL" in said or "Signal 9" in said, said[-3000:]
        assert seconds < MINUTE
        # torchrun may end the first rank before that misses the other.
        if lost == 1 and "another rank was lost" in said:
            assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "failed"
        assert 3 <= max(state.step for state in list_states(folder / "stages/instruct/state")) <= 4
        code, said, _ = launch("again", folder=str(folder), resume=True)
        assert code == 0, said[-3000:]
        assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "finished"
    code, said, _ = launch("whole", folder=str(tmp_path / "whole"))
    assert code == 0, said[-3000:]
    for lost in (1, 0):
        assert toy.metrics(tmp_path / f"lost-{lost}", "instruct") == toy.metrics(
            tmp_path / "whole", "instruct"
        )
