"""States that are written while steps go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.errors import RunError
from pumice.train import checkpoint
from pumice.train.checkpoint import list_states, load_state
from pumice.train.optim import build_optimizer, trainable
from pumice.train.parallel import ALONE
from pumice.train.saving import Saver

from .test_run import same_run


class Slow:
    """A disk that holds back every write but the first until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int = 1) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.count, self.most, self.now = 0, 0, 0
        write = checkpoint.save_file

        def save_file(tensors: Any, path: Path) -> None:
            self.count += 1
            self.now += 1
            self.most = max(self.most, self.now)
            if self.count > free:
                self.begun.set()
                assert self.go.wait(60)
            write(tensors, path)
            self.now -= 1

        monkeypatch.setattr(checkpoint, "save_file", save_file)


def test_steps_go_on_while_a_state_is_written(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of step 2 is on its way until step 4 is done; then it holds what step 2 left."""
    recipe = toy.make_recipe(data, toy.instruct(steps=5, keep=9))
    toy.run(recipe, tmp_path / "whole", parts)
    slow = Slow(monkeypatch)
    states = tmp_path / "run/stages/instruct/state"
    seen: dict[int, list[int]] = {}

    def after(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            assert slow.begun.wait(60)
        seen[row["step"]] = [state.step for state in list_states(states)]
        if row["step"] == 4:
            slow.go.set()

    toy.run(recipe, tmp_path / "run", parts, toy.Watch(after))
    assert seen[3] == seen[4] == [0]
    assert slow.count == 4  # steps 0, 2, 4 and the end
    assert slow.most == 1
    assert toy.metrics(tmp_path / "run", "instruct") == toy.metrics(tmp_path / "whole", "instruct")


def test_a_state_is_what_it_was_when_it_was_asked_for(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = toy.bench(data, parts, tmp_path / "stage", toy.instruct())
    optimizer = build_optimizer(bench.model, bench.context.stage)
    slow, weights = Slow(monkeypatch, free=0), trainable(bench.model)
    saver = Saver(tmp_path / "state", weights, optimizer, "plan", 1, ALONE)
    weight = next(iter(weights.values()))
    before = weight.detach().clone()
    saver.save(1, 2.5)
    with torch.no_grad():
        weight += 1.0
    saver.check()  # does not wait
    assert list_states(tmp_path / "state") == []
    slow.go.set()
    saver.wait()
    (state,) = list_states(tmp_path / "state")
    assert load_state(state, weights, optimizer, "plan") == 2.5
    assert torch.equal(weight, before)


def test_what_went_wrong_is_told_at_the_next_step(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls, failed = checkpoint.save_file, 0, threading.Event()

    def save_file(tensors: Any, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # after those of steps 0 and 1
            path.write_bytes(b"half")
            failed.set()
            raise OSError(28, "No space left on device")
        write(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", save_file)

    recipe = toy.make_recipe(data, toy.instruct(checkpoint_every=1, validation=None))

    def after(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            failed.wait(60)

    watch = toy.Watch(after)
    with pytest.raises(RunError, match=r"step 2 cannot be saved \(No space left") as caught:
        toy.run(recipe, tmp_path / "run", parts, watch)
    assert "make room" in str(caught.value)
    assert [row["step"] for row in watch.rows] in ([1, 2], [1, 2, 3])
    states = tmp_path / "run/stages/instruct/state"
    assert [path.name for path in states.iterdir()] == ["step-000001"]
    monkeypatch.undo()
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    toy.run(recipe, tmp_path / "other", parts)
    assert toy.metrics(tmp_path / "run", "instruct") == toy.metrics(tmp_path / "other", "instruct")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from pumice.train import checkpoint
from tests.train.parts import Parts, make_recipe, run
import torch
torch.set_num_threads(1)
folder, parts, data = map(Path, sys.argv[1:])
write = checkpoint.save_file
def save_file(tensors, path):
    if "instruct" in str(path) and "000004" in str(path):
        path.write_bytes(b"half of a state")
        os.kill(os.getpid(), signal.SIGKILL)
    write(tensors, path)
checkpoint.save_file = save_file
run(make_recipe(data), folder, Parts(parts / "vision", parts / "language"))
"""


def test_a_kill_during_the_write_leaves_the_state_before(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(root=str(root)), "utf-8")
    folder = tmp_path / "run"
    words = [sys.executable, script, folder, parts.vision.parent, data]
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    states = folder / "stages" / "instruct" / "state"
    assert [state.step for state in list_states(states)] == [2]
    assert (states / ".step-000004.writing").is_dir()
    toy.run(toy.make_recipe(data), folder, parts, resume=True)
    same_run(toy, folder, whole.folder)
