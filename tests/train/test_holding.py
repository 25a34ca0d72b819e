from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from pumice.errors import RunError
from pumice.forecast.ranks import fake_group
from pumice.model.build import build_model
from pumice.recipes.schema import Stage
from pumice.train.holding import Keeping, gathered, held, held_by_all
from pumice.train.optim import freeze
from pumice.train.parallel import Ranks, check_split, shard, split_blocks, split_copy

from .held import STAGE


def split_model(parts: Any, world: int, *, rank: int = 0, **more: Any) -> Any:
    """The toy model, split among ranks that do not exist; in a fake group."""
    model, _, _ = build_model(parts.vision, parts.language, connector="mlp2x_gelu", template="tiny", seed=1)
    freeze(model, Stage.model_validate(STAGE))
    shard(model, Ranks(rank, world, rank % world, world, **more), half=False)
    return model


@pytest.mark.slow
def test_ranks_hold_what_two_real_ones_hold(parts: Any, tmp_path: Path) -> None:
    script = [str(Path(__file__).with_name("held.py")), str(parts.vision.parent), str(tmp_path)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, *script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    real = [json.loads((tmp_path / f"{rank}.json").read_text("utf-8")) for rank in range(2)]
    with fake_group(2):
        ours = held_by_all(split_model(parts, 2), Keeping())
    assert [asdict(one) for one in ours] == [one["held"] for one in real]
    assert [one.weights for one in ours] == [one["weights"] for one in real]
    assert [one.optimizer for one in ours] == [one["averages"] for one in real]


@pytest.mark.parametrize("world", [3, 8])
def test_the_rule_is_that_of_every_rank(parts: Any, world: int) -> None:
    """Also where rows are no multiple of the ranks, and some have none."""
    with fake_group(world):
        told = held_by_all(split_model(parts, world), Keeping())
    assert len(told) == world
    for rank in range(world):
        with fake_group(world, rank):
            assert held(split_model(parts, world, rank=rank), Keeping()) == told[rank]


def test_shares_are_the_whole_and_all_have_the_same_room(parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, connector="mlp2x_gelu", template="tiny", seed=1)
    tower = sum(p.nbytes for p in model.tower.parameters())
    rest = sum(p.nbytes for p in model.parameters()) - tower
    with fake_group(7):
        told = held_by_all(split_model(parts, 7), Keeping())
    assert sum(one.weights for one in told) == rest + 7 * tower
    assert sum(one.optimizer for one in told) == 2 * rest
    assert len({one.weights + one.padding for one in told}) == 1
    assert sum(one.padding for one in told) > 0
    assert max(told, key=lambda one: one.total) == told[0]


def test_a_copy_is_shared_by_a_node_or_by_as_many_as_asked(parts: Any) -> None:
    nodes = Ranks(0, 8, 0, 4)
    assert nodes.sharing == 4
    assert Ranks(0, 8, 0, 1).sharing == 8
    with fake_group(8):
        by_node = held_by_all(_shared(parts, nodes), Keeping())
    with fake_group(8):
        wide = held_by_all(_shared(parts, Ranks(0, 8, 0, 4, split=8)), Keeping())
    with fake_group(4):
        four = held_by_all(split_model(parts, 4), Keeping())
    assert by_node == four
    assert len(wide) == 8
    assert wide[0].weights < by_node[0].weights


def _shared(parts: Any, ranks: Ranks) -> Any:
    model, _, _ = build_model(parts.vision, parts.language, connector="mlp2x_gelu", template="tiny", seed=1)
    freeze(model, Stage.model_validate(STAGE))
    shard(model, ranks)
    return model


def test_a_model_that_is_whole_gathers_nothing(parts: Any) -> None:
    model, _, _ = build_model(parts.vision, parts.language, connector="mlp2x_gelu", template="tiny", seed=1)
    freeze(model, Stage.model_validate(STAGE))
    told = held(model, Keeping())
    assert told.gathered == told.padding == 0
    assert told.weights == sum(p.nbytes for p in model.parameters())


def test_layers_are_gathered_in_half_and_what_joins_them_is_not(parts: Any) -> None:
    with fake_group(2):
        model = split_model(parts, 2)
        single, half = gathered(model, half=False), gathered(model, half=True)
        layer = sum(p.numel() for p in split_blocks(model)[0].parameters())
        inside = {id(p) for block in split_blocks(model) for p in block.parameters()}
        rest = sum(p.numel() for p in model.parameters() if p.requires_grad and id(p) not in inside)
        cast = rest - model.lm.get_input_embeddings().weight.numel()
    assert single == 8 * rest + max(16 * layer, 4 * rest)
    assert half == 8 * rest + 2 * cast + max(10 * layer, 4 * rest)


@pytest.mark.parametrize("tied", [False, True])
def test_a_split_copy_has_its_rows_of_the_whole_model(parts: Any, tied: bool) -> None:
    """Nothing is shared with the whole model, which stages are saved from; all of it has numbers."""
    model, _, _ = build_model(parts.vision, parts.language, connector="mlp2x_gelu", template="tiny", seed=1)
    if tied:
        model.lm.lm_head.weight = model.lm.get_input_embeddings().weight
    freeze(model, Stage.model_validate(STAGE))
    whole = dict(model.named_parameters(remove_duplicate=False))
    held_by_host = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with fake_group(3, 1):
        worker = split_copy(model, Ranks(1, 3, 1, 3))
        found = dict(worker.named_parameters(remove_duplicate=False))
        assert found.keys() == whole.keys()
        for name, parameter in found.items():
            own = parameter.to_local() if isinstance(parameter, DTensor) else parameter
            rows = whole[name].shape[0]
            share = -(-rows // 3)
            wanted = whole[name][share : 2 * share] if isinstance(parameter, DTensor) else whole[name]
            assert torch.equal(own, wanted), name
            assert own.untyped_storage().data_ptr() not in held_by_host, name
            assert parameter.requires_grad is whole[name].requires_grad
        assert (found["lm.lm_head.weight"] is found["lm.model.embed_tokens.weight"]) is tied
        buffers = dict(worker.named_buffers())
        assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
        assert not any(value.is_meta for value in buffers.values())


def test_smaller_averages_and_what_is_elsewhere(parts: Any) -> None:
    with fake_group(2):
        model = split_model(parts, 2)
        plain, small = held(model, Keeping()), held(model, Keeping(eight_bits=True))
        away, all_away = held(model, Keeping(offload="optimizer")), held(model, Keeping(offload="all"))
    assert small.optimizer < plain.optimizer
    assert small.weights == plain.weights
    assert (away.host, away.total) == (away.optimizer, plain.total - plain.optimizer)
    tower = sum(p.nbytes for p in model.tower.parameters())  # frozen, and whole where it computes
    assert all_away.total == tower + all_away.gathered


def test_nothing_of_a_fake_group_stays() -> None:
    def fails() -> None:
        with fake_group(4):
            assert torch.distributed.get_world_size() == 4
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not torch.distributed.is_initialized()


def test_a_split_divides_the_ranks() -> None:
    check_split(0, 7)
    check_split(4, 8)
    with pytest.raises(RunError, match="choose one of 2, 3, 6"):
        check_split(4, 6)
