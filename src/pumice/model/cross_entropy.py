"""Cross entropy of a linear head, without keeping a score of a word.

The gradients are taken with the loss, chunk by chunk, while the scores are there; the backward pass has only
to scale them (the loss is a sum, so its own gradient is one number).

Legend: S supervised tokens, c of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CPU_SCORES, DEVICE_SCORES = 8_000_000, 1 << 27
"""How many scores are held at once where the head trains: on a CPU, and on a device, whose matrix products
want more tokens. The gradients of a head are added up once a chunk. (On a CPU a chunk is below the 32 MiB
from which glibc asks the system anew for every piece of memory.)"""

FROZEN = 4
"""A frozen head adds nothing up, and takes chunks so many times smaller."""


def sums_linear(head: Any) -> bool:
    """Whether a head's scores are a plain matrix product, which ``linear_cross_entropy`` does by itself."""
    return type(head) is nn.Linear and not (head._forward_hooks or head._forward_pre_hooks)


def linear_cross_entropy(
    hidden_SD: Tensor, head: nn.Linear, labels_S: Tensor, softcap: float | None = None
) -> Tensor:
    """Summed cross entropy, a float32 scalar, of ``head``'s scores.

    Under autocast the products are taken in its type, as those of a linear layer are.

    Args:
        hidden_SD: hidden states.
        head: the output embeddings.
        labels_S: int64, the right words.
        softcap: scores become ``softcap * tanh(scores / softcap)``.
    """
    kind = hidden_SD.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
    result: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_SD, head.weight, head.bias, labels_S, softcap, dtype
    )
    return result


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_SD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        labels_S: Tensor,
        softcap: float | None,
        dtype: torch.dtype,
    ) -> Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        low_VD = weight_VD.to(dtype)
        low_V = None if bias_V is None else bias_V.to(dtype)
        total = hidden_SD.new_zeros((), dtype=torch.float32)
        dhidden_SD = torch.empty_like(hidden_SD) if wants_hidden else None
        dweight_VD: Tensor | None = None
        dbias_V = torch.zeros_like(bias_V, dtype=torch.float32) if wants_bias and bias_V is not None else None
        most = DEVICE_SCORES if hidden_SD.device.type != "cpu" else CPU_SCORES
        size = max(1, most // (1 if wants_weight else FROZEN) // weight_VD.shape[0])
        wanted = any(ctx.needs_input_grad[:3])
        with torch.autocast(hidden_SD.device.type, enabled=False):
            for start in range(0, hidden_SD.shape[0], size):
                some = slice(start, start + size)
                low_cD = hidden_SD[some].to(dtype)
                scores_cV = F.linear(low_cD, low_VD, low_V)
                loss, low_cV = _chunk(scores_cV, labels_S[some, None], softcap, wanted)
                total += loss
                if low_cV is None:
                    continue
                if dhidden_SD is not None:
                    dhidden_SD[some] = low_cV @ low_VD
                if wants_weight and dweight_VD is None:
                    dweight_VD = (low_cV.T @ low_cD).float()
                elif dweight_VD is not None:
                    dweight_VD += low_cV.T @ low_cD
                if dbias_V is not None:
                    dbias_V += low_cV.sum(dim=0, dtype=torch.float32)
        if wants_weight and dweight_VD is None:
            dweight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        ctx.kinds = (weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        ctx.save_for_backward(dhidden_SD, dweight_VD, dbias_V)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        dhidden_SD, dweight_VD, dbias_V = ctx.saved_tensors
        kinds = (None, *ctx.kinds)
        # In place: a second backward pass through the same loss is refused by torch.
        scaled = [
            None if one is None else one.mul_(grad).to(kind or one.dtype)
            for one, kind in zip((dhidden_SD, dweight_VD, dbias_V), kinds, strict=True)
        ]
        return (*scaled, None, None, None)


def _chunk(
    low_cV: Tensor, labels_c1: Tensor, softcap: float | None, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """The summed loss of some scores, and the scores' gradient in their type where it is wanted."""
    scores_cV = low_cV.float()
    slope_cV = None
    if softcap is not None:
        bent_cV = torch.tanh(scores_cV / softcap)
        scores_cV, slope_cV = bent_cV * softcap, 1 - bent_cV**2
    logps_cV = torch.log_softmax(scores_cV, dim=-1)
    del scores_cV
    loss = -logps_cV.gather(1, labels_c1).sum()
    if not wanted:
        return loss, None
    dscores_cV = logps_cV.exp_()
    dscores_cV.scatter_add_(1, labels_c1, -torch.ones_like(dscores_cV[:, :1]))
    if slope_cV is not None:
        dscores_cV.mul_(slope_cV)
    return loss, dscores_cV.to(low_cV.dtype)
