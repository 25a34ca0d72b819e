"""One side of a training benchmark, alone in its process: prints what it took as one line of JSON.

``python -m pumice.bench.worker SPEC.json``; ``pumice.bench.train`` writes the file and reads the line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pumice.bench.material import StageName


@dataclass(frozen=True, slots=True)
class Spec:
    """What a side does.

    Attributes:
        side: ``pumice``; or transformers' Trainer with rows padded in the same order (``padded``), grouped as
            LLaVA's own trainer does (``grouped``), or sorted by transformers (``sorted``).
        stage: which one.
        folder: where model and data are.
        work: a new folder for what is written.
        samples: of a step.
        micro: samples that go through the model at once (rows of Trainer; ours packs as many tokens).
        steps: how many.
        precision: ``fp32`` or ``bf16``.
        seed: of order and chances.
        row_length: tokens of our packed rows.
        threads: of torch.
        lora: train additions to the language model and not its weights, as a recipe's ``lora: {}`` does.
        checkpointing: compute layers again in the backward pass.
        bare: ours without what a run writes; a model of many gigabytes is then not saved to be timed.
    """

    side: str
    stage: StageName
    folder: str
    work: str
    samples: int
    micro: int
    steps: int
    precision: str
    seed: int
    row_length: int
    threads: int
    lora: bool = False
    checkpointing: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Took:
    """What a side took. The first step warms up: it is in the losses and in no other number.

    Attributes:
        seconds: of all steps but the first; of ours also their share of encoding the pictures.
        peak_bytes: the most memory that the process held.
        losses: of every step.
        supervised: supervised tokens of those steps.
        tokens: all tokens of those steps.
        places: the same with padding.
        useful: FLOP that those steps need: of real tokens, nothing computed twice (0: not counted).
        carried: FLOP that were carried out (0: not counted).
    """

    seconds: float
    peak_bytes: int
    losses: list[float]
    supervised: int
    tokens: int
    places: int
    useful: float = 0.0
    carried: float = 0.0


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rates(stage: StageName) -> dict[str, float]:
    """Peak learning rates: LLaVA-1.5's."""
    return {"connector": 1e-3} if stage == "align" else {"connector": 2e-5, "language": 2e-5}


def main() -> None:
    """Run the side that the file names."""
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    torch.set_num_threads(spec.threads)
    if spec.side == "pumice" and spec.bare:
        from pumice.bench.bare import run
    elif spec.side == "pumice":
        from pumice.bench.ours import run
    else:
        from pumice.bench.peer import run
    began = time.monotonic()
    took = run(spec)
    fields: dict[str, Any] = {**asdict(took), "whole": time.monotonic() - began}
    sys.stdout.write(json.dumps(fields) + "\n")


if __name__ == "__main__":
    main()
