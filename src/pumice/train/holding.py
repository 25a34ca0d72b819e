"""What one rank holds of a model whose weights are split: bytes, read off the split tensors themselves.

It works on a model that trains, and on one of the meta device that was split among ranks which do not exist.
Which bytes are gathered at once follows from what FSDP2 does (torch 2.13, ``_fsdp_param_group.py``):
the layer at work and the buffer of the one that is fetched ahead, in the backward pass with the layer's
gradients and the buffer of those that are being added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from pumice.model import VisionLanguageModel
from pumice.train.adamw import in_8_bits
from pumice.train.eight_bits import blocks_of
from pumice.train.parallel import split_blocks

BF16, FP32 = 2, 4
AVERAGES = 2
"""AdamW keeps two numbers for each that trains."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What decides bytes beside the model: ``half`` as ``shard`` was told; averages in 8 bits
    (``adamw_8bit``); what lies in host memory (a stage's ``offload``)."""

    half: bool = False
    eight_bits: bool = False
    offload: Literal["none", "optimizer", "all"] = "none"


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes on one rank.

    Attributes:
        weights: its shares of what is split, and all of what is not (a frozen tower, numbers of 4 bits).
        padding: what its shares are longer than its rows of the tensors, so that all ranks' are alike long.
        gradients: of its shares that train.
        optimizer: AdamW's averages of these.
        gathered: what lies there whole for a while: embeddings, head and connector during a step, one layer
            at a time and the next one ahead of its turn, gradients until they are added up.
        host: in host memory and not on the device, of the parts above.
    """

    weights: int
    padding: int
    gradients: int
    optimizer: int
    gathered: int
    host: int = 0

    @property
    def total(self) -> int:
        """All together on the device."""
        return self.weights + self.padding + self.gradients + self.optimizer + self.gathered - self.host


def held(model: VisionLanguageModel, keeping: Keeping) -> Held:
    """What this rank holds of a split model; of a model that is not split, all of it.

    Args:
        model: after ``freeze`` and ``shard``, on any device.
        keeping: how it trains.
    """
    own = [_Numbers.of(p, None, keeping) for p in model.parameters()]
    return _sum(Counter(own), gathered(model, half=keeping.half), 0, keeping)


def held_by_all(model: VisionLanguageModel, keeping: Keeping) -> list[Held]:
    """What each of the ranks holds that share one copy of a split model's weights, in their order.

    It is worked out here by torch's rule for shares; the others are not asked.
    """
    (ranks,) = {_ranks(p) for p in model.parameters() if isinstance(p, DTensor)} or {1}
    numbers = Counter(_Numbers.of(p, ranks, keeping) for p in model.parameters())
    most = gathered(model, half=keeping.half)
    return [_sum(numbers, most, rank, keeping) for rank in range(ranks)]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A tensor by what decides its bytes.

    ``length`` rows of ``rest`` numbers, each of ``size`` bytes, over so many ``ranks`` (1: whole on each). A
    rank has room for ``room`` rows. ``averages`` are the optimiser's bytes for a row (0: it is frozen),
    ``beside`` those of the scales of numbers in 4 bits; ``split`` is whether it has shares.
    """

    length: int
    rest: int
    size: int
    ranks: int
    room: int
    averages: int
    beside: int
    split: bool

    @classmethod
    def of(cls, parameter: Tensor, ranks: int | None, keeping: Keeping) -> _Numbers:
        """A parameter, split over so many; None: this rank's share alone."""
        length, rest = parameter.shape[0], prod(parameter.shape[1:])
        room, split = length, isinstance(parameter, DTensor)
        if isinstance(parameter, DTensor):
            room = -(-length // _ranks(parameter))
            if ranks is None:
                length = parameter.to_local().shape[0]
        averages = 0
        if parameter.requires_grad:
            averages = AVERAGES * rest * FP32
            if keeping.eight_bits and in_8_bits(parameter.shape):
                averages = AVERAGES * (rest + FP32 * blocks_of(rest))
        over = ranks if ranks is not None and split else 1
        size = parameter.element_size()
        return cls(length, rest, size, over, room, averages, _beside(parameter), split)


def _sum(numbers: Counter[_Numbers], most: int, rank: int, keeping: Keeping) -> Held:
    weights = padding = gradients = averages = host = 0
    for one, count in numbers.items():
        rows = one.length
        if one.ranks > 1:
            rows, _ = Shard.local_shard_size_and_offset(one.length, one.ranks, rank)
        of_row = one.rest * one.size * count
        # Gradients come out of their sum as long as the shares are.
        own = (
            rows * of_row + one.beside * count,
            (one.room - rows) * of_row,
            one.room * of_row if one.averages else 0,
            one.averages * rows * count,
        )
        weights, padding, gradients, averages = (
            weights + own[0],
            padding + own[1],
            gradients + own[2],
            averages + own[3],
        )
        if keeping.offload == "all" and one.split:
            host += sum(own)
        elif keeping.offload != "none":
            host += own[3]
    return Held(weights, padding, gradients, averages, most, host)


def gathered(model: VisionLanguageModel, *, half: bool) -> int:
    """Bytes that lie there whole for a while, at the highest point of a step; 0 where nothing is split."""
    blocks = [[p for p in block.parameters() if isinstance(p, DTensor)] for block in split_blocks(model)]
    inside = {id(parameter) for block in blocks for parameter in block}
    rest = [p for p in model.parameters() if isinstance(p, DTensor) and id(p) not in inside]
    largest = max((_at_work(block, half=half) for block in blocks), default=0)
    trained = sum(p.numel() for p in rest if p.requires_grad) * FP32
    table = model.lm.get_input_embeddings().weight
    # Autocast keeps what it makes of float32 weights.
    cast = sum(p.numel() for p in rest if p is not table and p.element_size() == FP32) * BF16 if half else 0
    # Gradients of embeddings and head wait for the end of the backward pass, where a buffer adds them up.
    return sum(p.nbytes for p in rest) + cast + trained + max(largest, trained)


def _at_work(block: Sequence[Tensor], *, half: bool) -> int:
    """Bytes of a layer whose weights are gathered, as numbers of their type or in bfloat16."""

    def number(parameter: Tensor) -> int:
        return min(parameter.element_size(), BF16 if half else FP32)

    size = sum(p.numel() * number(p) for p in block)
    trained = sum(p.numel() * (number(p) + FP32) for p in block if p.requires_grad)
    # Forward: its weights, the buffer that they came in, that of the layer ahead. Backward: its weights, the
    # buffer of the layer ahead, its gradients, and the buffer that adds them up.
    return max(3 * size, 2 * size + trained)


def _ranks(parameter: DTensor) -> int:
    """Over how many ranks a tensor is split."""
    axis = next(axis for axis, placement in enumerate(parameter.placements) if isinstance(placement, Shard))
    size: int = parameter.device_mesh.size(axis)
    return size


def _beside(parameter: Tensor) -> int:
    """Bytes of the scales of numbers in 4 bits."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return 0
    inner = state.state2
    scales: list[Tensor] = [state.absmax, *([] if inner is None else [inner.absmax])]
    return sum(scale.numel() * scale.element_size() for scale in scales)
