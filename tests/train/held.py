"""What one rank of a test really holds: ``torchrun --nproc-per-node 2 held.py PARTS OUT``, one file a rank.

A stage's model is split as training does it and takes a step of AdamW; then its tensors' bytes are added up.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from pumice.model.build import build_model
from pumice.processes import end
from pumice.recipes.schema import Stage
from pumice.train.holding import Keeping, held
from pumice.train.optim import build_optimizer, freeze
from pumice.train.parallel import join_ranks, leave_ranks, shard

STAGE = {
    "name": "instruct", "kind": "instruct", "sources": ["a"], "lr": {"connector": 1e-3, "language": 1e-3},
    "steps": 1, "rows_per_step": 1,
}  # fmt: skip


def bytes_of(tensor: torch.Tensor) -> int:
    """Of a tensor, or of this rank's share of one."""
    own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return own.numel() * own.element_size()


def main() -> None:
    """Split, take a step, count."""
    torch.set_num_threads(1)
    parts, ranks = Path(sys.argv[1]), join_ranks()
    model, _, _ = build_model(
        parts / "vision", parts / "language", connector="mlp2x_gelu", template="tiny", seed=1
    )
    stage = Stage.model_validate(STAGE)
    freeze(model, stage)
    shard(model, ranks, half=False)
    optimizer = build_optimizer(model, stage)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    told = {
        "held": asdict(held(model, Keeping())),
        "weights": sum(map(bytes_of, model.parameters())),
        "averages": sum(map(bytes_of, states)),
    }
    (Path(sys.argv[2]) / f"{ranks.rank}.json").write_text(json.dumps(told), "utf-8")
    leave_ranks()
    end(0)


if __name__ == "__main__":
    main()
