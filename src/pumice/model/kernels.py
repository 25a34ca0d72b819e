"""Kernels that compute packed rows without their masks: which can, where, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch

Kernel = Literal["flex", "varlen"]

FLASH_WIDTH = 256
"""The widest head of FlashAttention's kernels."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked of a kernel; None where it is not known yet, and then it stops none.

    Attributes:
        device: the type of the device.
        half: values are in bfloat16 or float16.
        plain: no sample has branches.
        capped: scores are capped (Gemma 2).
        dropout: attention weights are dropped.
        gradients: a backward pass follows.
        width: of a head.
        capability: of a CUDA device, its major number.
    """

    device: str | None
    half: bool | None
    plain: bool
    capped: bool
    dropout: bool
    gradients: bool
    width: int | None = None
    capability: int | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a kernel cannot do what is asked, and what to do about it."""

    why: str
    remedy: str


def unfit(kernel: Kernel, need: Need) -> Unfit | None:
    """Why a kernel cannot do what is asked; None where it can."""
    if need.dropout:
        return Unfit(
            f"the language model drops attention weights while it trains, which {kernel} does not",
            "choose attention eager, or set attention_dropout of the language model to 0",
        )
    return _flex(need) if kernel == "flex" else _varlen(need)


def _flex(need: Need) -> Unfit | None:
    if need.device == "cpu" and need.gradients:
        return Unfit(
            "flex is torch's FlexAttention, which has no backward pass on a CPU",
            "choose auto, which computes the blocks of packed rows on a CPU",
        )
    if need.device == "cuda" and find_spec("triton") is None:
        return Unfit("flex needs Triton, which is not installed", "install triton, or choose auto")
    return None


def _varlen(need: Need) -> Unfit | None:
    instead = "choose auto, which takes varlen wherever it can"
    if need.device is not None and need.device != "cuda":
        return Unfit(f"varlen is FlashAttention on a GPU, and this device is {need.device}", instead)
    if need.half is False:
        return Unfit(
            "varlen is FlashAttention, which takes bfloat16 and float16 only, and this is float32",
            "set precision to bf16, or choose auto",
        )
    if not need.plain:
        return Unfit(
            "varlen takes samples one after another, and these have branches (branch_turns, or pairs)",
            "choose auto, flex or sdpa, or leave branch_turns out",
        )
    if need.capped:
        return Unfit(
            "the language model caps its attention scores, which varlen does not",
            "choose auto, flex or eager",
        )
    if need.width is not None and need.width > FLASH_WIDTH:
        return Unfit(f"varlen takes heads of at most {FLASH_WIDTH}, and these have {need.width}", instead)
    if need.capability is not None and need.capability < 8:
        return Unfit("varlen needs a GPU of the Ampere generation (A100) or newer", instead)
    return None


def best(need: Need) -> Kernel | None:
    """The kernel that ``auto`` takes on a GPU; None is a dense mask.

    FlashAttention where it can; FlexAttention for what only it can leave out (branches) or do at all without
    holding all scores (caps).
    """
    if unfit("varlen", need) is None:
        return "varlen"
    if (not need.plain or need.capped) and unfit("flex", need) is None:
        return "flex"
    return None


def need_of(
    query_BHTD: torch.Tensor, value_BhTD: torch.Tensor, *, plain: bool, capped: bool, dropout: bool
) -> Need:
    """What a call asks of a kernel."""
    device = query_BHTD.device
    return Need(
        device=device.type,
        half=value_BhTD.dtype in (torch.bfloat16, torch.float16),
        plain=plain,
        capped=capped,
        dropout=dropout,
        gradients=torch.is_grad_enabled() and query_BHTD.requires_grad,
        width=int(query_BHTD.shape[-1]),
        capability=torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else None,
    )


def need_of_config(
    config: Any, *, device: torch.device | None, half: bool | None, plain: bool, trains: bool
) -> Need:
    """What training a language model of this configuration will ask of a kernel.

    Args:
        config: the language model's.
        device: where; None where it is not known.
        half: whether it multiplies in bfloat16; None where it is not known.
        plain: no sample has branches.
        trains: the language model is in training mode.
    """
    heads = int(config.num_attention_heads)
    cuda = device is not None and device.type == "cuda"
    return Need(
        device=None if device is None else device.type,
        half=half,
        plain=plain,
        capped=getattr(config, "attn_logit_softcapping", None) is not None,
        dropout=trains and bool(getattr(config, "attention_dropout", 0.0)),
        gradients=True,
        width=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        capability=torch.cuda.get_device_capability(device)[0] if cuda else None,
    )
