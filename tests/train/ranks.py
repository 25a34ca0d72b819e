"""What one rank of a test does: several runs one after another, as a file of JSON says.

``torchrun --nproc-per-node 2 ranks.py SPEC.json``; a run is ``{recipe, folder, parts, resume, stop, kill,
split}``.
``kill: [RANK, CALLS]`` ends a rank, with no chance to clean up, when it asks for the next step so often.
``offload: true`` obeys a stage's ``offload`` on a CPU, too, as if its memory were not the host's.
``figures: {TASK.FIGURE: [...]}`` answers questions on the way with a value after the other.
``lean: false`` trains copies whose frozen weights stay float32; ``true`` looks whether they do not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pumice.errors import Interrupted
from pumice.model import VisionLanguageModel
from pumice.processes import end
from pumice.recipes import load_recipe
from pumice.recipes.schema import Stage
from pumice.train import optim
from pumice.train import run as carry_out
from pumice.train.lean import make_lean
from pumice.train.machine import offloads
from pumice.train.parallel import join_ranks, leave_ranks
from pumice.train.run import Parts, Silent, train


def stopping(after: int | None, killed: int | None) -> Callable[[], bool]:
    """True from the call on that comes after so many; or an end of the process at a call."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if calls == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return after is not None and calls > after

    return stop


def answering(figures: dict[str, list[float]]) -> Callable[[Any], dict[str, Any]]:
    """What questions on the way come to, the first time, the second and so on."""
    values = {name: iter(own) for name, own in figures.items()}

    def ask(checkpoint: Any) -> dict[str, Any]:
        return {"keep_best": {name: {"value": next(own), "higher": True} for name, own in values.items()}}

    return ask


def as_asked(stage: Stage, device: torch.device) -> str:
    """What a stage offloads from whatever device."""
    return stage.offload


def set_lean(wanted: bool | None) -> None:
    """How copies of the model are made for the steps."""

    def watched(model: VisionLanguageModel) -> None:
        if wanted is not False:
            make_lean(model)
        if wanted:
            assert any(p.dtype == torch.bfloat16 for p in model.parameters())

    carry_out.make_lean = watched


def main() -> None:
    """Carry the runs out."""
    torch.set_num_threads(1)
    ranks = join_ranks()
    runs: list[dict[str, Any]] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    for run in runs:
        parts, kill = Path(run["parts"]), run.get("kill")
        for module in (optim, carry_out):
            module.offloads = as_asked if run.get("offload") else offloads
        set_lean(run.get("lean"))
        try:
            train(
                load_recipe(run["recipe"], variables={}),
                Path(run["folder"]),
                Parts(parts / "vision", parts / "language"),
                Silent(),
                command="test",
                resume=run.get("resume", False),
                stop=stopping(run.get("stop"), kill[1] if kill and kill[0] == ranks.rank else None),
                ask=answering(run["figures"]) if "figures" in run else None,
                ranks=replace(ranks, split=run.get("split", 0)),
            )
        except Interrupted:
            assert run.get("stop") is not None
    leave_ranks()
    end(0)


if __name__ == "__main__":
    main()
