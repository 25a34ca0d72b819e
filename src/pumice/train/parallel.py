"""Several processes that train one model: who takes which rows, how weights are split, what is added up.

A process is a rank, as ``torchrun`` starts them. Weights, gradients and optimiser states of what trains, and
frozen weights of the language model, are split over the ranks (FSDP2); over several nodes they are split
within each and repeated between them. The plan does not know of ranks: each takes its share of a step's rows,
and sums over all of them are what one process would have summed.
"""

from __future__ import annotations

import contextlib
import copy
import heapq
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from pumice.errors import RunError
from pumice.model import VisionLanguageModel
from pumice.model.layers import layer_list
from pumice.train.shares import fill, outline
from pumice.types import IntArray

TIMEOUT = timedelta(seconds=1800)
"""How long a rank waits for another: one may be writing a checkpoint, or reading a large data set. A rank
that is lost is found by torchrun, which ends the others."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of a run.

    Attributes:
        rank: its number.
        world: how many there are.
        local: its number on its node.
        per_node: how many there are on a node.
        split: how many share one copy of the weights; 0 is those of a node.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    per_node: int = 1
    split: int = 0

    @property
    def sharing(self) -> int:
        """How many ranks share one copy of the weights; as many such groups repeat them."""
        # One rank a node shares nothing with itself: all of them do then.
        return self.split or (self.per_node if self.per_node > 1 else self.world)

    @property
    def lead(self) -> bool:
        """Whether this one writes files and tells of progress."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.world == 1

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""
        if torch.cuda.is_available():
            return torch.device("cuda", self.local if not self.alone else torch.cuda.current_device())
        return torch.device("cpu")

    def wait(self) -> None:
        """Until all ranks are here."""
        if not self.alone:
            dist.barrier()

    def total(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over all ranks, in float64; all give the same names."""
        if self.alone:
            return dict(values)
        names = sorted(values)
        sums = torch.tensor([values[name] for name in names], dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        found = dict(zip(names, sums.tolist(), strict=True))
        return {name: found[name] for name in values}

    def total_array(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of the arrays of all ranks, of one shape."""
        if self.alone:
            return values
        sums = torch.from_numpy(values).to(self.device, copy=True)
        dist.all_reduce(sums)
        found: NDArray[np.float64] = sums.cpu().numpy()
        return found

    def gather(self, values: Mapping[str, str]) -> dict[str, str]:
        """The entries of all ranks together; of equal names, that of the last rank."""
        if self.alone:
            return dict(values)
        parts: list[dict[str, str]] = [{} for _ in range(self.world)]
        dist.all_gather_object(parts, dict(values))
        return {name: value for part in parts for name, value in part.items()}

    def any(self, value: bool) -> bool:
        """Whether it is so on some rank."""
        return self.total({"": float(value)})[""] > 0

    def check_same(self, digest: str, what: str) -> None:
        """RunError unless all ranks have the same digest (64 hexadecimal digits)."""
        if self.alone:
            return
        own = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.int32, device=self.device)
        most, least = own.clone(), own.clone()
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
        if not torch.equal(most, least):
            raise RunError(
                f"the ranks of this run see different {what}",
                where=f"rank {self.rank} of {self.world}",
                remedy="give every node the same data, recipe and version of Pumice",
            )


ALONE = Ranks()
"""The one process of an ordinary run."""


