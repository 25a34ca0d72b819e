"""How a stage's language model attends, and whether it can."""

from __future__ import annotations

from dataclasses import replace

import torch

from pumice.errors import CheckpointError, RunError
from pumice.model import VisionLanguageModel
from pumice.model.attention import AUTO, KERNELS, set_attention
from pumice.model.kernels import Kernel, Need, need_of_config, unfit
from pumice.recipes.schema import Stage
from pumice.train.losses import computes_half, has_branches


def check_attention(model: VisionLanguageModel, stage: Stage, device: torch.device | None) -> None:
    """Whether a stage's ``attention`` can compute its rows.

    Args:
        model: on any device.
        stage: the stage.
        device: where it will train; None where that is not known, and then what depends on it is not asked.

    Raises:
        RunError: it cannot; says why.
    """
    where = f"stages.{stage.name}.attention"
    before = model.lm.config._attn_implementation
    try:
        attend(model, stage)
        chosen = model.lm.config._attn_implementation
    finally:
        model.lm.set_attn_implementation(before)
    need = _need(model, stage, device)
    if chosen in KERNELS:
        kernel: Kernel = KERNELS[chosen]
        problem = unfit(kernel, need)
        if problem is not None:
            raise RunError(problem.why, where=where, remedy=problem.remedy)
        if not model.packs:
            raise RunError(
                f"{type(model.lm).__name__} looks at its mask before attention does, and {kernel} has none",
                where=where,
                remedy="choose auto, sdpa or eager",
            )
    if chosen == AUTO and need.device == "cpu" and model.packs and need.dropout:
        raise RunError(
            "the language model drops attention weights while it trains, which packed rows on a CPU do not",
            where=where,
            remedy="choose attention eager, or set attention_dropout of the language model to 0",
        )


def lays_flat(model: VisionLanguageModel, stage: Stage, device: torch.device) -> bool:
    """Whether attention costs what samples see and no more, so that padding rows to one length is in vain.

    On CUDA FlashAttention does so, which does not take all there is (``kernels.unfit``).

    Args:
        model: after ``attend``; on any device, since the whole model of several ranks stays on the CPU.
        stage: the stage.
        device: where it trains.
    """
    return model.attends_blocks(_need(model, stage, device))


def will_lay_flat(model: VisionLanguageModel, stage: Stage, device: str) -> bool:
    """Whether ``lays_flat`` would say so on a kind of device, ``cpu`` or ``cuda``; for the forecast.

    Raises:
        RunError: as ``attend``.
    """
    before = model.lm.config._attn_implementation
    try:
        attend(model, stage)
        need = replace(_need(model, stage, None), device=device, half=stage.precision != "fp32")
        return model.attends_blocks(need)
    finally:
        model.lm.set_attn_implementation(before)


def _need(model: VisionLanguageModel, stage: Stage, device: torch.device | None) -> Need:
    return need_of_config(
        model.lm.config,
        device=device,
        half=None if device is None else computes_half(stage, device),
        plain=not has_branches(stage),
        trains="language" in stage.parts,
    )


def attend(model: VisionLanguageModel, stage: Stage) -> None:
    """Let the language model attend as a stage says.

    Raises:
        RunError: this language model cannot.
    """
    try:
        set_attention(model.lm, stage.attention)
    except CheckpointError as error:
        raise RunError(error.what, where=f"stages.{stage.name}.attention", remedy=error.remedy) from error
