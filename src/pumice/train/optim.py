"""What trains, with which optimiser and at which rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pumice.cost.shape import Partly, Shape
from pumice.model import VisionLanguageModel
from pumice.model.attach import is_addition
from pumice.model.last_layer import last_feed_forward
from pumice.model.nf4 import parameter_count
from pumice.model.select import chosen, part_modules, part_parameters, stacks
from pumice.model.shape import partly_trained
from pumice.recipes.schema import Stage
from pumice.recipes.values import PartName
from pumice.train.adamw import AdamW
from pumice.train.machine import offloads

PARTS: tuple[PartName, ...] = ("connector", "language", "vision")


@dataclass(frozen=True, slots=True)
class PartCounts:
    """Parameters that train and that are frozen, by part; and those that train by entry of ``trainable``."""

    trainable: dict[str, int]
    frozen: dict[str, int]
    entries: dict[str, int]


def check_trainable(model: VisionLanguageModel, stage: Stage) -> None:
    """Whether everything that is to train can, in this model (on any device).

    Raises:
        RunError: an entry of ``trainable`` means no parameter (of an ``identity`` connector, say), or none
            that a feature depends on.
    """
    for number, one in enumerate(stage.selections):
        chosen(model, one, f"stages.{stage.name}.trainable.{number}")


def trained_names(model: VisionLanguageModel, stage: Stage) -> dict[PartName, set[str]]:
    """The names inside each part of the parameters that a stage trains, additions aside.

    Raises:
        RunError: as ``check_trainable``.
    """
    found: dict[PartName, set[str]] = {part: set() for part in PARTS}
    for one in stage.selections:
        found[one.part] |= set(chosen(model, one, f"stages.{stage.name}.trainable"))
    return found


def partly_of(model: VisionLanguageModel, stage: Stage, shape: Shape) -> dict[str, Partly]:
    """How much trains of each part of which a stage trains some, on any device; call it before ``attach``."""
    found = {
        part: partly_trained(model, part, names, shape) for part, names in trained_names(model, stage).items()
    }
    return {part: some for part, some in found.items() if some is not None}


def freeze(model: VisionLanguageModel, stage: Stage) -> PartCounts:
    """Let exactly what the stage names train; count parameters on both sides.

    Of a tower that trains, what features do not depend on stays frozen: the layers above the one that is
    read, and any norm or head behind them. Of a language model with ``lora``, only its additions train.
    ``image_newline`` trains with the connector where pictures have it. Where a part trains in part, layers
    of which nothing trains compute as they answer, without dropout.
    """
    counts = PartCounts({}, {}, {})
    names = trained_names(model, stage)
    for part, module in part_modules(model).items():
        named = list(part_parameters(model, part))
        additions = part == "language" and stage.lora is not None
        for name, parameter in named:
            parameter.requires_grad_(name in names[part] and (not additions or is_addition(name)))
        if model.image_newline is not None and not (writes_newline(model) and stage.aspect is None):
            model.image_newline.requires_grad_(False)
        module.train(part in stage.parts)
        for layer in (layer for stack in stacks(model, part) for layer in stack.layers):
            if not any(parameter.requires_grad for parameter in layer.parameters()):
                layer.eval()
        for of_state, state in ((counts.trainable, True), (counts.frozen, False)):
            if number := sum(parameter_count(p) for _, p in named if p.requires_grad is state):
                of_state[part] = number
    for one in stage.selections:
        means = chosen(model, one, f"stages.{stage.name}.trainable").values()
        counts.entries[one.text] = sum(parameter_count(p) for p in means if p.requires_grad)
    return counts


def writes_newline(model: VisionLanguageModel) -> bool:
    """Whether ``image_newline`` stands among the tokens of this model's pictures."""
    config = model.config
    return config.newline and config.tiled and config.merge_type == "spatial_unpad"


def trimmed_of(model: VisionLanguageModel, stage: Stage) -> int:
    """Parameters of the language model that a step applies at supervised places alone."""
    part = last_feed_forward(model.lm) if model.trims and not stage.compile else None
    return 0 if part is None else sum(parameter_count(p) for p in part.parameters())


def checkpoint_activations(model: VisionLanguageModel, stage: Stage) -> None:
    """Compute layers again in the backward pass where the stage says so; never those of a frozen tower,
    through which no gradient flows.

    Raises:
        CheckpointError: a part has no layers that can.
    """
    wanted = stage.activation_checkpointing
    model.set_gradient_checkpointing(tower=wanted and "vision" in stage.parts, language=wanted)


def trainable(model: VisionLanguageModel) -> dict[str, nn.Parameter]:
    """What trains (``freeze``), by part and name: ``connector.0.weight``. In a part, matrices come first."""
    found: dict[str, nn.Parameter] = {}
    for part in PARTS:
        own = [(name, p) for name, p in part_parameters(model, part) if p.requires_grad]
        own.sort(key=lambda named: named[1].ndim < 2)
        found |= {f"{part}.{name}": parameter for name, parameter in own}
    return found


def build_optimizer(model: VisionLanguageModel, stage: Stage) -> torch.optim.Optimizer:
    """AdamW over what trains (``freeze``), two groups a part: matrices with weight decay, vectors without.

    Each group's ``peak`` is the learning rate its schedule scales. torch's own, fused: on one core 40 million
    parameters take 30 ms a step and 212 ms unfused (docs/LOG.md). Ours where averages are to take 8 bits or
    to lie in host memory.
    """
    groups: list[dict[str, Any]] = []
    for name in PARTS:
        if name not in stage.parts:
            continue
        rate = getattr(stage.lr, name)
        assert rate is not None, "the recipe's schema asks for a rate for each part that trains"
        parameters = [p for _, p in part_parameters(model, name) if p.requires_grad]
        for decay, some in (
            (stage.weight_decay, [p for p in parameters if p.ndim >= 2]),
            (0.0, [p for p in parameters if p.ndim < 2]),
        ):
            if some:
                groups.append({"params": some, "weight_decay": decay, "lr": rate, "peak": rate, "part": name})
    eight_bits, on_host = stage.optimizer == "adamw_8bit", offloads(stage, model.device) == "optimizer"
    if eight_bits or on_host:
        return AdamW(groups, stage.betas, eight_bits=eight_bits, on_host=on_host)
    return torch.optim.AdamW(groups, betas=stage.betas, fused=True)


def rate_factor(stage: Stage, step: int, steps: int) -> float:
    """The share of the peak rate at which step ``step`` (from 0) of ``steps`` is taken.

    Rises in a line over the warmup's steps (rounded up, as transformers does), then falls as the
    schedule says, to 0 just after the last step.
    """
    warmup = math.ceil(stage.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if stage.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 1.0 - done if stage.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Set every group's learning rate; returns the rate of each part."""
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
        rates[str(group["part"])] = float(group["lr"])
    return rates