def join_ranks(split: int = 0) -> Ranks:
    """The ranks that ``torchrun`` started this process among; ``ALONE`` where it did not.

    Args:
        split: over how many of them weights are split; 0: over those of a node.

    Raises:
        RunError: there are more ranks on a node than devices, or ``split`` does not divide the ranks.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return ALONE
    ranks = Ranks(
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        int(os.environ.get("LOCAL_RANK", "0")),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        split,
    )
    check_split(split, ranks.world)
    if torch.cuda.is_available():
        if ranks.per_node > torch.cuda.device_count():
            raise RunError(
                f"{ranks.per_node} ranks on a node that has {torch.cuda.device_count()} devices",
                where="torchrun --nproc-per-node",
                remedy=f"start {torch.cuda.device_count()}",
            )
        torch.cuda.set_device(ranks.local)
    if not dist.is_initialized():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT
        )
    return ranks


def check_split(split: int, world: int) -> None:
    """RunError unless so many ranks can share one copy of the weights (0: those of a node)."""
    if split and world % split:
        fitting = ", ".join(str(n) for n in range(2, world + 1) if world % n == 0)
        raise RunError(
            f"{world} ranks make no groups of {split} that each hold the weights once",
            where="--split",
            remedy=f"choose one of {fitting}",
        )


_SAID = "pumice/said"


def say_to_others(words: str) -> None:
    """Leave what ended the first rank where the others find it; nothing where they are not to be reached."""
    with contextlib.suppress(RuntimeError):
        dist.distributed_c10d._get_default_store().set(_SAID, words)


def said_by_lead(seconds: float) -> str | None:
    """What ended the first rank, waited for so long; None where it says nothing."""
    try:
        store = dist.distributed_c10d._get_default_store()
        store.wait([_SAID], timedelta(seconds=seconds))
        return bytes(store.get(_SAID)).decode()
    except RuntimeError:
        return None


def leave_ranks() -> None:
    """The end of what ``join_ranks`` began; nothing where it began nothing."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shares(
    rows: Sequence[Sequence[int]], costs: Sequence[int], parts: int, world: int
) -> list[list[list[Sequence[int]]]]:
    """A step's rows by part and rank, so that within a part all ranks have nearly as much to do.

    Args:
        rows: of one step.
        costs: tokens of each row.
        parts: micro-batches that the step is taken in.
        world: ranks.

    Returns:
        ``parts`` lists of ``world`` lists of rows. Every row stands in exactly one. The numbers of rows
        differ by at most one over parts, and over ranks of a part; with fewer rows than places some are
        empty.
    """
    if world == 1:
        size = -(-len(rows) // parts)
        return [[list(rows[start : start + size])] for start in range(0, len(rows), size)]
    # Rows of like cost share a part (less padding), and within it the dearest go to different ranks.
    order = sorted(range(len(rows)), key=lambda i: (-costs[i], i))
    sizes = [len(part) for part in _evenly(len(rows), parts)]
    found: list[list[list[Sequence[int]]]] = []
    at = 0
    for size in sizes:
        if not size:
            continue
        found.append(_balanced([order[i] for i in range(at, at + size)], rows, costs, world))
        at += size
    return found


def flat_shares(
    step: Sequence[Sequence[int]], lengths: IntArray, parts: int, world: int
) -> list[list[list[Sequence[int]]]]:
    """The same for a model that attends to what a sample sees alone (``lays_flat``): the samples of a step,
    each share of them end to end in one row, and all shares with nearly as many tokens.

    Args:
        step: rows of sample indices.
        lengths: tokens of each sample, int64 [samples].
        parts: micro-batches that the step is taken in.
        world: ranks.

    Returns:
        At most ``parts`` lists of ``world`` lists with one row, or with none where samples are too few.
    """
    samples = [index for row in step for index in row]
    places = min(parts, -(-len(samples) // world)) * world
    taken: list[list[int]] = [[] for _ in range(places)]
    loads = [(0, place) for place in range(places)]
    for at in sorted(range(len(samples)), key=lambda i: (-int(lengths[samples[i]]), i)):
        load, place = loads[0]
        taken[place].append(at)
        heapq.heapreplace(loads, (load + int(lengths[samples[at]]), place))
    shares_of: list[list[Sequence[int]]] = [
        [tuple(samples[at] for at in sorted(own))] if own else [] for own in taken
    ]
    return [shares_of[start : start + world] for start in range(0, places, world)]


def _evenly(count: int, parts: int) -> list[range]:
    edges = [count * part // parts for part in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def _balanced(
    chosen: Sequence[int], rows: Sequence[Sequence[int]], costs: Sequence[int], world: int
) -> list[list[Sequence[int]]]:
    most = -(-len(chosen) // world)
    taken: list[list[int]] = [[] for _ in range(world)]
    for row in chosen:
        free = [rank for rank in range(world) if len(taken[rank]) < most]
        rank = min(free, key=lambda r: (sum(costs[i] for i in taken[r]), r))
        taken[rank].append(row)
    return [[rows[i] for i in sorted(own)] for own in taken]


def shard(
    model: VisionLanguageModel,
    ranks: Ranks,
    *,
    half: bool = False,
    offload: bool = False,
    kind: str | None = None,
) -> None:
    """Split a model's weights over the ranks, in place; nothing where there is one rank.

    What trains decides how: call it after ``freeze``. A frozen tower stays whole on every rank, since it runs
    outside the model's forward pass and not on every rank alike.

    Args:
        model: on this rank's device, or on the meta device; on the CPU where it is to be offloaded.
        ranks: all of them.
        half: layers are gathered in bfloat16, in which autocast would use their weights anyway: half as many
            bytes travel and lie there, and no cast copy of a whole layer is kept for the backward pass.
            Gradients are added up in float32. What passes between layers keeps its type, and so do
            embeddings, head and connector, so that sums over layers are taken in float32 as on one rank.
        offload: keep this rank's weights and gradients in host memory, where the optimiser then works; a
            layer comes to the device when it is needed. What is not split goes there for good.
        kind: of device on which the ranks compute; None: the model's, or a CPU for one on the meta device.
    """
    if ranks.alone:
        return
    options: dict[str, Any] = {
        "mesh": _mesh(ranks, kind or ("cpu" if model.device.type == "meta" else model.device.type))
    }
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    of_layers = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    if offload:
        options["offload_policy"] = CPUOffloadPolicy(pin_memory=ranks.device.type == "cuda")
        model.computes_on = ranks.device
        if model.tower.frozen:
            model.tower.to(ranks.device)
    # Numbers of 4 bits are not split either.
    ignored = {p for p in model.parameters() if not p.is_floating_point()}
    if model.tower.frozen:
        ignored |= set(model.tower.parameters())
    for block in split_blocks(model):
        fully_shard(block, **options, mp_policy=of_layers, ignored_params=ignored)
    fully_shard(model, **options, mp_policy=policy, ignored_params=ignored, reshard_after_forward=False)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # The loss is a sum over a known number of tokens: gradients are sums, too.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def let_go(model: VisionLanguageModel) -> None:
    """Split weights again that a forward pass gathered and no backward pass followed.

    Until then ``parameters()`` gives the gathered ones, which are not those that an optimiser holds.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def split_copy(
    model: VisionLanguageModel,
    ranks: Ranks,
    change: Callable[[VisionLanguageModel], None] | None = None,
    *,
    half: bool = False,
    offload: bool = False,
) -> VisionLanguageModel:
    """The model itself where there is one rank, else a copy on this rank's device, split over all.

    The model stays whole, on the CPU: stages are saved from it, and the next one begins with it. ``change``
    is made to the copy before it is split (weights may have another type behind it). ``half`` and ``offload``
    are those of ``shard``.
    """
    if ranks.alone:
        return model
    worker = copy.deepcopy(model) if offload else outline(model, ranks.device)
    if change is not None:
        change(worker)
    # Offloaded layers go to the device one after the other as they are split, and their shares back.
    shard(worker, ranks, half=half, offload=offload, kind=ranks.device.type)
    if not offload:
        fill(worker, model, ranks.device)
    return worker


@torch.no_grad()
def bring_back(model: VisionLanguageModel, worker: VisionLanguageModel) -> None:
    """Put what trained in a split copy into the whole model; every rank does it together."""
    if worker is model:
        return
    trained = dict(worker.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(whole(trained[name].detach()))


def _mesh(ranks: Ranks, kind: str) -> DeviceMesh:
    groups = ranks.world // ranks.sharing
    if groups > 1:
        return init_device_mesh(kind, (groups, ranks.sharing), mesh_dim_names=("replicate", "shard"))
    return init_device_mesh(kind, (ranks.world,), mesh_dim_names=("shard",))


def split_blocks(model: VisionLanguageModel) -> list[nn.Module]:
    """The layers that are gathered one at a time: the language model's, and those of a tower that trains."""
    parts = [model.lm, *([] if model.tower.frozen else [member.model for member in model.tower.members])]
    return [layer for part in parts for layer in layer_list(part) or ()]


def whole(value: Tensor) -> Tensor:
    """All of a tensor that may be split over ranks; every rank asks together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
