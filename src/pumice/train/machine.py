"""What stages ask of the machine: a compiler, a GPU whose memory is to be spared."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import nn

from pumice.errors import RunError
from pumice.model import VisionLanguageModel
from pumice.model.compiling import check_compiler, compiled, layers_of
from pumice.recipes.schema import Recipe, Stage
from pumice.train.parallel import Ranks


def check_machine(recipe: Recipe, model: VisionLanguageModel, ranks: Ranks) -> None:
    """Whether the machine has what the stages of a recipe ask for; all ranks look.

    Raises:
        RunError: torch.compile does not work here, or weights cannot be split that are to be offloaded.
        CheckpointError: a part that is to be compiled has no layers.
    """
    for stage in recipe.stages:
        if offloads(stage, ranks.device) == "all" and ranks.alone:
            raise RunError(
                "offload all takes weights apart over several GPUs, and this run has one",
                where=f"stages.{stage.name}.offload",
                remedy="choose offload optimizer, or start several ranks with torchrun",
            )
        for part in _compiled_parts(model, stage):
            layers_of(part)
    first = next((stage for stage in recipe.stages if stage.compile), None)
    if first is not None:
        check_compiler(ranks.device, f"stages.{first.name}.compile")


def offloads(stage: Stage, device: torch.device) -> Literal["none", "optimizer", "all"]:
    """What of a stage lies in host memory beside a device; nothing where that computes in host memory."""
    return "none" if device.type == "cpu" else stage.offload


def machine_notes(stage: Stage, device: torch.device) -> list[str]:
    """What the machine makes of a stage that its recipe does not say."""
    if stage.offload != "none" and offloads(stage, device) == "none":
        return [f"offload {stage.offload} changes nothing: a CPU computes in host memory"]
    return []


def compiled_layers(model: VisionLanguageModel, stage: Stage) -> AbstractContextManager[None]:
    """The layers of the language model, and of a tower that trains, compiled where the stage says so."""
    return compiled(_compiled_parts(model, stage))


def _compiled_parts(model: VisionLanguageModel, stage: Stage) -> list[nn.Module]:
    if not stage.compile:
        return []
    towers = [member.model for member in model.tower.members] if "vision" in stage.parts else []
    return [model.lm, *towers]
