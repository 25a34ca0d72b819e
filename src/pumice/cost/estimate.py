"""Arithmetic, memory and time of one stage.

Arithmetic is counted as carried out: a product of an m x k with a k x n matrix is 2mkn, and what activation
checkpointing computes twice counts twice. Attention is causal and counts half of a square. Norms,
activations and the optimiser are left out: together they are under 1% at the sizes that matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pumice.cost.hardware import Hardware, Sharding
from pumice.cost.shape import Additions, Load, Partly, Shape

BF16, FP32 = 2, 4
AVERAGES: dict[str, float] = {"adamw": 2 * FP32, "adamw_8bit": 2 * (1 + FP32 / 256)}
"""Bytes of AdamW's two averages for a parameter, by the optimiser's name: in float32, or in 8 bits with a
float32 scale for every 256."""
OVERHEAD = 2.0e9
"""Bytes a device needs beside what is counted: CUDA's context, libraries' work space, fragments."""
ACTIVATION = 34
"""Bytes per token and unit of width that one layer keeps for its backward pass in bf16, its attention
scores left out (Korthikanti and others 2022, table 2, without the quadratic term)."""


Weights = Literal["bf16", "fp32"]
"""How weights are held: in bfloat16 with a float32 copy of what trains (DeepSpeed, FSDP), or in float32 and
cast as they are used (autocast), as Pumice itself does."""


Attention = Literal["blocks", "mask", "scores"]
"""What attention holds beside its inputs: nothing that grows with a row's square; a mask of it, as SDPA; or
all scores of all heads, which plain products keep for the backward pass (``eager``)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a stage runs: what trains, on what, split how.

    ``checkpointing`` keeps one activation a layer and computes the rest again. ``micro_rows`` is how many
    rows a device takes at once; a step takes as many such parts as it needs. ``weights`` is how weights are
    held, ``activation`` the bytes of a number in between. ``additions`` train in place of the language
    model's weights. ``lean`` counts frozen numbers that are held in bfloat16 where ``weights`` are fp32 and
    ``activation`` is bf16: of the language model's layers (``language``), its ``head``, the ``connector``.
    ``trimmed`` is as in ``stage_flops``.
    ``reference`` is the share of the load that is read once more before the first step, forward alone (stages
    of kind prefer). ``optimizer`` and ``offload`` are as in a recipe; ``spare`` is whether the device has
    host memory beside its own, which a CPU has not. ``split`` is how many devices share one copy of what is
    split; 0: all of them.
    """

    trainable: frozenset[str]
    hardware: Hardware
    devices: int
    sharding: Sharding
    checkpointing: bool = True
    micro_rows: int = 1
    weights: Weights = "bf16"
    activation: int = BF16
    additions: Additions | None = None
    reference: float = 0.0
    partly: Mapping[str, Partly] = field(default_factory=dict)
    attention: Attention = "blocks"
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    offload: Literal["none", "optimizer", "all"] = "none"
    spare: bool = True
    lean: Mapping[str, int] = field(default_factory=dict)
    trimmed: int = 0
    split: int = 0

    @property
    def cast(self) -> bool:
        """Whether float32 weights are cast to bf16 as they are used."""
        return self.weights == "fp32" and self.activation == BF16


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device, by what they hold; ``host`` are those that its process keeps beside it."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    overhead: float
    host: float = 0.0

    @property
    def total(self) -> float:
        """All together on the device."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.logits, self.overhead)
        return sum(parts)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage costs: arithmetic by part, memory of one device, seconds."""

    flops: dict[str, float]
    memory: Memory
    seconds: float

    @property
    def total_flops(self) -> float:
        """All arithmetic of the stage."""
        return sum(self.flops.values())


def estimate(shape: Shape, load: Load, setup: Setup) -> Estimate:
    """The cost of one stage."""
    flops = stage_flops(
        shape,
        load,
        setup.trainable,
        checkpointing=setup.checkpointing,
        additions=setup.additions,
        partly=setup.partly,
        trimmed=setup.trimmed,
    )
    if setup.reference:
        once = stage_flops(shape, load, (), checkpointing=False, trimmed=setup.trimmed)
        flops["reference"] = setup.reference * (sum(once.values()) - once["head"] / 2)  # no backward pass
    rate = setup.hardware.peak * setup.hardware.share[setup.sharding] * setup.devices
    return Estimate(flops, stage_memory(shape, load, setup), sum(flops.values()) / rate)


def passes(
    part: str, trainable: Collection[str], *, checkpointing: bool, partly: Mapping[str, Partly] | None = None
) -> float:
    """How often the arithmetic of a part's forward pass is done, backward passes included.

    Forward is 1. A gradient that passes through adds 1, a part that trains 1 more for its own weights.
    Checkpointing computes the forward pass again, where there is a backward one. Of a part that trains in
    part, shares of these.
    """
    order = ("vision", "connector", "language")
    some = (partly or {}).get(part)
    below = any(name in trainable for name in order[: order.index(part)])
    if not below and part not in trainable:
        return 1
    through = 1.0 if below or some is None else some.reach
    own = 0.0 if part not in trainable else 1.0 if some is None else some.own
    return 1 + through * (1 + int(checkpointing and part != "connector")) + own


def stage_flops(
    shape: Shape,
    load: Load,
    trainable: Collection[str],
    *,
    checkpointing: bool,
    additions: Additions | None = None,
    partly: Mapping[str, Partly] | None = None,
    trimmed: int = 0,
) -> dict[str, float]:
    """FLOP of a stage by part: ``vision``, ``connector``, ``language``, ``head``, and ``additions``.

    ``trimmed`` counts the language model's parameters that are applied at supervised places alone.
    """
    tower, language = shape.tower, shape.language
    forward = {
        "vision": load.images
        * (2.0 * tower.used * tower.tokens + 4.0 * tower.layers * tower.width * tower.tokens**2),
        "connector": 2.0 * shape.connector * load.image_tokens,
        "language": 2.0 * language.body * load.tokens
        + 4.0 * language.layers * language.attention_width * load.squares / 2
        - 2.0 * trimmed * (load.tokens - load.logits),
    }
    flops = {
        part: amount * passes(part, trainable, checkpointing=checkpointing, partly=partly)
        for part, amount in forward.items()
    }
    # The language model's own inputs (embeddings) may be all that trains before it; its head never
    # recomputes: logits are made once, forward and backward together.
    head = 2.0 * language.vocabulary * language.width * load.logits
    some = (partly or {}).get("language")
    trains = "language" in trainable if some is None else some.head
    below = some is None or some.own > 0 or some.reach > 0 or bool({"connector", "vision"} & set(trainable))
    flops["head"] = head * (1 + int(below) + int(trains))
    if additions is not None and "language" in trainable:
        # Gradients pass through the frozen weights, and only the additions have gradients of their own.
        through = 2 + int(checkpointing)
        flops["language"] = forward["language"] * through
        flops["head"] = head * 2
        flops["additions"] = 2.0 * additions.params * load.tokens * (through + 1)
    return flops


def stage_memory(shape: Shape, load: Load, setup: Setup) -> Memory:
    """Bytes on one device at the highest point of a step."""
    params = dict(shape.params)
    additions = setup.additions if "language" in setup.trainable else None
    params |= {part: some.params for part, some in setup.partly.items()}
    trained = float(sum(count for part, count in params.items() if part in setup.trainable))
    if additions is not None:
        trained += additions.params - params["language"]
    everything = float(sum(shape.params.values()))
    split = 1.0 / (setup.split or setup.devices)
    whole = setup.sharding == "none"
    held = split if setup.sharding == "full" else 1.0
    number = FP32 if setup.weights == "fp32" else BF16
    weights = everything * number
    if additions is not None:
        weights += additions.params * number
        if additions.bits is not None:
            weights += additions.covered * (additions.bits / 8 - number)
    if setup.cast:
        weights -= (FP32 - BF16) * sum(setup.lean.values())
    weights *= held
    if setup.sharding == "full":
        # One block of the language model is gathered at a time, and the next one ahead of its turn.
        weights += 2 * number * shape.language.body / shape.language.layers
    if setup.cast and not setup.checkpointing:
        # What autocast made of them stays for the backward pass.
        weights += (shape.language.body - setup.lean.get("language", 0)) * BF16
    gradients = trained * number * (1.0 if whole else split)
    # AdamW's averages, and float32 copies of what trains where weights are in bfloat16.
    copies = FP32 if setup.weights == "bf16" else 0
    share = 1.0 if whole else split
    averages = trained * AVERAGES[setup.optimizer] * share
    optimizer, host = trained * copies * share, 0.0
    if setup.offload == "none" or not setup.spare:
        optimizer += averages
    else:
        host = averages
    if setup.offload == "all" and setup.spare:
        # Two layers are there at a time, and the gradients of one, in float32 as they are added up.
        layer = shape.language.body / shape.language.layers
        tower = 0.0 if "vision" in setup.trainable else shape.tower.params * number
        there = 2 * number * layer + tower
        host += weights + gradients + optimizer - there
        weights, gradients, optimizer = there, FP32 * layer * ("language" in setup.trainable), 0.0
    return Memory(
        weights,
        gradients,
        optimizer,
        _activations(shape, load, setup),
        _logits(shape, load, setup),
        OVERHEAD,
        max(host, 0.0),
    )


def _activations(shape: Shape, load: Load, setup: Setup) -> float:
    language, tower = shape.language, shape.tower
    places = float(load.row * setup.micro_rows)
    mask = 0.0 if setup.attention == "blocks" else places * load.row * (1 + setup.activation)
    wide = setup.activation / BF16
    layer = places * language.width * ACTIVATION * wide + _scores(shape, load, setup)
    if setup.checkpointing:
        kept = places * language.width * setup.activation * language.layers + layer
    else:
        kept = layer * language.layers
    some = setup.partly.get("language")
    if some is not None and not {"connector", "vision"} & setup.trainable:
        kept = layer + (kept - layer) * some.reach  # below the lowest layer that trains nothing is kept
    kept += mask
    images = min(load.images_per_step / max(load.rows, 1) * setup.micro_rows, load.images_per_step)
    inside = images * tower.tokens * tower.width * wide
    if "vision" not in setup.trainable:
        return kept + inside * ACTIVATION  # one layer at a time, nothing kept
    own = setup.partly.get("vision")
    layers = tower.layers * (1.0 if own is None else own.reach)
    if setup.checkpointing:
        return kept + inside * (BF16 * layers + ACTIVATION)
    return kept + inside * ACTIVATION * max(1.0, layers)


def _scores(shape: Shape, load: Load, setup: Setup) -> float:
    """What one layer keeps of its scores: the softmax in float32, and in bf16 what is made of it."""
    if setup.attention != "scores":
        return 0.0
    number = FP32 + (BF16 if setup.activation == BF16 else 0)
    return float(setup.micro_rows * shape.language.heads * load.row**2 * number)


def _logits(shape: Shape, load: Load, setup: Setup) -> float:
    # Chunks of at most 2^25 logits are held at once, in float32, with their gradient.
    return (
        2.0 * FP32 * min(load.logits_per_row * setup.micro_rows * shape.language.vocabulary, float(1 << 25))
    )
