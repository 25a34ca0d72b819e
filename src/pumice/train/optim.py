"""What trains, with which optimiser and at which rate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pumice.errors import RunError
from pumice.model import VisionLanguageModel
from pumice.model.attach import is_addition
from pumice.model.nf4 import parameter_count
from pumice.recipes.schema import Stage
from pumice.recipes.values import PartName

PARTS: tuple[PartName, ...] = ("connector", "language", "vision")


def part_modules(model: VisionLanguageModel) -> dict[PartName, nn.Module]:
    """The module behind each part's name in a recipe."""
    return {"connector": model.connector, "language": model.lm, "vision": model.tower}


def part_parameters(model: VisionLanguageModel, part: PartName) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a part, each with its name inside it.

    ``image_newline`` is the connector's: both turn pictures into the language model's embeddings.
    """
    yield from part_modules(model)[part].named_parameters()
    if part == "connector" and model.image_newline is not None:
        yield "image_newline", model.image_newline


@dataclass(frozen=True, slots=True)
class PartCounts:
    """Parameters that train and that are frozen, by part."""

    trainable: dict[str, int]
    frozen: dict[str, int]


def check_trainable(model: VisionLanguageModel, stage: Stage) -> None:
    """Whether every part that is to train can.

    Raises:
        RunError: one has no parameters (an ``identity`` connector, say).
    """
    for name in PARTS:
        if name in stage.trainable and not any(True for _ in part_parameters(model, name)):
            raise RunError(
                f"{name} has no parameters and cannot train",
                where=f"stages.{stage.name}.trainable",
                remedy=f"leave {name} out of trainable",
            )


def freeze(model: VisionLanguageModel, stage: Stage) -> PartCounts:
    """Let exactly the stage's parts train; count parameters on both sides.

    Of a tower that trains, what features do not depend on stays frozen: the layers above the one that is
    read, and any norm or head behind them. Of a language model with ``lora``, only its additions train.
    ``image_newline`` trains with the connector where pictures have it.
    """
    counts = PartCounts({}, {})
    for name, module in part_modules(model).items():
        trains = name in stage.trainable
        only_additions = name == "language" and stage.lora is not None
        named = list(part_parameters(model, name))
        parameters = [parameter for _, parameter in named]
        for own, parameter in named:
            parameter.requires_grad_(trains and (not only_additions or is_addition(own)))
        if model.image_newline is not None and not (writes_newline(model) and stage.aspect is None):
            model.image_newline.requires_grad_(False)
        if trains and name == "vision":
            for parameter in _idle(model):
                parameter.requires_grad_(False)
        module.train(trains)
        for of_state, state in ((counts.trainable, True), (counts.frozen, False)):
            if number := sum(parameter_count(p) for p in parameters if p.requires_grad is state):
                of_state[name] = number
    return counts


def writes_newline(model: VisionLanguageModel) -> bool:
    """Whether ``image_newline`` stands among the tokens of this model's pictures."""
    config = model.config
    return config.newline and config.tiled and config.merge_type == "spatial_unpad"


def checkpoint_activations(model: VisionLanguageModel, stage: Stage) -> None:
    """Compute layers again in the backward pass where the stage says so; never those of a frozen tower,
    through which no gradient flows.

    Raises:
        CheckpointError: a part has no layers that can.
    """
    wanted = stage.activation_checkpointing
    model.set_gradient_checkpointing(tower=wanted and "vision" in stage.trainable, language=wanted)


def _idle(model: VisionLanguageModel) -> list[nn.Parameter]:
    """The tower's parameters that no feature depends on; all must be open to gradients.

    Autograd says which: what stands behind the layer that is read differs from family to family.
    """
    tower = model.tower.eval()
    parameters = list(tower.parameters())
    blank = torch.zeros(1, 3, tower.image_size, tower.image_size, device=parameters[0].device)
    with torch.enable_grad():
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            tower(blank).sum(), parameters, allow_unused=True
        )
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]


def build_optimizer(model: VisionLanguageModel, stage: Stage) -> torch.optim.AdamW:
    """AdamW over what trains (``freeze``), two groups a part: matrices with weight decay, vectors without.

    Each group's ``peak`` is the learning rate its schedule scales.
    """
    groups = []
    for name in PARTS:
        if name not in stage.trainable:
            continue
        rate = getattr(stage.lr, name)
        assert rate is not None, "the recipe's schema asks for a rate for each part that trains"
        parameters = [p for _, p in part_parameters(model, name) if p.requires_grad]
        for decay, chosen in (
            (stage.weight_decay, [p for p in parameters if p.ndim >= 2]),
            (0.0, [p for p in parameters if p.ndim < 2]),
        ):
            if chosen:
                groups.append(
                    {"params": chosen, "weight_decay": decay, "lr": rate, "peak": rate, "part": name}
                )
    return torch.optim.AdamW(groups, betas=stage.betas)


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
